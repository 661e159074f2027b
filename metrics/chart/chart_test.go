// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"bytes"
	"encoding/xml"
	"errors"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"strings"
	"testing"

	"gonum.org/v1/plot/plotter"

	"octet/metrics"
)

func run(name string, losses ...float64) Run {
	r := Run{Name: name}
	for i, l := range losses {
		r.Records = append(r.Records, metrics.Record{Step: i + 1, Loss: l})
	}
	return r
}

func TestWriteAsSVG(t *testing.T) {
	c := Chart{Title: "a < b", Runs: []Run{run("float8", 5, 4, math.NaN(), 3), run("f32", 5, 3, 2, 1)}}
	var svg strings.Builder
	if err := c.Write(&svg, SVG); err != nil {
		t.Fatal(err)
	}
	paths := 0
	var text []string
	for dec := xml.NewDecoder(strings.NewReader(svg.String())); ; {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("not well-formed: %v", err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			if token.Name.Local == "path" {
				paths++
			}
		case xml.CharData:
			text = append(text, string(token))
		}
	}
	if paths < 4 {
		t.Errorf("%d paths, want at least two lines a run", paths)
	}
	all := strings.Join(text, "\n")
	for _, want := range []string{c.Title, "float8", "f32", "step", "loss, nats per token"} {
		if !strings.Contains(all, want) {
			t.Errorf("the picture does not say %q", want)
		}
	}
}

func TestWriteNamesWhatItCannotDraw(t *testing.T) {
	tests := []struct {
		name  string
		chart Chart
		want  string
	}{
		{"no run", Chart{}, "0 runs; a chart has 1 to 6"},
		{"too many", Chart{Runs: make([]Run, 7)}, "7 runs; a chart has 1 to 6"},
		{"nothing finite", Chart{Runs: []Run{run("bad", math.NaN(), math.Inf(1))}}, `run "bad" has no step with a finite loss`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.chart.Write(io.Discard, SVG)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestWriteDrawsASingleStep(t *testing.T) {
	if err := (Chart{Runs: []Run{run("short", 2)}}).Write(io.Discard, PNG); err != nil {
		t.Error(err)
	}
}

func TestRoundTicks(t *testing.T) {
	tests := []struct {
		low, high float64
		want      string
	}{
		{0, 300, "0 50 100 150 200 250 300"},
		{1.9, 7.4, "2 3 4 5 6 7"},
		{0.99, 1.013, "0.99 0.992 0.994 0.996 0.998 1 1.002 1.004 1.006 1.008 1.01 1.012"},
		{-1, 1, "-1 -0.8 -0.6 -0.4 -0.2 0 0.2 0.4 0.6 0.8 1"},
	}
	for _, tt := range tests {
		var labels []string
		for _, tick := range roundTicks(tt.low, tt.high) {
			labels = append(labels, tick.Label)
		}
		if got := strings.Join(labels, " "); got != tt.want {
			t.Errorf("%v to %v: %s, want %s", tt.low, tt.high, got, tt.want)
		}
	}
}

func TestSmoothKeepsTheStartAndStraightLines(t *testing.T) {
	straight := make(plotter.XYs, 300)
	for i := range straight {
		straight[i] = plotter.XY{X: float64(i), Y: 10 - float64(i)/100}
	}
	for i, p := range smooth(straight)[:280] {
		if p.X != straight[i].X || math.Abs(p.Y-straight[i].Y) > 1e-9 {
			t.Fatalf("point %d moved from %v to %v", i, straight[i], p)
		}
	}

	noisy := make(plotter.XYs, 300)
	for i := range noisy {
		noisy[i] = plotter.XY{X: float64(i), Y: float64(i % 2)}
	}
	smoothed := smooth(noisy)
	if got := smoothed[150].Y; math.Abs(got-0.5) > 0.06 {
		t.Errorf("the middle of 0, 1, 0, 1, … is %v, want about 0.5", got)
	}
	if smoothed[0] != noisy[0] {
		t.Errorf("the start moved to %v", smoothed[0])
	}
	if got := smoothed[299].Y; math.Abs(got-0.5) > 0.06 {
		t.Errorf("the end of 0, 1, 0, 1, … is %v, want about 0.5: one noisy last step must not bend the line", got)
	}
}

// coloured finds the rows of the pixels of a colour, in columns from to to.
func coloured(picture image.Image, want color.NRGBA, from, to int) (first, last int) {
	first = -1
	for y := range picture.Bounds().Dy() {
		for x := from; x < to; x++ {
			if color.NRGBAModel.Convert(picture.At(x, y)) == want {
				if first < 0 {
					first = y
				}
				last = y
			}
		}
	}
	return first, last
}

// The legend is below every curve and begins at the left edge, so that names of
// any length have room.
func TestTheLegendIsBelowTheCurves(t *testing.T) {
	c := Chart{Runs: []Run{run("a name that is as long as half of the picture is wide, or somewhat longer", 1, 2, 3, 4, 5), run("flat", 1, 1, 1, 1, 1)}}
	var file bytes.Buffer
	if err := c.Write(&file, PNG); err != nil {
		t.Fatal(err)
	}
	picture, err := png.Decode(&file)
	if err != nil {
		t.Fatal(err)
	}
	const edge = 80 // the plot begins right of it
	_, lowest := coloured(picture, palette()[1], edge, picture.Bounds().Dx())
	for i := range c.Runs {
		first, last := coloured(picture, palette()[i], 0, edge)
		if first <= lowest || last >= picture.Bounds().Dy() {
			t.Errorf("the mark of run %d is in rows %d to %d, what is above ends in row %d", i, first, last, lowest)
		}
		lowest = last
	}
}

// TestValidationsAreDrawn as rings of the run's colour, with a legend of their own;
// a run without them has neither.
func TestValidationsAreDrawn(t *testing.T) {
	draw := func(r Run) string {
		var svg strings.Builder
		if err := (Chart{Runs: []Run{r}}).Write(&svg, SVG); err != nil {
			t.Fatal(err)
		}
		return svg.String()
	}
	without := run("float8", 5, 4, 3)
	with := run("float8", 5, 4, 3)
	with.Records[0].Validation = &metrics.Validation{Loss: 4.5}
	with.Records[2].Validation = &metrics.Validation{Loss: math.NaN()}
	plain, rings := draw(without), draw(with)
	if strings.Contains(plain, "validation") || !strings.Contains(rings, "float8, validation") {
		t.Error("the legend of validations is there without them, or not there with them")
	}
	// One ring in the picture, one in the legend; a loss that is not finite has none.
	if more := strings.Count(rings, "<path") - strings.Count(plain, "<path"); more != 2 {
		t.Errorf("%d more paths for one validation, want two rings", more)
	}
}

// TestBarsAreAsLongAsWhatTheyStandFor: in the picture's own points, the strong part first.
func TestBarsAreAsLongAsWhatTheyStandFor(t *testing.T) {
	b := Bars{Title: "a step", Unit: "ms", Part: "limit", Rest: "rest", Bars: []Bar{{"matmul", 100, 80}, {"host", 50, 0}}}
	var svg strings.Builder
	if err := b.Write(&svg, SVG); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a step", ">ms<", ">limit<", ">rest<", ">matmul<", ">host<"} {
		if !strings.Contains(svg.String(), want) {
			t.Errorf("no %q in the picture", want)
		}
	}
	p, err := b.plot()
	if err != nil {
		t.Fatal(err)
	}
	if p.X.Min != 0 || p.X.Max != 100 {
		t.Errorf("the axis is from %v to %v, want the longest bar", p.X.Min, p.X.Max)
	}
	img := pixels(t, b)
	strong, pale := 0, 0
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			switch c := color.NRGBAModel.Convert(img.At(x, y)).(color.NRGBA); {
			case c == palette()[1]:
				strong++
			case c.B > 200 && c.R > 150 && c.R < 190:
				pale++
			}
		}
	}
	if ratio := float64(strong) / float64(pale); ratio < 80.0/70*0.95 || ratio > 80.0/70*1.05 {
		t.Errorf("%d pixels are strong, %d pale; want them as 80 to 70", strong, pale)
	}
	if err := (Bars{}).Write(io.Discard, SVG); err == nil {
		t.Error("no bars were drawn")
	}
}

func pixels(t *testing.T, p Picture) image.Image {
	t.Helper()
	var file bytes.Buffer
	if err := p.Write(&file, PNG); err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(&file)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// TestASpreadHasEachPartAndItsRanks: a box for each rank of the grid, one for each part, and the lines below.
func TestASpreadHasEachPartAndItsRanks(t *testing.T) {
	s := Spread{
		Title: "a block", Rows: Axis{"fsdp", 2}, Columns: Axis{"tp", 2},
		Tensors: []Cut{{"w", 6, 4, []Part{{0, 0, 3, 4, []int{0, 2}}, {3, 0, 3, 4, []int{1, 3}}}}, {"norm", 6, 1, []Part{{0, 0, 6, 1, []int{0, 1, 2, 3}}}}},
		Lists:   []List{{"forward", []string{"all-gather"}}, {"backward", []string{"all-gather", "reduce-scatter"}}},
	}
	var svg strings.Builder
	if err := s.Write(&svg, SVG); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{">a block<", ">fsdp<", ">tp<", ">3<", ">w<", ">0,2<", ">1,3<", ">all<", ">backward<", ">reduce-scatter<"} {
		if !strings.Contains(svg.String(), want) {
			t.Errorf("no %s in the picture", want)
		}
	}
	if n := strings.Count(svg.String(), "fill:#"); n != 1+4+3 {
		t.Errorf("%d boxes, want the page, four ranks and three parts", n)
	}
	// What has 5 ranks between them has another shade.
	s.Columns.Size = 5
	if err := s.Write(&svg, SVG); err != nil || !strings.Contains(svg.String(), ">9<") {
		t.Errorf("ten ranks: %v", err)
	}
	var file bytes.Buffer
	if err := s.Write(&file, PNG); err != nil {
		t.Fatal(err)
	}
	if _, err := png.Decode(&file); err != nil {
		t.Error(err)
	}
	s.Tensors = nil
	if err := s.Write(&file, PNG); err == nil {
		t.Error("a picture of nothing was drawn")
	}
}

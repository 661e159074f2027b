// SPDX-License-Identifier: Apache-2.0

// Package chart draws the loss of one or more runs over their steps, as SVG or
// PNG, from what package metrics wrote down.
//
// Each run is a pale line through every step and a strong line through the
// means of the steps nearby; validations are rings.
package chart

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"

	"octet/metrics"
)

// Chart is one picture.
type Chart struct {
	Title string
	Runs  []Run // drawn in order, so the last lies on top
}

// Run is one line of a chart.
type Run struct {
	Name    string
	Records []metrics.Record
}

const (
	width, height = 7 * vg.Inch, 4 * vg.Inch
	margin        = vg.Inch / 8
	// The strong line averages this part of all steps around each.
	window = 1.0 / 30
)

// palette has Okabe and Ito's colours, which colour-blind readers tell apart
// (jfly.uni-koeln.de/color, 2008), strongest first.
func palette() []color.NRGBA {
	return []color.NRGBA{
		{R: 0xd5, G: 0x5e, A: 0xff},          // vermilion
		{G: 0x72, B: 0xb2, A: 0xff},          // blue
		{G: 0x9e, B: 0x73, A: 0xff},          // green
		{R: 0xcc, G: 0x79, B: 0xa7, A: 0xff}, // purple
		{R: 0xe6, G: 0x9f, A: 0xff},          // orange
		{A: 0xff},                            // black
	}
}

// Format is what a picture is written as.
type Format string

// The formats, by the ends of their files' names.
const (
	SVG Format = ".svg"
	PNG Format = ".png"
)

// Write draws the chart. A run without a finite loss is an error that names it,
// and so is a chart of more runs than there are colours.
func (c Chart) Write(w io.Writer, f Format) error {
	p, err := c.plot()
	if err != nil {
		return err
	}
	return write(w, f, width, height, onPage(p))
}

// plot lays the picture out.
func (c Chart) plot() (*plot.Plot, error) {
	colours := palette()
	if len(c.Runs) == 0 || len(c.Runs) > len(colours) {
		return nil, fmt.Errorf("chart: %d runs; a chart has 1 to %d", len(c.Runs), len(colours))
	}
	p := plot.New()
	p.Title.Text = c.Title
	p.X.Label.Text = "step"
	p.Y.Label.Text = "loss, nats per token"
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.TickerFunc(roundTicks), plot.TickerFunc(roundTicks)
	p.X.Min = 0
	p.Title.Padding = vg.Points(8)
	p.Legend.Left, p.Legend.Padding = true, vg.Points(3)
	setFonts(p)
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = color.Gray{Y: 0xe8}, color.Gray{Y: 0xe8}
	p.Add(grid)

	strong := make([]*plotter.Line, len(c.Runs))
	for i, run := range c.Runs {
		points := lossOverSteps(run.Records)
		if len(points) == 0 {
			return nil, fmt.Errorf("chart: run %q has no step with a finite loss", run.Name)
		}
		raw, err := line(points, colours[i], vg.Points(0.6))
		if err != nil {
			return nil, fmt.Errorf("chart: run %q: %w", run.Name, err)
		}
		pale := colours[i]
		pale.A = 0x50
		raw.Color = pale
		p.Add(raw)
		// The earlier of two curves that run together shows on both sides of the later.
		width := vg.Points(1.5 * float64(len(c.Runs)-i))
		if strong[i], err = line(smooth(points), colours[i], width); err != nil {
			return nil, fmt.Errorf("chart: run %q: %w", run.Name, err)
		}
	}
	for i, run := range c.Runs {
		p.Add(strong[i])
		p.Legend.Add(run.Name, strong[i])
		if points := validations(run.Records); len(points) > 0 {
			dots, err := plotter.NewScatter(points)
			if err != nil {
				return nil, fmt.Errorf("chart: run %q: %w", run.Name, err)
			}
			dots.GlyphStyle = draw.GlyphStyle{Color: colours[i], Radius: vg.Points(2.5), Shape: draw.RingGlyph{}}
			p.Add(dots)
			p.Legend.Add(run.Name+", validation", dots)
		}
	}

	return p, nil
}

// onPage draws the legend below the plot, where no curve runs through it and its
// names have the whole width.
func onPage(p *plot.Plot) func(page draw.Canvas) {
	return func(page draw.Canvas) {
		legend := p.Legend
		p.Legend = plot.NewLegend()
		box := legend.Rectangle(page)
		height := box.Max.Y - box.Min.Y
		legend.Draw(page)
		p.Draw(draw.Crop(page, 0, 0, height+margin, 0))
	}
}

// write has a picture drawn on a white page, with a margin around it. An SVG names fonts that browsers have: Arial has the widths of
// Liberation Sans, which pictures are laid out with. A PNG has twice the usual resolution, for screens that have it.
func write(w io.Writer, f Format, width, height vg.Length, picture func(page draw.Canvas)) error {
	var err error
	on := func(canvas vg.CanvasSizer) {
		page := draw.New(canvas)
		page.SetColor(color.White)
		page.Fill(page.Rectangle.Path())
		picture(draw.Crop(page, margin, -margin, margin, -margin))
	}
	if f == PNG {
		canvas := vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(192))
		on(canvas)
		_, err = (vgimg.PngCanvas{Canvas: canvas}).WriteTo(w)
	} else {
		canvas := vgsvg.New(width, height)
		on(canvas)
		var svg bytes.Buffer
		if _, err = canvas.WriteTo(&svg); err == nil {
			_, err = w.Write(bytes.ReplaceAll(svg.Bytes(), []byte("font-family:Liberation Sans"), []byte("font-family:Arial,Liberation Sans,sans-serif")))
		}
	}
	if err != nil {
		return fmt.Errorf("chart: %w", err)
	}
	return nil
}

// roundTicks places labelled ticks at multiples of 1, 2 or 5 times a power of
// ten, so that the range spans 5 to 12 of them.
func roundTicks(low, high float64) []plot.Tick {
	step := math.Pow(10, math.Floor(math.Log10((high-low)/5)))
	for _, factor := range []float64{5, 2} {
		if (high-low)/(factor*step) >= 5 {
			step *= factor
			break
		}
	}
	var ticks []plot.Tick
	for i := math.Ceil(low / step); i*step <= high; i++ {
		ticks = append(ticks, plot.Tick{Value: i * step, Label: strconv.FormatFloat(i*step, 'g', 6, 64)})
	}
	return ticks
}

func line(points plotter.XYs, c color.Color, width vg.Length) (*plotter.Line, error) {
	l, err := plotter.NewLine(points)
	if err != nil {
		return nil, err
	}
	l.Color, l.Width = c, width
	return l, nil
}

// setFonts takes sans serif everywhere.
func setFonts(p *plot.Plot) {
	for _, style := range []*font.Font{
		&p.Title.TextStyle.Font, &p.X.Label.TextStyle.Font, &p.Y.Label.TextStyle.Font,
		&p.X.Tick.Label.Font, &p.Y.Tick.Label.Font, &p.Legend.TextStyle.Font,
	} {
		style.Variant = "Sans"
	}
}

// lossOverSteps leaves out losses that are not finite: they have no place on
// an axis.
func lossOverSteps(records []metrics.Record) plotter.XYs {
	points := make(plotter.XYs, 0, len(records))
	for _, r := range records {
		if !math.IsNaN(r.Loss) && !math.IsInf(r.Loss, 0) {
			points = append(points, plotter.XY{X: float64(r.Step), Y: r.Loss})
		}
	}
	return points
}

// validations are the losses on data that is not trained on.
func validations(records []metrics.Record) (points plotter.XYs) {
	for _, r := range records {
		if v := r.Validation; v != nil && !math.IsNaN(v.Loss) && !math.IsInf(v.Loss, 0) {
			points = append(points, plotter.XY{X: float64(r.Step), Y: v.Loss})
		}
	}
	return points
}

// smooth gives each point the mean of its neighbours: as many before as after,
// so that the line does not lag, but for the end, where those after run out.
func smooth(points plotter.XYs) plotter.XYs {
	most := int(math.Round(float64(len(points)) * window / 2))
	out := make(plotter.XYs, len(points))
	for i, p := range points {
		reach := min(most, i)
		near := points[i-reach : min(len(points), i+reach+1)]
		var sum float64
		for _, q := range near {
			sum += q.Y
		}
		out[i] = plotter.XY{X: p.X, Y: sum / float64(len(near))}
	}
	return out
}

// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"fmt"
	"image/color"
	"io"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// Picture is what can be drawn.
type Picture interface {
	Write(w io.Writer, f Format) error
}

var (
	_ Picture = Chart{}
	_ Picture = Bars{}
)

// Bars are lengths, one below the other, of each of which a part is drawn strong.
type Bars struct {
	Title, Unit string // Unit is what the lengths are, "ms of a step"
	Part, Rest  string // what the strong and the pale parts are
	Bars        []Bar  // from the top
}

// Bar is one of them. Part is 0 to Length.
type Bar struct {
	Name         string
	Length, Part float64
}

// Write draws the bars. None is an error.
func (b Bars) Write(w io.Writer, f Format) error {
	p, err := b.plot()
	if err != nil {
		return err
	}
	return write(w, f, width, height, onPage(p))
}

func (b Bars) plot() (*plot.Plot, error) {
	n := len(b.Bars)
	if n == 0 {
		return nil, fmt.Errorf("chart: %q has no bars", b.Title)
	}
	p := plot.New()
	p.Title.Text = b.Title
	p.Title.Padding = vg.Points(8)
	p.X.Label.Text = b.Unit
	p.X.Tick.Marker = plot.TickerFunc(roundTicks)
	p.X.Min = 0
	p.Legend.Left, p.Legend.Padding = true, vg.Points(3)
	setFonts(p)
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = nil, color.Gray{Y: 0xe8}
	p.Add(grid)
	names := make([]string, n)
	part, rest := make(plotter.Values, n), make(plotter.Values, n)
	for i, bar := range b.Bars {
		at := n - 1 - i // the axis grows upwards
		names[at], part[at], rest[at] = bar.Name, bar.Part, bar.Length-bar.Part
	}
	colour := palette()[1]
	strong, err := bars(part, n, colour)
	if err != nil {
		return nil, err
	}
	colour.A = 0x50
	pale, err := bars(rest, n, colour)
	if err != nil {
		return nil, err
	}
	pale.StackOn(strong)
	p.Add(strong, pale)
	p.Legend.Add(b.Part, strong)
	p.Legend.Add(b.Rest, pale)
	p.NominalY(names...)
	return p, nil
}

// bars take two thirds of the height that n of them have.
func bars(values plotter.Values, n int, c color.Color) (*plotter.BarChart, error) {
	b, err := plotter.NewBarChart(values, height*vg.Length(0.45/float64(n)))
	if err != nil {
		return nil, fmt.Errorf("chart: %w", err)
	}
	b.Horizontal, b.Color = true, c
	b.LineStyle.Width = 0
	return b, nil
}

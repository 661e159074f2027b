// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"errors"
	"fmt"
	"image/color"
	"io"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Spread is tensors that ranks share: the ranks in a grid, each with its colour, the tensors side by side and cut in parts, and what is said below.
type Spread struct {
	Title         string
	Rows, Columns Axis  // of the grid; the ranks are numbered along its rows
	Tensors       []Cut // at least one
	Lists         []List
}

// Axis is how many places there are in a direction, and what it is called.
type Axis struct {
	Name string
	Size int
}

// Cut is a matrix in parts.
type Cut struct {
	Name          string
	Rows, Columns int
	Parts         []Part
}

// Part is a box of a matrix, and the ranks that have it, of which the first gives it its colour.
type Part struct {
	Row, Column, Rows, Columns int
	Ranks                      []int
}

// List is lines below a heading.
type List struct {
	Title string
	Lines []string
}

var _ Picture = Spread{}

// The picture is laid out in points, from the top.
const (
	cell    = vg.Length(22) // of the grid
	tallest = vg.Length(120)
	gap     = vg.Length(10)
	thin    = vg.Length(20) // the least that a side is drawn
	leading = vg.Length(11)
)

// Write draws the picture. One without tensors is an error.
func (s Spread) Write(w io.Writer, f Format) error {
	if len(s.Tensors) == 0 || s.Rows.Size < 1 || s.Columns.Size < 1 {
		return errors.New("chart: a picture of how tensors are spread needs a grid of ranks, and a tensor")
	}
	lines := 0
	for _, l := range s.Lists {
		lines = max(lines, 1+len(l.Lines))
	}
	top := max(tallest+2*leading, cell*vg.Length(s.Rows.Size)+3*leading)
	wide := 2*margin + 2*leading + cell*vg.Length(max(2, s.Columns.Size)) + 3*gap
	for _, t := range s.Tensors {
		w, _ := s.size(t)
		wide += w + gap
	}
	return write(w, f, max(width, wide), 2*margin+3*leading+top+vg.Length(lines)*leading, func(c draw.Canvas) { s.draw(pen{c}, top) })
}

// size is that of a tensor, all to one scale.
func (s Spread) size(of Cut) (w, h vg.Length) {
	most := 1
	for _, t := range s.Tensors {
		most = max(most, t.Rows, t.Columns)
	}
	scale := tallest / vg.Length(most)
	return max(thin, scale*vg.Length(of.Columns)), max(thin, scale*vg.Length(of.Rows))
}

func (s Spread) draw(p pen, top vg.Length) {
	p.text(s.Title, (p.Min.X+p.Max.X)/2, p.Max.Y, 11, draw.XCenter)
	y := p.Max.Y - 3*leading
	// The grid.
	x := p.Min.X + 2*leading
	for r := range s.Rows.Size {
		for c := range s.Columns.Size {
			rank := r*s.Columns.Size + c
			p.box(x+cell*vg.Length(c), y-cell*vg.Length(r), cell, cell, rank, fmt.Sprint(rank))
		}
	}
	p.text(s.Columns.Name, x+cell*vg.Length(s.Columns.Size)/2, y+leading, 8, draw.XCenter)
	p.text(s.Rows.Name, x-leading, y-cell*vg.Length(s.Rows.Size)-2, 8, draw.XLeft)
	x += cell*vg.Length(max(2, s.Columns.Size)) + 3*gap
	for _, t := range s.Tensors {
		w, h := s.size(t)
		p.text(t.Name, x, y+leading, 8, draw.XLeft)
		for _, part := range t.Parts {
			p.box(x+w*vg.Length(part.Column)/vg.Length(t.Columns), y-h*vg.Length(part.Row)/vg.Length(t.Rows),
				w*vg.Length(part.Columns)/vg.Length(t.Columns), h*vg.Length(part.Rows)/vg.Length(t.Rows), part.Ranks[0], s.owners(part))
		}
		x += w + gap
	}
	// The lists, side by side.
	y = p.Max.Y - 2*leading - top
	column := (p.Max.X - p.Min.X) / vg.Length(max(1, len(s.Lists)))
	for i, l := range s.Lists {
		x := p.Min.X + column*vg.Length(i)
		p.text(l.Title, x, y, 9, draw.XLeft)
		for j, line := range l.Lines {
			p.text(line, x, y-leading*vg.Length(j+1), 8, draw.XLeft)
		}
	}
}

// owners are such as "0,2", or "all".
func (s Spread) owners(p Part) string {
	if len(p.Ranks) == s.Rows.Size*s.Columns.Size {
		return "all"
	}
	var b strings.Builder
	for i, r := range p.Ranks {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprint(&b, r)
	}
	return b.String()
}

// pen draws boxes and text.
type pen struct{ draw.Canvas }

// box fills a rectangle below and right of a corner, in the colour of a rank, with a label if that fits.
func (p pen) box(x, y, w, h vg.Length, rank int, label string) {
	colours := palette()
	fill := colours[rank%(len(colours)-1)] // black is for what is written
	fill.A = 0xa0
	if rank/(len(colours)-1)%2 == 1 {
		fill.A = 0x50
	}
	corners := []vg.Point{{X: x, Y: y}, {X: x + w, Y: y}, {X: x + w, Y: y - h}, {X: x, Y: y - h}}
	p.FillPolygon(fill, corners)
	p.StrokeLines(draw.LineStyle{Color: color.White, Width: 1}, append(corners, corners[0]))
	if size := vg.Length(8); h >= size && w >= p.width(label, size)+2 {
		p.text(label, x+w/2, y-h/2+size/2, size, draw.XCenter)
	}
}

func (p pen) style(size vg.Length) text.Style {
	return text.Style{Color: color.Black, Font: font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}, Handler: plot.DefaultTextHandler, YAlign: draw.YTop}
}

func (p pen) width(s string, size vg.Length) vg.Length { return p.style(size).Width(s) }

// text writes a line whose top is at y.
func (p pen) text(s string, x, y, size vg.Length, align text.XAlignment) {
	style := p.style(size)
	style.XAlign = align
	p.FillText(style, vg.Point{X: x, Y: y}, s)
}

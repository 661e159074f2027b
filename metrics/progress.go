// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// Progress draws a bar with the time left at the bottom of a terminal, and is the writer for all else that goes there:
// it takes the bar away, writes, and draws it again below. Where the output is no terminal it only passes writes on.
type Progress struct {
	mu      sync.Mutex
	out     io.Writer
	columns func() int // of the terminal; nil: no bar
	relayed bool
	total   int
	step    int
	ms      float64 // of all steps
	drawn   time.Time
	bar     bool  // it is on the screen
	err     error // the first of a write that is not the bar's
}

var (
	_ Sink      = (*Progress)(nil)
	_ io.Writer = (*Progress)(nil)
)

// NewProgress expects total records. relayed is 0, or the columns for a line of out where that is a pipe to a launcher
// with a terminal, which keeps a line that ends in a carriage return at the bottom by itself.
func NewProgress(out io.Writer, total, relayed int) *Progress {
	p := &Progress{out: out, total: total}
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		p.columns = func() int {
			columns, _, err := term.GetSize(int(file.Fd()))
			if err != nil || columns == 0 {
				return 80 // it does not tell
			}
			return columns
		}
	} else if relayed > 0 {
		p.columns, p.relayed = func() int { return relayed }, true
	}
	return p
}

// Columns is the width of the terminal; 0 where there is none, and neither a bar nor colours make sense.
func (p *Progress) Columns() int {
	if p.columns == nil {
		return 0
	}
	return p.columns()
}

// drawEvery is how much time is between two pictures of the bar, but for the last one.
const drawEvery = 50 * time.Millisecond

// Step moves the bar.
func (p *Progress) Step(r Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.step = r.Step
	p.ms += r.StepMS
	if p.columns == nil || time.Since(p.drawn) < drawEvery && p.step < p.total {
		return
	}
	p.drawn = time.Now()
	if p.relayed {
		_, _ = fmt.Fprintf(p.out, "%s\r", p.line()) // a bar that cannot be drawn is not worth an error
		return
	}
	p.bar = true
	_, _ = io.WriteString(p.out, clearLine+p.line())
}

// clearLine moves to the first column and erases the line.
const clearLine = "\r\x1b[K"

// line is the bar, for a terminal of any width.
func (p *Progress) line() string {
	left := fmt.Sprintf("step %*d/%d %3d%% ", len(fmt.Sprint(p.total)), p.step, p.total, 100*p.step/max(1, p.total))
	right := ""
	if p.ms > 0 {
		each := p.ms / float64(p.step) // milliseconds
		right = fmt.Sprintf(" %.3g steps/s, %s left", 1000/each, duration(each*float64(p.total-p.step)))
		if p.step >= p.total {
			right = fmt.Sprintf(" %.3g steps/s, %s", 1000/each, duration(p.ms))
		}
	}
	room := p.columns() - 1 // a line that fills the last column may wrap
	width := min(40, room-len(left)-len(right))
	if width < 5 { // no room for all
		width, right = min(40, room-len(left)), ""
	}
	if width < 1 {
		return left[:max(0, min(room, len(left)))]
	}
	full := width * p.step / max(1, p.total)
	return left + strings.Repeat("█", full) + strings.Repeat("░", width-full) + right
}

// duration is milliseconds as 1h2m3s.
func duration(ms float64) string {
	return time.Duration(ms * float64(time.Millisecond)).Round(time.Second).String()
}

// Write writes text, whole lines, above the bar. It may be called from any goroutine.
func (p *Progress) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := text
	if p.bar {
		all = []byte(clearLine + string(text) + p.line())
	}
	if _, err := p.out.Write(all); err != nil {
		if p.err == nil {
			p.err = fmt.Errorf("log: %w: lines are missing there", err)
		}
		return 0, err
	}
	return len(text), nil
}

// Close leaves a full bar where it is, and takes any other away. Its error is that of the first Write that failed.
func (p *Progress) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch done := p.step >= p.total; {
	case done && p.relayed:
		_, _ = fmt.Fprintln(p.out, p.line())
	case done && p.bar:
		_, _ = fmt.Fprintln(p.out)
	case p.bar:
		_, _ = io.WriteString(p.out, clearLine)
	}
	p.bar, p.columns = false, nil
	return p.err
}

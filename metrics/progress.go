// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/schollz/progressbar/v3"
)

// Progress draws a bar with the time left at the bottom of a terminal, and is the writer for all else that goes there:
// it takes the bar away, writes, and draws it again below. Where the output is no terminal it only passes writes on.
type Progress struct {
	mu      sync.Mutex
	out     io.Writer
	relayed bool
	bar     *progressbar.ProgressBar // nil: no terminal, or closed
}

var (
	_ Sink      = (*Progress)(nil)
	_ io.Writer = (*Progress)(nil)
)

// NewProgress expects total records. relayed says that out is a pipe to a launcher with a terminal, which keeps a line
// that ends in a carriage return at the bottom by itself.
func NewProgress(out io.Writer, total int, relayed bool) *Progress {
	return newProgress(out, total, IsTerminal(out), relayed)
}

func newProgress(out io.Writer, total int, terminal, relayed bool) *Progress {
	p := &Progress{out: out, relayed: relayed && !terminal}
	screen := out
	if p.relayed {
		screen = io.Discard
	}
	if terminal || relayed {
		p.bar = progressbar.NewOptions(total,
			progressbar.OptionSetWriter(screen),
			progressbar.OptionSetDescription("step"),
			progressbar.OptionShowCount(),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionSetWidth(30),
			progressbar.OptionClearOnFinish())
	}
	return p
}

// Step moves the bar.
func (p *Progress) Step(r Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar == nil {
		return
	}
	p.bar.Set(r.Step)
	if p.relayed {
		fmt.Fprintf(p.out, "%s\r", strings.TrimSpace(p.bar.String()))
	}
}

// Write writes text, whole lines, above the bar. It may be called from any goroutine.
func (p *Progress) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar == nil || p.relayed {
		return p.out.Write(text)
	}
	p.bar.Clear()
	n, err := p.out.Write(text)
	if p.bar.IsStarted() && !p.bar.IsFinished() {
		p.bar.RenderBlank()
	}
	return n, err
}

// Close takes the bar away for good. A bar that cannot be drawn is not worth an error.
func (p *Progress) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		p.bar.Clear()
		p.bar = nil
	}
	return nil
}

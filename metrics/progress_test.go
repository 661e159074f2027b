// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

// onTerminal is a Progress as on a terminal.
func onTerminal(out *bytes.Buffer, total, columns int) *Progress {
	p := NewProgress(out, total, 0)
	p.columns = func() int { return columns }
	return p
}

func TestTheBarIsFullAtTheEnd(t *testing.T) {
	var out bytes.Buffer
	p := onTerminal(&out, 300, 80)
	for step := range 300 {
		p.Step(Record{Step: step + 1, StepMS: 100})
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	_, last, _ := cutLast(out.String(), clearLine)
	if want := "step 300/300 100% " + strings.Repeat("█", 40) + " 10 steps/s, 30s\n"; last != want {
		t.Errorf("the end is %q, want %q", last, want)
	}
	p.Write([]byte("done\n"))
	p.Step(Record{Step: 301})
	if !strings.HasSuffix(out.String(), "30s\ndone\n") {
		t.Errorf("the bar is drawn after Close: %q", &out)
	}
}

func cutLast(text, sep string) (before, after string, found bool) {
	i := strings.LastIndex(text, sep)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(sep):], true
}

func TestABarThatIsNotFullIsTakenAway(t *testing.T) {
	var out bytes.Buffer
	p := onTerminal(&out, 4, 80)
	log := NewLogger(p, 0)
	p.Step(Record{Step: 1, StepMS: 2000})
	if want := "step 1/4  25% " + strings.Repeat("█", 10) + strings.Repeat("░", 30) + " 0.5 steps/s, 6s left"; out.String() != clearLine+want {
		t.Errorf("%q, want %q", &out, want)
	}
	out.Reset()
	log.Info("hello")
	if text := out.String(); !strings.HasPrefix(text, clearLine) || !strings.Contains(text, " INFO rank0 hello\nstep 1/4") {
		t.Errorf("want the line in the bar's place, then the bar: %q", text)
	}
	out.Reset()
	if err := p.Close(); err != nil || out.String() != clearLine {
		t.Errorf("%q, %v", &out, err)
	}
}

func TestTheBarFitsAnyTerminal(t *testing.T) {
	for _, columns := range []int{0, 1, 10, 20, 40, 60, 80, 140} {
		for _, step := range []int{1, 150, 300} {
			var out bytes.Buffer
			p := onTerminal(&out, 300, columns)
			p.Step(Record{Step: step, StepMS: 1e5})
			if n := utf8.RuneCountInString(strings.TrimPrefix(out.String(), clearLine)); n >= max(1, columns) {
				t.Errorf("%d columns: a bar of %d: %q", columns, n, &out)
			}
		}
	}
}

// A launcher keeps a line that ends in a carriage return at the bottom; the full
// bar ends as a line.
func TestARelayedBarEndsInACarriageReturn(t *testing.T) {
	var out bytes.Buffer
	p := NewProgress(&out, 2, 60)
	p.Step(Record{Step: 1, StepMS: 1000})
	p.Write([]byte("hello\n"))
	p.Step(Record{Step: 2, StepMS: 1000})
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	full := "step 2/2 100% " + strings.Repeat("█", 31) + " 1 steps/s, 2s"
	want := "step 1/2  50% " + strings.Repeat("█", 13) + strings.Repeat("░", 13) + " 1 steps/s, 1s left\rhello\n" + full + "\r" + full + "\n"
	if out.String() != want {
		t.Errorf("\ngot  %q\nwant %q", &out, want)
	}
}

func TestWithoutATerminalThereIsNoBar(t *testing.T) {
	var out bytes.Buffer
	p := NewProgress(&out, 2, 0)
	p.Step(Record{Step: 1})
	p.Write([]byte("hello\n"))
	p.Step(Record{Step: 2})
	if err := p.Close(); err != nil || out.String() != "hello\n" || p.Columns() != 0 {
		t.Errorf("%q, %v, %d columns", &out, err, p.Columns())
	}
}

type fullWriter struct{ room int }

func (w *fullWriter) Write(p []byte) (int, error) {
	if w.room -= len(p); w.room < 0 {
		return 0, errors.New("no space left")
	}
	return len(p), nil
}

func TestLogLinesThatAreLostAreTold(t *testing.T) {
	p := NewProgress(&fullWriter{room: 100}, 2, 0)
	log := NewLogger(p, 0)
	for range 10 {
		log.Info("hello")
	}
	if err := p.Close(); err == nil || !strings.Contains(err.Error(), "log: no space left: lines are missing there") {
		t.Error(err)
	}
}

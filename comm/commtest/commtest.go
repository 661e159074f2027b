// SPDX-License-Identifier: Apache-2.0

// Package commtest is the conformance suite of communicators. An
// implementation's test says how to make n connected ranks:
//
//	func TestConformance(t *testing.T) {
//		commtest.Run(t, []int{1, 2, 3}, func(t *testing.T, n int) []comm.Comm {
//			return local.New(n, local.Options{})
//		})
//	}
//
// Run covers results (bit for bit against a plain oracle), splits, mismatched
// calls, deadlines and aborts, with all ranks in this process. Results are
// also exported as cases for tests whose ranks are processes.
package commtest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"octet/comm"
	"octet/tensor"
)

// Open makes n connected ranks in this process, in the order of their ranks,
// with a generous timeout. They implement comm.Control.
type Open func(t *testing.T, n int) []comm.Comm

// Env is one rank in a case.
type Env struct {
	comm.Comm
	Stream  *Stream
	streams []*Stream
}

// NewEnv makes a rank's environment; Close ends its streams.
func NewEnv(c comm.Comm) *Env {
	e := &Env{Comm: c}
	e.Stream = e.NewStream()
	return e
}

// NewStream starts another stream.
func (e *Env) NewStream() *Stream {
	s := NewStream()
	e.streams = append(e.streams, s)
	return s
}

// Close ends the streams.
func (e *Env) Close() {
	for _, s := range e.streams {
		s.Close()
	}
}

// equal compares got with the bits of want.
func equal(what string, got, want *tensor.Tensor) error {
	g, w := Data(got), Data(want)
	if bytes.Equal(g, w) {
		return nil
	}
	size := got.Type.Size()
	for i := range min(len(g), len(w)) / size {
		if a, b := g[i*size:(i+1)*size], w[i*size:(i+1)*size]; !bytes.Equal(a, b) {
			return fmt.Errorf("%s: element %d of %v is % x, want % x", what, i, got, a, b)
		}
	}
	return fmt.Errorf("%s: %v, want %v", what, got, want)
}

// concat is the tensors one after the other.
func concat(ts ...*tensor.Tensor) *tensor.Tensor {
	n := 0
	for _, t := range ts {
		n += t.Numel()
	}
	out := New(ts[0].Type, n)
	b := Data(out)
	for _, t := range ts {
		b = b[copy(b, Data(t)):]
	}
	return out
}

// part is part q of n equal parts.
func part(t *tensor.Tensor, q, n int) *tensor.Tensor {
	return t.Rows(q*t.Numel()/n, (q+1)*t.Numel()/n)
}

// Case is a body that every rank of a group runs; it leaves the group usable.
type Case struct {
	Name string
	Run  func(e *Env) error
}

// Together runs f on every rank and returns the errors by rank.
func Together(comms []comm.Comm, f func(e *Env) error) []error {
	errs := make([]error, len(comms))
	var wg sync.WaitGroup
	for r, c := range comms {
		wg.Go(func() {
			e := NewEnv(c)
			defer e.Close()
			errs[r] = f(e)
		})
	}
	wg.Wait()
	return errs
}

// Run is the whole suite for groups of the given sizes; faults need at least
// two ranks.
func Run(t *testing.T, sizes []int, open Open) {
	for _, n := range sizes {
		t.Run(fmt.Sprintf("%d ranks", n), func(t *testing.T) {
			t.Parallel()
			comms := opened(t, open, n)
			for _, c := range slices.Concat(Results(), Splits()) {
				t.Run(c.Name, func(t *testing.T) {
					for r, err := range Together(comms, c.Run) {
						if err != nil {
							t.Errorf("rank %d: %v", r, err)
						}
					}
				})
			}
			if n > 1 {
				t.Run("faults", func(t *testing.T) {
					t.Parallel()
					faults(t, n, open)
				})
			}
		})
	}
}

func opened(t *testing.T, open Open, n int) []comm.Comm {
	comms := open(t, n)
	t.Cleanup(func() {
		for r, c := range comms {
			if err := c.(comm.Control).Close(); err != nil {
				t.Errorf("closing rank %d: %v", r, err)
			}
		}
	})
	return comms
}

// mentions fails the test unless err has all the words.
func mentions(t *testing.T, rank int, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("rank %d: no error, want one that mentions %q", rank, words)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("rank %d: error %q does not mention %q", rank, err, w)
		}
	}
}

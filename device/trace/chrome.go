// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// chromeEvent is one of the Trace Event Format of Chrome's, which Perfetto reads too; times
// are in microseconds.
type chromeEvent struct {
	Name  string         `json:"name"`
	Phase string         `json:"ph"` // X: with a duration; M: what a row is called
	PID   int            `json:"pid"`
	TID   int            `json:"tid"`
	Cat   string         `json:"cat,omitempty"`
	TS    *float64       `json:"ts,omitempty"`
	Dur   *float64       `json:"dur,omitempty"`
	Args  map[string]any `json:"args,omitempty"`
}

// WriteChrome writes the spans of ranks, by their numbers, as a trace that Perfetto
// (ui.perfetto.dev) and chrome://tracing open: a process a rank, a row a stream. Spans without times are left out.
func WriteChrome(w io.Writer, ranks map[int][]*Span) error {
	out := bufio.NewWriter(w)
	fmt.Fprint(out, `{"displayTimeUnit":"ms","traceEvents":[`)
	first := true
	write := func(e chromeEvent) error {
		text, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("trace: %w", err)
		}
		if !first {
			fmt.Fprint(out, ",")
		}
		first = false
		_, err = fmt.Fprintf(out, "\n%s", text)
		return err
	}
	for _, rank := range slices.Sorted(maps.Keys(ranks)) {
		if err := write(chromeEvent{Name: "process_name", Phase: "M", PID: rank, Args: map[string]any{"name": fmt.Sprint("rank ", rank)}}); err != nil {
			return err
		}
		rows := map[string]int{}
		for _, s := range ranks[rank] {
			if !s.Timed {
				continue
			}
			row, ok := rows[s.Stream]
			if !ok {
				row = len(rows)
				rows[s.Stream] = row
				if err := write(chromeEvent{Name: "thread_name", Phase: "M", PID: rank, TID: row, Args: map[string]any{"name": s.Stream}}); err != nil {
					return err
				}
			}
			if err := write(s.chrome(rank, row)); err != nil {
				return err
			}
		}
	}
	fmt.Fprint(out, "\n]}\n")
	return out.Flush()
}

// chrome is the span as an event.
func (s *Span) chrome(rank, row int) chromeEvent {
	micro := func(d time.Duration) *float64 {
		x := float64(d.Nanoseconds()) / 1e3
		return &x
	}
	e := chromeEvent{Name: s.Name, Phase: "X", PID: rank, TID: row, Cat: s.Kind.String(), TS: micro(s.Begin), Dur: micro(s.Took()), Args: map[string]any{}}
	switch s.Kind {
	case Wait:
		e.Name, e.Args["for"] = "wait for "+s.Of, s.Of
		return e
	case Collective:
		e.Args["group"], e.Args["seq"], e.Args["ranks"] = s.Group, s.Seq, s.Ranks
		e.Args["dtype"] = s.types()
	}
	if s.Of != "" {
		e.Args["of"] = s.Of
	}
	tensors := make([]string, len(s.Args))
	for i, a := range s.Args {
		tensors[i] = a.String()
	}
	e.Args["tensors"], e.Args["bytes"] = tensors, s.Bytes
	if s.FLOPs > 0 {
		e.Args["flops"] = s.FLOPs
		e.Args["GFLOP/s"] = s.FLOPs / float64(max(1, s.Took().Nanoseconds()))
	}
	if s.Kind == Kernel {
		e.Args["GB/s"] = float64(s.Bytes) / float64(max(1, s.Took().Nanoseconds()))
	}
	return e
}

// types are those of the tensors, each once.
func (s *Span) types() (types []string) {
	for _, a := range s.Args {
		if t := a.Type.String(); !slices.Contains(types, t) {
			types = append(types, t)
		}
	}
	return types
}

// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// shown is how many tensors of a list a line has.
const shown = 4

// WriteSchedule writes what was enqueued as text, in its order, a line each, and how much it
// is all together: launches of kernels, bytes that they move, collectives by kind and type.
// Lines that follow one another and are alike are one.
func WriteSchedule(w io.Writer, spans []*Span) error {
	out := bufio.NewWriter(w)
	times := 1
	for i, s := range spans {
		line := s.schedule()
		if i+1 < len(spans) && spans[i+1].schedule() == line {
			times++
			continue
		}
		if times > 1 {
			line += fmt.Sprintf(", %d times", times)
			times = 1
		}
		fmt.Fprintln(out, line)
	}
	fmt.Fprint(out, total(spans))
	return out.Flush()
}

// schedule is such as "compute         MatMul NT bfloat16[2048 768] bfloat16[2048 256] bfloat16[768 256], 805306368 FLOP, 4587520 bytes".
func (s *Span) schedule() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-15s %s", s.Stream, s.Name)
	if s.Kind == Wait {
		return b.String() + " for " + s.Of
	}
	if s.Kind == Collective {
		fmt.Fprintf(&b, " %s #%d of %d ranks", s.Group, s.Seq, s.Ranks)
	}
	if s.Of != "" {
		b.WriteString(" " + s.Of)
	}
	for i, a := range s.Args {
		if i == shown && len(s.Args) > shown+1 {
			fmt.Fprintf(&b, " and %d more", len(s.Args)-shown)
			break
		}
		b.WriteString(" " + a.String())
	}
	if s.FLOPs > 0 {
		fmt.Fprintf(&b, ", %.0f FLOP", s.FLOPs)
	}
	fmt.Fprintf(&b, ", %d bytes", s.Bytes)
	return b.String()
}

// total is what spans are together.
func total(spans []*Span) string {
	type sent struct {
		what         string
		calls, bytes int64
	}
	var kernels, moved, transfers, waits int64
	var flops float64
	var comms []sent
	for _, s := range spans {
		switch s.Kind {
		case Kernel:
			kernels, moved, flops = kernels+1, moved+s.Bytes, flops+s.FLOPs
		case Transfer:
			transfers++
		case Wait:
			waits++
		case Collective:
			what := strings.TrimSpace(s.Name + " " + strings.Join(s.types(), "+"))
			i := slices.IndexFunc(comms, func(c sent) bool { return c.what == what })
			if i < 0 {
				i, comms = len(comms), append(comms, sent{what: what})
			}
			comms[i].calls, comms[i].bytes = comms[i].calls+1, comms[i].bytes+s.Bytes
		}
	}
	slices.SortFunc(comms, func(a, b sent) int { return cmp.Compare(a.what, b.what) })
	var b strings.Builder
	fmt.Fprintf(&b, "total: %d kernels, %.0f FLOP, %d bytes moved; %d transfers, %d waits\n", kernels, flops, moved, transfers, waits)
	for _, c := range comms {
		fmt.Fprintf(&b, "total: %s, %d calls, %d bytes\n", c.what, c.calls, c.bytes)
	}
	return b.String()
}

// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"octet/device/trace"
	"octet/dtype"
	"octet/metrics/chart"
	"octet/tensor"
)

// Line is a kind of work of one stream in a step, all its calls together.
type Line struct {
	Stream, Group, Name string
	Calls               int
	MS                  float64
	FLOPs, Bytes        float64
	LimitMS             float64 // what it would take at the limits; 0: it has none
}

// Groups of lines.
const (
	host   = "host"
	waits  = "wait"
	beside = "beside: "
)

// groups are those of kernels, by their names in device.Kernels.
var groups = map[string]string{
	"MatMul":    "matmul",
	"Attention": "attention", "AttentionGrad": "attention",
	"Amax": "cast", "Scales": "cast", "Cast": "cast", "DynamicCast": "cast", "RecordCast": "cast", "SyncHistories": "cast", "CastStats": "cast", "Transpose": "cast", "Copy": "cast",
	"SwiGLU": "activation", "SwiGLUGrad": "activation", "Activate": "activation", "ActivateGrad": "activation",
	"RMSNorm": "norm", "RMSNormGrad": "norm", "LayerNorm": "norm", "LayerNormGrad": "norm",
	"RoPE":      "rope",
	"Embedding": "embedding", "EmbeddingGrad": "embedding",
	"CrossEntropy": "loss", "CrossEntropyStats": "loss", "CrossEntropyGrad": "loss", "RescaleSum": "loss", "SquaredError": "loss", "Reciprocal": "loss",
	"SumSquares": "optimizer", "ClipCoef": "optimizer", "AdamW": "optimizer",
	"Zero": "elementwise", "Add": "elementwise", "AddBias": "elementwise", "BiasGrad": "elementwise",
}

// short are the names of types as tables have room for.
func short(t dtype.Type) string {
	switch t {
	case dtype.Float32:
		return "f32"
	case dtype.BFloat16:
		return "bf16"
	case dtype.Float8E4M3:
		return "e4m3"
	case dtype.Float8E5M2:
		return "e5m2"
	}
	return t.String()
}

// line is the one that a span belongs to.
func line(s *trace.Span) Line {
	l := Line{Stream: s.Stream, Name: s.Name}
	switch s.Kind {
	case trace.Kernel:
		l.Group, l.Name = groups[s.Name], kernelName(s)
	case trace.Transfer:
		l.Group = "transfer"
	case trace.Collective:
		l.Group, l.Name = waits, s.Name
	case trace.Wait:
		l.Group, l.Name = waits, "for "+s.Of
	}
	if s.Stream != computeStream {
		l.Group = beside + s.Stream
	}
	return l
}

// computeStream is the name of the stream that forward and backward run on (parallel.Model).
const computeStream = "compute"

// kernelName tells products apart by role and sizes, and casts by types.
func kernelName(s *trace.Span) string {
	a := s.Args
	switch {
	case s.Name == "MatMul":
		m := a[0].Shape[len(a[0].Shape)-1]
		rows := tensor.Numel(a[0].Shape) / max(1, m)
		layout, _, _ := strings.Cut(s.Of, " ")
		role, ok := map[string]string{"NT": "output", "NN": "grad_input", "TN": "grad_weight"}[layout] // as nn.Linear multiplies
		if !ok {
			role = layout
		}
		return fmt.Sprintf("%s %dx%dx%d %s·%s", role, rows, tensor.Numel(a[1].Shape)/max(1, rows), m, short(a[1].Type), short(a[2].Type))
	case strings.HasSuffix(s.Name, "Cast") || s.Name == "Copy":
		return fmt.Sprintf("%s %s to %s", s.Name, short(a[len(a)-1].Type), short(a[0].Type))
	}
	return s.Name
}

// profile is that of the faster half of the timed steps, by rank 0's clock.
func profile(ranks []rankSteps) *Profile {
	order := make([]int, len(ranks[0].timed))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Compare(ranks[0].timed[a].record.StepMS, ranks[0].timed[b].record.StepMS)
	})
	order = order[:(len(order)+1)/2]
	p := &Profile{}
	lines := map[Line]*Line{} // by stream, group and name
	busy := 0.0
	part := 1 / float64(len(order)*len(ranks))
	for r, m := range ranks {
		for _, i := range order {
			p.WallMS += m.timed[i].record.StepMS * part
			for _, s := range m.timed[i].spans {
				key := line(s)
				if key.Group != waits && s.Kind == trace.Wait {
					continue // another stream has nothing to do
				}
				l := lines[key]
				if l == nil {
					l = &Line{Stream: key.Stream, Group: key.Group, Name: key.Name}
					lines[key] = l
				}
				took, least := s.Took().Seconds()*1e3*part, m.limits.seconds(s)*1e3*part
				l.MS += took
				l.FLOPs += s.FLOPs * part
				l.LimitMS += least
				if s.Kind == trace.Kernel {
					l.Bytes += float64(s.Bytes) * part
				}
				if r == 0 && i == order[0] {
					l.Calls++
				}
				if s.Stream == computeStream {
					busy += took
					p.RooflineMS += least
				}
			}
		}
	}
	lines[Line{}] = &Line{Stream: computeStream, Group: host, Name: "nothing enqueued", Calls: 1, MS: p.WallMS - busy}
	for _, l := range lines {
		p.Lines = append(p.Lines, *l)
	}
	p.sort()
	var plain, timed []float64
	for i, r := range ranks[0].plain {
		plain, timed = append(plain, r.StepMS), append(timed, ranks[0].timed[i].record.StepMS)
	}
	p.PlainMS = median(plain)
	p.Overhead = median(timed)/p.PlainMS - 1
	r := ranks[0].plain[0]
	p.TokensPerS = float64(r.Tokens) / float64(len(ranks)) / (p.PlainMS / 1e3)
	return p
}

// sort puts what makes up the step first, the groups and their lines by the time they take.
func (p *Profile) sort() {
	total := map[string]float64{}
	for _, l := range p.Lines {
		total[l.Group] += l.MS
	}
	last := func(l Line) int {
		if l.Stream != computeStream {
			return 1
		}
		return 0
	}
	slices.SortFunc(p.Lines, func(a, b Line) int {
		return cmp.Or(cmp.Compare(last(a), last(b)), cmp.Compare(total[b.Group], total[a.Group]), cmp.Compare(a.Group, b.Group), cmp.Compare(b.MS, a.MS), cmp.Compare(a.Name, b.Name))
	})
}

// Groups are the lines of the compute stream, those of a group added up.
func (p *Profile) Groups() (sums []Line) {
	for _, l := range p.Lines {
		if l.Stream == computeStream {
			sums = add(sums, l)
		}
	}
	return sums
}

// add adds l to the last of the sums if that is of its group.
func add(sums []Line, l Line) []Line {
	if n := len(sums); n > 0 && sums[n-1].Group == l.Group {
		s := &sums[n-1]
		s.Name = "all"
		s.Calls, s.MS, s.FLOPs, s.Bytes, s.LimitMS = s.Calls+l.Calls, s.MS+l.MS, s.FLOPs+l.FLOPs, s.Bytes+l.Bytes, s.LimitMS+l.LimitMS
		return sums
	}
	return append(sums, l)
}

// write writes a group's sum before its lines, and what is known of the whole.
func (p *Profile) write(out Output, first rankSteps) error {
	var sums []Line
	for _, l := range p.Lines {
		sums = add(sums, l)
	}
	rows, err := Output{Text: out.Text, CSV: out.CSV}.table(len(p.Lines)+len(sums), column{"group", 22}, column{"kernel", 38}, column{"stream", 0}, column{"calls", 5},
		column{"ms", 8}, column{"share", 8}, column{"gflops", 8}, column{"gbytes_s", 8}, column{"limit_ms", 0}, column{"of_limit", 8})
	if err != nil {
		return err
	}
	row := func(l Line) error {
		values := []any{l.Group, l.Name, l.Stream, l.Calls, rounded(l.MS), rounded(l.MS / p.WallMS), nil, nil, nil, nil}
		if l.FLOPs > 0 {
			values[6] = l.FLOPs / l.MS / 1e6
		}
		if l.Bytes > 0 {
			values[7] = l.Bytes / l.MS / 1e6
		}
		if l.LimitMS > 0 {
			values[8], values[9] = l.LimitMS, l.LimitMS/l.MS
		}
		return rows.row(values...)
	}
	for _, sum := range sums {
		if sum.Name == "all" {
			if err := row(sum); err != nil {
				return err
			}
		}
		for _, l := range p.Lines {
			if l.Group == sum.Group {
				if err := row(l); err != nil {
					return err
				}
			}
		}
	}
	_, err = fmt.Fprint(out.Text, p.summary(first))
	return err
}

// rounded to four digits behind the point: a microsecond of a clock means nothing.
func rounded(x float64) float64 { return math.Round(x*1e4) / 1e4 }

func (p *Profile) summary(m rankSteps) string {
	var b strings.Builder
	fmt.Fprintf(&b, "a step of %s: %.4g ms timed kernel by kernel, %.4g in turns without (%+.1f %%, of medians); its roofline is %.4g ms\n", p.On, p.WallMS, p.PlainMS, 100*p.Overhead, p.RooflineMS)
	fmt.Fprintf(&b, "a rank without: %.4g tokens/s, %.4g GFLOP/s, mfu %.2f%% of %.4g GFLOP/s\n", p.TokensPerS, p.FLOPS/1e9, 100*p.FLOPS/p.PeakFLOPS, p.PeakFLOPS/1e9)
	fmt.Fprintf(&b, "limits of rank 0 while all do the same: %.4g GFLOP/s in f32, %.4g in bf16, %.4g in float8; copies", m.limits.peaks[dtype.Float32]/1e9, m.limits.peaks[dtype.BFloat16]/1e9, m.limits.peaks[dtype.Float8E4M3]/1e9)
	for i, c := range m.limits.copies {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, " of %d KiB at %.4g GB/s", c.bytes>>10, c.rate/1e9)
	}
	b.WriteByte('\n')
	return b.String()
}

// Bars is the picture of the step: the groups of the compute stream, and of each how much
// of it the limits would take.
func (p *Profile) Bars(title string) chart.Bars {
	b := chart.Bars{Title: title, Unit: "ms of a step", Part: "what arithmetic and bytes take at the measured limits", Rest: "the rest"}
	for _, g := range p.Groups() {
		b.Bars = append(b.Bars, chart.Bar{Name: g.Group, Length: g.MS, Part: min(g.MS, g.LimitMS)})
	}
	return b
}

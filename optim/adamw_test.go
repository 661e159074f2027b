// SPDX-License-Identifier: Apache-2.0

package optim

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"octet/checkpoint/safetensors"
	"octet/device"
	"octet/dtensor"
	"octet/dtype"
	"octet/nn"
	"octet/tensor"
	"octet/test/ranks"
)

// rig is one rank with its parameters.
type rig struct {
	dev  device.Device
	s    device.Stream
	pool *device.Pool
}

func newRig(t *testing.T, isa string) *rig {
	t.Helper()
	return rigOn(ranks.Device(t, ranks.Options{ISA: isa}))
}

func rigOn(dev device.Device) *rig { return &rig{dev, dev.NewStream("test"), device.NewPool(dev)} }

// param is a parameter of rows rows and one row of padding, which holds junk.
func (r *rig) param(name string, rows, cols int) *nn.Param {
	p := nn.NewParam(nn.Init{}, rows, cols)
	p.Name = name
	p.Place(dtensor.Alone(rows, cols), 0)
	for _, t := range []**tensor.Tensor{&p.Shard, &p.Grad} {
		*t = r.pool.New(dtype.Float32, rows+1, cols)
		r.put((*t).Rows(rows, rows+1), junk(cols))
	}
	return p
}

func junk(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = 7
	}
	return x
}

func (r *rig) put(t *tensor.Tensor, x []float32) { r.s.Upload(t, device.Float32Bytes(x)) }

func (r *rig) get(t *testing.T, x *tensor.Tensor) []float32 {
	t.Helper()
	out := make([]float32, x.Numel())
	r.s.Download(device.Float32Bytes(out), x)
	if err := r.s.Sync(); err != nil {
		t.Fatal(err)
	}
	return out
}

// loop is PyTorch's loop form of Adam and AdamW, each line one rounding to
// float32, with the factors computed in float64.
type loop struct {
	p, m, v []float32
	t       float64
}

func (l *loop) step(g []float32, coef float32, lr float64, o AdamOptions) {
	l.t++
	c1, c2 := 1-math.Pow(o.Beta1, l.t), 1-math.Pow(o.Beta2, l.t)
	for i, g := range g {
		g *= coef
		if o.L2 {
			g = float32(g + float32(o.WeightDecay)*l.p[i])
		} else {
			l.p[i] *= float32(1 - lr*o.WeightDecay)
		}
		l.m[i] += float32(1-o.Beta1) * (g - l.m[i])
		l.v[i] = float32(float32(o.Beta2)*l.v[i]) + float32(1-o.Beta2)*float32(g*g)
		denom := float32(math.Sqrt(float64(l.v[i])))/float32(math.Sqrt(c2)) + float32(o.Eps)
		l.p[i] -= float32(lr/c1) * float32(l.m[i]/denom)
	}
}

// exact is the same in float64, from the paper: the moments without lerp, the
// decay apart.
type exact struct {
	p, m, v []float64
	t       float64
}

func (e *exact) step(g []float32, coef float32, lr float64, o AdamOptions) {
	e.t++
	for i := range g {
		g, old := float64(g[i])*float64(coef), e.p[i]
		if o.L2 {
			g += o.WeightDecay * old
		}
		e.m[i] = o.Beta1*e.m[i] + (1-o.Beta1)*g
		e.v[i] = o.Beta2*e.v[i] + (1-o.Beta2)*g*g
		mhat, vhat := e.m[i]/(1-math.Pow(o.Beta1, e.t)), e.v[i]/(1-math.Pow(o.Beta2, e.t))
		e.p[i] -= lr * mhat / (math.Sqrt(vhat) + o.Eps)
		if !o.L2 {
			e.p[i] -= lr * o.WeightDecay * old
		}
	}
}

// TestTwentyStepsAreTorchs: 20 steps at a learning rate of 1e-2 with unit
// gradients stay within 2e-7 of PyTorch's loop form in float32 and, as that
// form does itself, within 1e-6 of the formula in float64.
func TestTwentyStepsAreTorchs(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    AdamOptions
		coef float32
	}{
		{"AdamW", AdamOptions{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1}, 1},
		{"AdamW without decay", AdamOptions{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8}, 1},
		{"AdamW, clipped", AdamOptions{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1}, 0.3},
		{"AdamW, large eps", AdamOptions{Beta1: 0.9, Beta2: 0.95, Eps: 0.1, WeightDecay: 0.1}, 1},
		{"Adam", AdamOptions{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1, L2: true}, 1},
	} {
		for _, isa := range []string{"portable", "avx2", "avx512"} {
			t.Run(tt.name+"/"+isa, func(t *testing.T) {
				r := newRig(t, isa)
				rows, cols := []int{3, 0, 37}, 5 // a rank may have no rows of a parameter
				var params []*nn.Param
				for i, n := range rows {
					params = append(params, r.param(fmt.Sprint(i), n, cols))
				}
				adam, err := NewAdam(r.dev, r.s, params, tt.o)
				if err != nil {
					t.Fatal(err)
				}
				draw := rand.New(rand.NewPCG(3, 4))
				normal := func(n int, std float64) []float32 {
					x := make([]float32, n)
					for i := range x {
						x[i] = float32(draw.NormFloat64() * std)
					}
					return x
				}
				loops, exacts := make([]loop, len(rows)), make([]exact, len(rows))
				for i, n := range rows {
					start := normal(n*cols, 0.5)
					r.put(params[i].Local(), start)
					loops[i] = loop{p: start, m: make([]float32, n*cols), v: make([]float32, n*cols)}
					exacts[i] = exact{p: wide(start), m: make([]float64, n*cols), v: make([]float64, n*cols)}
				}
				coef := r.pool.New(dtype.Float32, 1)
				r.put(coef, []float32{tt.coef})
				for step := range 20 {
					lr := 1e-2 * float64(20-step) / 20
					for i, n := range rows {
						g := normal(n*cols, 1)
						r.put(params[i].LocalGrad(), g)
						loops[i].step(g, tt.coef, lr, tt.o)
						exacts[i].step(g, tt.coef, lr, tt.o)
					}
					adam.Step(r.s, coef, lr)
				}
				var fromLoop, fromExact float64
				for i, p := range params {
					for k, got := range r.get(t, p.Local()) {
						fromLoop = max(fromLoop, math.Abs(float64(got)-float64(loops[i].p[k])))
						fromExact = max(fromExact, math.Abs(float64(got)-exacts[i].p[k]))
					}
					for _, v := range append(r.get(t, p.Shard.Rows(rows[i], rows[i]+1)), r.get(t, p.Grad.Rows(rows[i], rows[i]+1))...) {
						if v != 7 {
							t.Fatalf("parameter %d: padding became %v", i, v)
						}
					}
					if p.Version() != 20 {
						t.Errorf("parameter %d: version %d after 20 steps", i, p.Version())
					}
				}
				t.Logf("largest difference %.2g from the loop, %.2g from float64", fromLoop, fromExact)
				if fromLoop > 2e-7 || fromExact > 1e-6 {
					t.Errorf("largest difference %.2g from PyTorch's loop, %.2g from float64: more than 2e-7, 1e-6", fromLoop, fromExact)
				}
			})
		}
	}
}

func wide(x []float32) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}

// TestClipIsTheGlobalNorm on ranks with unequal shares of the gradients.
func TestClipIsTheGlobalNorm(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, tt := range []struct {
		name       string
		shares     [][]float32 // by rank
		max        float32
		norm, coef float32
	}{
		{"one rank", [][]float32{{3, 4}}, 1, 5, 1 / 5.000001},
		{"two ranks", [][]float32{{3, 0, 0}, {0, 0, -4}}, 1, 5, 1 / 5.000001},
		{"a rank without rows", [][]float32{{3, 4}, {}, {12}}, 1, 13, 1 / 13.000001},
		{"small enough", [][]float32{{0.3}, {0.4}}, 1, 0.5, 1},
		{"never", [][]float32{{3}, {4}}, inf, 5, 1},
		{"zero", [][]float32{{0}, {0}}, 1, 0, 1},
		{"inf", [][]float32{{1}, {inf}}, 1, inf, nan},
		{"nan", [][]float32{{1}, {nan}}, 1, nan, nan},
		{"squares beyond float32", [][]float32{{3e19}, {4e19}}, 1, inf, nan},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ranks.Run(t, len(tt.shares), ranks.Options{ISA: "portable"}, func(rank *ranks.Rank) error {
				r := rigOn(rank.Device)
				share := tt.shares[rank.Rank]
				p := r.param("w", len(share), 1)
				r.put(p.LocalGrad(), share)
				c := NewClipper(r.pool, []*nn.Param{p})
				c.Measure(r.s, rank.World, tt.max)
				norm, coef := make([]float32, 1), make([]float32, 1)
				r.s.Download(device.Float32Bytes(norm), c.Norm)
				r.s.Download(device.Float32Bytes(coef), c.Coef)
				if err := r.s.Sync(); err != nil {
					return err
				}
				if !same(norm[0], tt.norm) || !same(coef[0], tt.coef) {
					return fmt.Errorf("norm %v, coefficient %v, want %v and %v", norm[0], coef[0], tt.norm, tt.coef)
				}
				return nil
			})
		})
	}
}

// same is equality to one ulp or so.
func same(got, want float32) bool {
	if want != want {
		return got != got
	}
	return got == want || math.Abs(float64(got-want)) <= 2e-7*math.Abs(float64(want))
}

// TestNormOfTheGoldenGradients is that which PyTorch printed in step 1.
func TestNormOfTheGoldenGradients(t *testing.T) {
	const golden = "../testdata/golden/"
	var run struct {
		Steps []struct {
			GradNorm float64 `json:"grad_norm"`
		} `json:"steps"`
	}
	text, err := os.ReadFile(golden + "llama_f32.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &run); err != nil {
		t.Fatal(err)
	}
	set, err := safetensors.Open(golden + "llama_f32_step1.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	rank := ranks.Open(t, 1, ranks.Options{ISA: "portable"})[0]
	r := rigOn(rank.Device)
	var params []*nn.Param
	for _, name := range set.Names() {
		if !strings.HasPrefix(name, "grad.") {
			continue
		}
		_, raw, err := set.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		p := r.param(name, len(raw)/4, 1)
		r.s.Upload(p.LocalGrad(), raw)
		params = append(params, p)
	}
	c := NewClipper(r.pool, params)
	c.Measure(r.s, rank.World, 1)
	if got, want := r.get(t, c.Norm)[0], float32(run.Steps[0].GradNorm); len(params) != 21 || math.Abs(float64(got/want-1)) > 1e-6 {
		t.Errorf("norm of %d gradients %v, want %v", len(params), got, want)
	}
}

// TestAdamGoesOnFromItsState: an Adam that is given the state of another goes on as
// that does, to the last bit.
func TestAdamGoesOnFromItsState(t *testing.T) {
	r := newRig(t, "")
	options := AdamOptions{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1}
	var adams [2]*Adam
	var params [2]*nn.Param
	for i := range adams {
		params[i] = r.param("w", 3, 5)
		var err error
		if adams[i], err = NewAdam(r.dev, r.s, params[i:i+1], options); err != nil {
			t.Fatal(err)
		}
	}
	step := func(i, n int) {
		grad := make([]float32, 15)
		for k := range grad {
			grad[k] = float32(k-n) / 7
		}
		r.put(params[i].LocalGrad(), grad)
		adams[i].Step(r.s, nil, 1e-2)
	}
	r.put(params[0].Local(), junk(15))
	for n := range 3 {
		step(0, n)
	}
	// A second one, of the first's weights and state.
	r.s.Copy(params[1].Local(), params[0].Local())
	from, to := adams[0].State(), adams[1].State()
	if len(from) != 3 || from[0].Name != "optim.m.w" || from[1].Name != "optim.v.w" || from[2].Name != "optim.steps" {
		t.Fatalf("state %v", from)
	}
	for i := range from {
		if from[i].Box().Numel() != from[i].Local.Numel() || from[i].Local.Type != to[i].Local.Type {
			t.Errorf("%s: %v is %v of %v", from[i].Name, from[i].Local, from[i].Box(), from[i].Layout)
		}
		bytes := make([]byte, from[i].Local.Bytes())
		r.s.Download(bytes, from[i].Local)
		if err := r.s.Sync(); err != nil {
			t.Fatal(err)
		}
		r.s.Upload(to[i].Local, bytes)
	}
	for n := range 2 {
		step(0, 3+n)
		step(1, 3+n)
	}
	if a, b := r.get(t, params[0].Local()), r.get(t, params[1].Local()); !slices.Equal(a, b) {
		t.Errorf("%v goes on as %v", a, b)
	}
}

// SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"strings"
	"testing"

	"octet/dtype"
	"octet/internal/datadriven"
)

// TestRoutes reads products: a shape MxNxK, the types of A, B and D, and what differs from a
// TN product with a scale for each operand; on a GPU whose cuBLASLt has the modes given.
func TestRoutes(t *testing.T) {
	var can Modes
	datadriven.Run(t, "testdata/routes.txt", func(t *testing.T, c *datadriven.Case) string {
		if c.Cmd == "modes" {
			can = Modes{}
			for _, word := range c.Args {
				switch word {
				case "f32":
					can.F32 = true
				case "bf16":
					can.BF16 = true
				case "rowwise":
					can.Rowwise = true
				case "accumulate":
					can.Accumulate = true
				default:
					for tr := range transpositions {
						can.Tensorwise[tr] = can.Tensorwise[tr] || word == tr.String()
					}
				}
			}
			return can.String()
		}
		p := parse(t, c)
		var out []string
		for _, r := range Routes(p, can) {
			out = append(out, r.String())
		}
		return strings.Join(out, "\n")
	})
}

var scalesNamed = map[string]Scales{"none": None, "one": One, "each": Each}

// parse reads `product M N K A B D [a=k|m] [b=k|n] [scales=ONE,OTHER] [align=A,B,D] [add] [fast]`.
func parse(t *testing.T, c *datadriven.Case) Problem {
	t.Helper()
	is := func(word string) bool { return strings.Contains(" "+strings.Join(c.Args, " ")+" ", " "+word+" ") }
	number := func(i int) int {
		n := 0
		for _, d := range c.Args[i] {
			n = 10*n + int(d-'0')
		}
		return n
	}
	kind := func(i int) dtype.Type {
		x, err := dtype.Parse(c.Args[i])
		if err != nil {
			t.Fatalf("%s: %v", c.Pos, err)
		}
		return x
	}
	p := Problem{M: number(0), N: number(1), K: number(2), D: kind(5), DAlign: c.Int(t, "dalign", MaxAlign), Accumulate: is("add"), FastAccum: is("fast")}
	side := func(t *testing.T, of dtype.Type, name string, lanes int) Side {
		s := Side{Type: of, KContiguous: c.Vals[name] != "lanes", LD: p.K, Align: c.Int(t, name+"align", MaxAlign)}
		if !s.KContiguous {
			s.LD = lanes
		}
		if of.IsFloat8() {
			s.Scales = One
		}
		if v, ok := c.Vals[name+"scales"]; ok {
			s.Scales = scalesNamed[v]
		}
		return s
	}
	p.A, p.B = side(t, kind(3), "a", p.M), side(t, kind(4), "b", p.N)
	return p
}

func TestAlignment(t *testing.T) {
	for _, tt := range []struct {
		address  uint64
		distance int
		want     int
	}{{0, 0, 256}, {4096, 512, 256}, {4096, 48, 16}, {4098, 512, 2}, {3, 256, 1}} {
		if got := Alignment(tt.address, tt.distance); got != tt.want {
			t.Errorf("Alignment(%d, %d) = %d, want %d", tt.address, tt.distance, got, tt.want)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package grid_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"octet/comm"
	"octet/comm/grid"
	"octet/comm/null"
	"octet/comm/record"
	"octet/device"
	"octet/dtensor"
	"octet/dtype"
	"octet/test/ranks"
)

// TestAnyLayoutBecomesAnyOther of a random tensor of whole numbers on a random mesh of up
// to three axes and twelve ranks, most often unevenly: each rank then has its part, and
// all of it is the original, bit for bit. The collectives are those of the plan, and send no
// more than gathering all and cutting would. The plan's text is that of another planning.
func TestAnyLayoutBecomesAnyOther(t *testing.T) {
	random := rand.New(rand.NewPCG(13, 4))
	for range 120 {
		mesh := randomMesh(t, random)
		shape := make([]int, random.IntN(4))
		for d := range shape {
			shape[d] = random.IntN(8)
		}
		whole := make([]float32, numel(shape))
		for i := range whole {
			whole[i] = float32(random.IntN(2001) - 1000)
		}
		op := []dtensor.Reduce{dtensor.Sum, dtensor.Max}[random.IntN(2)]
		from, to := randomLayout(random, mesh, shape, op), randomLayout(random, mesh, shape, op)
		p, err := dtensor.NewPlan(from, to, dtype.Float32)
		if err != nil {
			t.Fatal(err)
		}
		if again, _ := dtensor.NewPlan(from, to, dtype.Float32); again.String() != p.String() {
			t.Errorf("one plan is\n%vand then\n%v", p, again)
		}
		if most := throughWhole(from); p.Bytes() > most {
			t.Errorf("%vgathering all takes %d bytes", p, most)
		}
		check(t, p, whole, op)
	}
}

// check runs a plan on all ranks.
func check(t *testing.T, p dtensor.Plan, whole []float32, op dtensor.Reduce) {
	t.Helper()
	ranks.Run(t, len(p.From.Mesh().Ranks()), ranks.Options{}, func(r *ranks.Rank) error {
		s, pool := r.Device.NewStream("test"), device.NewPool(r.Device)
		sent := record.Log{Keep: true}
		g, err := grid.New(p.From.Mesh(), record.New(r.World, &sent))
		if err != nil {
			return err
		}
		local := pool.New(dtype.Float32, p.From.Box(r.Rank).Shape()...)
		values := terms(p.From, r.Rank, whole, op)
		s.Upload(local, device.Float32Bytes(values))
		before := pool.Live()
		x := g.FromLocal(local, p.From)
		y, err := g.Redistribute(s, pool, x, p.To)
		if err != nil {
			return err
		}
		all, err := g.FullTensor(s, pool, y)
		if err != nil {
			return err
		}
		got, full, still := make([]float32, y.Local.Numel()), make([]float32, len(whole)), make([]float32, len(values))
		s.Download(device.Float32Bytes(got), y.Local)
		s.Download(device.Float32Bytes(full), all.Local)
		s.Download(device.Float32Bytes(still), local)
		if err := s.Sync(); err != nil {
			return fmt.Errorf("%v%w", p, err)
		}
		back, err := dtensor.NewPlan(p.To, all.Layout, p.Type)
		if err != nil {
			return err
		}
		for step, kind := range map[dtensor.StepKind]comm.Kind{
			dtensor.AllGather: comm.AllGather, dtensor.AllToAll: comm.AllToAll, dtensor.ReduceScatter: comm.ReduceScatter, dtensor.AllReduce: comm.AllReduce,
		} {
			planned := int64(0)
			for _, s := range slices.Concat(p.Steps, back.Steps) {
				if s.Kind == step {
					planned++
				}
			}
			if calls := sent.Count(kind, dtype.Float32).Calls; calls != planned {
				t.Errorf("rank %d: %v%v%d calls of %v", r.Rank, p, back, calls, kind)
			}
		}
		if n, planned := ring(sent.Take()), p.Bytes()+back.Bytes(); n > planned || r.Rank == 0 && n != planned {
			t.Errorf("rank %d: %v%v%d bytes sent", r.Rank, p, back, n)
		}
		if !slices.Equal(full, whole) || !slices.Equal(still, values) {
			t.Errorf("rank %d: %vhas all of it as %v, want %v; its own part is %v, was %v", r.Rank, p, full, whole, still, values)
		}
		if want := part(p.To, r.Rank, whole); !pending(p.To) && !slices.Equal(got, want) {
			t.Errorf("rank %d: %vhas %v, want %v", r.Rank, p, got, want)
		}
		if all.Local != y.Local {
			pool.Free(all.Local)
		}
		if y.Local != local {
			pool.Free(y.Local)
		}
		if pool.Live() != before {
			t.Errorf("rank %d: %v%d bytes are not freed", r.Rank, p, pool.Live()-before)
		}
		return nil
	})
}

// ring is the bytes that a rank sends in calls of 4 bytes an element, each of which goes round the ring of its group.
func ring(calls []record.Call) (bytes int) {
	for _, c := range calls {
		n := int(c.Bytes())
		switch others := c.Ranks - 1; c.Kind {
		case comm.AllGather:
			bytes += others * n
		case comm.ReduceScatter, comm.AllToAll:
			bytes += others * n / c.Ranks
		case comm.AllReduce:
			bytes += 4 * ((2*others*n/4 + others) / c.Ranks)
		}
	}
	return bytes
}

// terms is what a rank has of a whole: its part, or a term of what is pending.
func terms(l dtensor.Layout, rank int, whole []float32, op dtensor.Reduce) []float32 {
	mine := part(l, rank, whole)
	term, of := 0, 1
	at, _ := l.Mesh().Coordinate(rank)
	for i, axis := range l.Mesh().Axes() {
		if _, ok := l.Placement(axis.Name).IsPartial(); ok {
			term, of = term*axis.Size+at[i], of*axis.Size
		}
	}
	for i, x := range mine {
		switch {
		case of == 1:
		case op == dtensor.Max && (i+term)%of != 0:
			mine[i] = x - float32(1+i)
		case op == dtensor.Sum && term > 0:
			mine[i] = float32(term * (i + 1))
		case op == dtensor.Sum:
			mine[i] = x - float32(of*(of-1)/2*(i+1))
		}
	}
	return mine
}

func part(l dtensor.Layout, rank int, whole []float32) []float32 {
	box := l.Box(rank)
	mine := make([]float32, box.Numel())
	box.Overlap(dtensor.Whole(l.Shape()), func(at, from, n int) { copy(mine[at:at+n], whole[from:from+n]) })
	return mine
}

func pending(l dtensor.Layout) bool {
	return slices.ContainsFunc(l.Mesh().Axes(), func(a dtensor.Axis) bool {
		_, ok := l.Placement(a.Name).IsPartial()
		return ok
	})
}

// throughWhole is the bytes that the first rank sends where what is pending is reduced
// first, and then all is gathered, axis by axis.
func throughWhole(l dtensor.Layout) (bytes int) {
	n := 4 * l.Box(0).Numel()
	for _, a := range l.Mesh().Axes() {
		if _, ok := l.Placement(a.Name).IsPartial(); ok {
			bytes += 4 * ((2*(a.Size-1)*n/4 + a.Size - 1) / a.Size)
		}
	}
	// Dim by dim, the last cut first, at the size that the first rank has by then.
	for d := range l.Shape() {
		order := l.Order(d)
		for len(order) > 0 {
			last := order[len(order)-1]
			bytes += (l.Mesh().Size(last) - 1) * 4 * l.Box(0).Numel()
			order = order[:len(order)-1]
			l = regather(l, d, order)
		}
	}
	return bytes
}

// regather is l with dim cut by the given axes only.
func regather(l dtensor.Layout, dim int, order []string) dtensor.Layout {
	g := dtensor.NewLayout(l.Mesh(), l.Shape())
	for d := range l.Shape() {
		axes := l.Order(d)
		if d == dim {
			axes = order
		}
		for _, a := range axes {
			g = g.Place(a, dtensor.Shard(d))
		}
	}
	return g
}

func randomMesh(t *testing.T, random *rand.Rand) dtensor.Mesh {
	t.Helper()
	world := 1
	var axes []dtensor.Axis
	for i := range 1 + random.IntN(3) {
		a := dtensor.Axis{Name: string(rune('a' + i)), Size: 1 + random.IntN(4)}
		if world*a.Size <= 12 {
			world *= a.Size
			axes = append(axes, a)
		}
	}
	mesh, err := dtensor.NewMesh(world, axes...)
	if err != nil {
		t.Fatal(err)
	}
	return mesh
}

func randomLayout(random *rand.Rand, mesh dtensor.Mesh, shape []int, op dtensor.Reduce) dtensor.Layout {
	l := dtensor.NewLayout(mesh, shape)
	axes := mesh.Axes()
	random.Shuffle(len(axes), func(i, j int) { axes[i], axes[j] = axes[j], axes[i] })
	for _, a := range axes {
		switch kind := random.IntN(4); {
		case kind == 0:
			l = l.Place(a.Name, dtensor.Partial(op))
		case kind > 1 && len(shape) > 0:
			l = l.Place(a.Name, dtensor.Shard(random.IntN(len(shape))))
		}
	}
	return l
}

func numel(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// TestBytesMoveInAnyType: what is not reduced keeps its bits, whatever they mean.
func TestBytesMoveInAnyType(t *testing.T) {
	mesh := mesh(t, 4, dtensor.Axis{Name: "tp", Size: 4})
	rows, cols := dtensor.NewLayout(mesh, []int{6, 5}, dtensor.Shard(0)), dtensor.NewLayout(mesh, []int{6, 5}, dtensor.Shard(1))
	ranks.Run(t, 4, ranks.Options{}, func(r *ranks.Rank) error {
		s, pool := r.Device.NewStream("test"), device.NewPool(r.Device)
		g, err := grid.New(mesh, r.World)
		if err != nil {
			return err
		}
		bytes := make([]byte, 30)
		for i := range bytes {
			bytes[i] = byte(r.Rank*100 + 255 - 7*i) // only rank 0's count
		}
		whole := pool.New(dtype.Float8E4M3, 6, 5)
		s.Upload(whole, bytes)
		x, err := g.Distribute(s, pool, whole, rows)
		if err != nil {
			return err
		}
		if x, err = g.Redistribute(s, pool, x, cols); err != nil {
			return err
		}
		if x, err = g.FullTensor(s, pool, x); err != nil {
			return err
		}
		got := make([]byte, 30)
		s.Download(got, x.Local)
		if err := s.Sync(); err != nil {
			return err
		}
		for i, b := range got {
			if b != byte(255-7*i) {
				t.Errorf("rank %d: byte %d is %#x, want %#x", r.Rank, i, b, byte(255-7*i))
			}
		}
		_, err = g.Redistribute(s, pool, x, dtensor.NewLayout(mesh, []int{6, 5}, dtensor.Partial(dtensor.Sum)))
		if err == nil || !strings.Contains(err.Error(), "no plan for float8_e4m3fn") {
			t.Errorf("a sum of bytes: %v", err)
		}
		return nil
	})
}

func mesh(t *testing.T, world int, axes ...dtensor.Axis) dtensor.Mesh {
	t.Helper()
	m, err := dtensor.NewMesh(world, axes...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestCommunicatorsOfAMesh: one an axis, the world's where that is all, and more by name.
func TestCommunicatorsOfAMesh(t *testing.T) {
	m := mesh(t, 4, dtensor.Axis{Name: "dp_replicate", Size: 1}, dtensor.Axis{Name: "fsdp", Size: 2}, dtensor.Axis{Name: "tp", Size: 2}, dtensor.Axis{Name: "cp", Size: 1})
	ranks.Run(t, 4, ranks.Options{}, func(r *ranks.Rank) error {
		g, err := grid.New(m, r.World)
		if err != nil {
			return err
		}
		both, err := g.Fresh("data and tensor", "tp", "fsdp")
		if err != nil {
			return err
		}
		for _, tt := range []struct {
			c                comm.Comm
			name             string
			size, rank, from int
		}{
			{g.Axis("dp_replicate"), "dp_replicate", 1, 0, 0},
			{g.Axis("cp"), "dp_replicate", 1, 0, 0}, // any of one rank is as good
			{g.Axis("fsdp"), "fsdp", 2, r.Rank / 2, 0},
			{g.Axis("tp"), "tp", 2, r.Rank % 2, 0},
			{both, "data and tensor", 4, r.Rank%2*2 + r.Rank/2, 0},
		} {
			if name := tt.c.(comm.Control).Name(); name != tt.name || tt.c.Size() != tt.size || tt.c.Rank() != tt.rank {
				t.Errorf("rank %d: %s has rank %d of %d, want %s with %d of %d", r.Rank, name, tt.c.Rank(), tt.c.Size(), tt.name, tt.rank, tt.size)
			}
		}
		one, err := grid.New(mesh(t, 4, dtensor.Axis{Name: "fsdp", Size: 4}), r.World)
		if err != nil {
			return err
		}
		if one.Axis("fsdp") != r.World {
			t.Errorf("rank %d: an axis of all ranks has another communicator than the world's", r.Rank)
		}
		return nil
	})
	if _, err := grid.New(m, null.New(0, 3)); err == nil || !strings.Contains(err.Error(), "has 4 ranks, the communicator 3") {
		t.Errorf("error %v", err)
	}
	g, err := grid.New(m, null.New(3, 4))
	if err != nil {
		t.Fatal(err)
	}
	if tp := g.Axis("tp"); tp.Size() != 2 || tp.Rank() != 1 {
		t.Errorf("of nobody else rank 3 is %d of %d along tp", tp.Rank(), tp.Size())
	}
}

// TestAPartOfTheWrongShapePanics with the shapes.
func TestAPartOfTheWrongShapePanics(t *testing.T) {
	r := ranks.Open(t, 1, ranks.Options{})[0]
	m := mesh(t, 1, dtensor.Axis{Name: "tp", Size: 1})
	g, err := grid.New(m, r.World)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if text := fmt.Sprint(recover()); !strings.Contains(text, "float32[3 4] is not rank 0's part [0:3 0:5] of shape [3 5]") {
			t.Error(text)
		}
	}()
	g.FromLocal(device.NewPool(r.Device).New(dtype.Float32, 3, 4), dtensor.NewLayout(m, []int{3, 5}))
}

// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"octet/comm/agree"
	"octet/device"
	"octet/dtensor"
	"octet/dtype"
	"octet/nn"
	"octet/test/ranks"
)

// laid is a tensor of a test: its elements are the numbers from first on.
type laid struct {
	name  string
	shape []int
	kind  dtype.Type // of four bytes
	first int
}

// all is a model's worth of tensors: large ones that make several parts, rows that do not divide, a scalar, none at
// all, integers.
var all = []laid{
	{"large", []int{1100, 1000}, dtype.Float32, 1},
	{"odd", []int{7, 5, 3}, dtype.Float32, 100},
	{"row", []int{1, 70}, dtype.Float32, 7},
	{"vector", []int{13}, dtype.Float32, 9000},
	{"count", []int{1}, dtype.Int32, 41},
	{"scalar", nil, dtype.Float32, 3},
	{"none", []int{0, 4}, dtype.Float32, 0},
}

// values are the bytes of a box of the tensor.
func (l laid) values(box dtensor.Box) []byte {
	out := make([]byte, 4*box.Numel())
	box.Overlap(dtensor.Whole(l.shape), func(to, at, n int) {
		for i := range n {
			binary.LittleEndian.PutUint32(out[4*(to+i):], uint32(l.first+at+i))
		}
	})
	return out
}

// spread are the tensors on a rank of a mesh, whose axis a cuts the first dim of some, b the last of others.
func spread(r *ranks.Rank, pool *device.Pool, a, b int) []nn.DTensor {
	mesh, err := dtensor.NewMesh(r.WorldSize, dtensor.Axis{Name: "a", Size: a}, dtensor.Axis{Name: "b", Size: b})
	if err != nil {
		panic(err)
	}
	var list []nn.DTensor
	for i, l := range all {
		layout := dtensor.NewLayout(mesh, l.shape)
		if len(l.shape) > 0 && l.name != "count" {
			if i%3 != 2 {
				layout = layout.Place("a", dtensor.Shard(0))
			}
			if i%2 == 0 {
				layout = layout.Place("b", dtensor.Shard(-1))
			}
		}
		list = append(list, nn.DTensor{Name: l.name, Layout: layout, Rank: r.Rank, Local: pool.New(l.kind, layout.Box(r.Rank).Shape()...)})
	}
	return list
}

// fill gives the tensors their values.
func fill(s device.Stream, tensors []nn.DTensor) {
	for i, t := range tensors {
		s.Upload(t.Local, all[i].values(t.Box()))
	}
}

// holds is an error unless the tensors have their values.
func holds(s device.Stream, tensors []nn.DTensor) error {
	for i, t := range tensors {
		got := make([]byte, t.Local.Bytes())
		s.Download(got, t.Local)
		if err := s.Sync(); err != nil {
			return err
		}
		if !bytes.Equal(got, all[i].values(t.Box())) {
			return fmt.Errorf("%s: the box %v has other values than were saved", t.Name, t.Box())
		}
	}
	return nil
}

// options are those of a test's rank.
func options(r *ranks.Rank, folder string) Options {
	return Options{Folder: folder, Job: "test/0", Ranks: Ranks{Rank: r.Rank, World: r.WorldSize, Patience: 10 * time.Second}}
}

// save saves step 1 of the tensors on a×b ranks, and returns the checkpoint's folder.
func save(t *testing.T, folder string, a, b int, async bool) string {
	t.Helper()
	ranks.Run(t, a*b, ranks.Options{}, func(r *ranks.Rank) error {
		s, pool := r.Device.NewStream("test"), device.NewPool(r.Device)
		tensors := spread(r, pool, a, b)
		fill(s, tensors)
		o := options(r, folder)
		o.Async = async
		saver := NewSaver(r.Device, o)
		copied, err := saver.Save(s, State{Tensors: tensors[:4], Buffers: tensors[4:]}, Run{Step: 1, Tokens: 64, Model: []byte("{}")})
		if err != nil {
			return err
		}
		if copied != nil { // what was copied is free to be overwritten
			s.Wait(copied)
			for _, t := range tensors {
				s.Zero(t.Local)
			}
		}
		return errors.Join(saver.Wait(), s.Sync())
	})
	return filepath.Join(folder, StepName(1))
}

// TestAnyLayoutLoadsAnother: what was saved on some ranks, whatever they cut, is what others load, and every
// byte is written once.
func TestAnyLayoutLoadsAnother(t *testing.T) {
	for _, from := range [][2]int{{1, 1}, {3, 1}, {2, 2}, {1, 4}} {
		for _, async := range []bool{false, true} {
			dir := save(t, t.TempDir(), from[0], from[1], async)
			var files, bytes int64
			c, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range c.Index.Files {
				files += f.Size - f.Header
			}
			for _, tensor := range c.Index.Tensors {
				bytes += tensor.Bytes()
			}
			if files != bytes || len(c.Names()) != len(all) {
				t.Errorf("%v: %d bytes in files for %d of %d tensors", from, files, bytes, len(c.Names()))
			}
			for _, to := range [][2]int{{1, 1}, {4, 1}, {2, 3}, {1, 2}} {
				ranks.Run(t, to[0]*to[1], ranks.Options{}, func(r *ranks.Rank) error {
					s := r.Device.NewStream("test")
					tensors := spread(r, device.NewPool(r.Device), to[0], to[1])
					if err := c.Load(s, tensors, nil); err != nil {
						return err
					}
					return holds(s, tensors)
				})
			}
			entries, err := os.ReadDir(dir)
			if err != nil || len(entries) != from[0]*from[1]+1 {
				t.Errorf("%v: %v, %v; want an index and a file for each rank", from, entries, err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// plain is a stream that hides that the host can touch its memory.
type plain struct{ device.Stream }

// TestLoadingNeedsNoHostMemory of the device.
func TestLoadingNeedsNoHostMemory(t *testing.T) {
	dir := save(t, t.TempDir(), 2, 1, false)
	ranks.Run(t, 2, ranks.Options{}, func(r *ranks.Rank) error {
		s := r.Device.NewStream("test")
		tensors := spread(r, device.NewPool(r.Device), 1, 2)
		c, err := Open(dir)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.Load(plain{s}, tensors, nil); err != nil {
			return err
		}
		return holds(s, tensors)
	})
}

// load loads everything on one rank.
func load(t *testing.T, dir string) error {
	t.Helper()
	r := ranks.Open(t, 1, ranks.Options{})[0]
	s := r.Device.NewStream("test")
	tensors := spread(r, device.NewPool(r.Device), 1, 1)
	c, err := Open(dir)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Load(s, tensors, nil); err != nil {
		return err
	}
	return holds(s, tensors)
}

// TestEveryChangedByteIsFound when a checkpoint is loaded: each of the index and of the headers, and some of the data; and
// the error names the file.
func TestEveryChangedByteIsFound(t *testing.T) {
	dir := save(t, t.TempDir(), 2, 1, false)
	if err := load(t, dir); err != nil {
		t.Fatal(err)
	}
	c, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(3, 4))
	type target struct {
		file string
		at   []int64
	}
	var targets []target
	for name, f := range c.Index.Files {
		var at []int64
		for i := range f.Header {
			at = append(at, i)
		}
		for range 60 {
			at = append(at, f.Header+random.Int64N(f.Size-f.Header))
		}
		targets = append(targets, target{name, append(at, f.Size-1)})
	}
	c.Close()
	for _, tt := range targets {
		path := filepath.Join(dir, tt.file)
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range tt.at {
			was := make([]byte, 1)
			if _, err := f.ReadAt(was, at); err != nil {
				t.Fatal(err)
			}
			now := []byte{was[0] ^ byte(1+random.IntN(255))}
			if _, err := f.WriteAt(now, at); err != nil {
				t.Fatal(err)
			}
			if err := check(dir); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "a byte was changed") {
				t.Fatalf("byte %d of %s is %#x, was %#x: %v", at, tt.file, now, was, err)
			}
			if _, err := f.WriteAt(was, at); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, IndexName))
	if err != nil {
		t.Fatal(err)
	}
	for at := range text {
		bad := slices.Clone(text)
		bad[at] ^= byte(1 + random.IntN(255))
		if _, err := decode(bad); err == nil {
			t.Fatalf("byte %d of the index is %q, was %q, and nobody minds", at, bad[at], text[at])
		}
	}
	for n := range len(text) {
		if _, err := decode(text[:n]); err == nil {
			t.Fatalf("an index that is cut after %d of %d bytes is taken", n, len(text))
		}
	}
	if err := load(t, dir); err != nil {
		t.Fatal(err)
	}
}

// check reads everything, as one rank does.
func check(dir string) error {
	c, err := Open(dir)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, name := range c.Names() {
		kind, shape, _ := c.Lookup(name)
		box := dtensor.Whole(shape)
		if err := c.Read(name, box, make([]byte, box.Numel()*kind.Size())); err != nil {
			return err
		}
	}
	return nil
}

// TestAllThatDoesNotFitIsToldAtOnce: a tensor that is missing, of another shape, of another type.
func TestAllThatDoesNotFitIsToldAtOnce(t *testing.T) {
	dir := save(t, t.TempDir(), 1, 1, false)
	r := ranks.Open(t, 1, ranks.Options{})[0]
	pool := device.NewPool(r.Device)
	c, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	make := func(name string, kind dtype.Type, shape ...int) nn.DTensor {
		return nn.DTensor{Name: name, Layout: dtensor.Alone(shape...), Local: pool.New(kind, shape...)}
	}
	err = c.Load(r.Device.NewStream("test"), []nn.DTensor{
		make("vector", dtype.Float32, 13), make("other", dtype.Float32, 2), make("odd", dtype.Float32, 7, 15), make("count", dtype.Float32, 1),
	}, nil)
	want := strings.ReplaceAll(`DIR: other [2] is missing
DIR: odd has shape [7 5 3], the model wants [7 15]
DIR: count is of type I32, the model wants F32`, "DIR", dir)
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// TestWhatIsMissingOrCutIsNamed: a file of a rank, the end of one, the index, the folder.
func TestWhatIsMissingOrCutIsNamed(t *testing.T) {
	for name, tt := range map[string]struct {
		harm func(dir string) error
		want string
	}{
		"a file":     {func(dir string) error { return os.Remove(filepath.Join(dir, fileName(1))) }, "rank-00001.safetensors: no such file or directory: the checkpoint lacks this file of 2"},
		"its end":    {func(dir string) error { return os.Truncate(filepath.Join(dir, fileName(1)), 5000) }, "rank-00001.safetensors: has 5000 bytes, the index says "},
		"more":       {func(dir string) error { return os.Truncate(filepath.Join(dir, fileName(1)), 50<<20) }, "has 52428800 bytes, the index says "},
		"the index":  {func(dir string) error { return os.Remove(filepath.Join(dir, IndexName)) }, "has no index.json: it is not a checkpoint, or one whose save did not end"},
		"its folder": {os.RemoveAll, "no such file or directory"},
		"all, but for PyTorch's": {func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, IndexName)), os.WriteFile(filepath.Join(dir, ".metadata"), nil, 0o666))
		}, "is a checkpoint of PyTorch's (DCP), whose .metadata is a pickle, which octet does not run; convert it: python -m torch.distributed.checkpoint.format_utils dcp_to_torch "},
	} {
		t.Run(name, func(t *testing.T) {
			dir := save(t, t.TempDir(), 2, 1, false)
			if err := tt.harm(dir); err != nil {
				t.Fatal(err)
			}
			if err := load(t, dir); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// TestOnlyTheNewestStay, and no more are removed than are asked for; what is no checkpoint is not counted.
func TestOnlyTheNewestStay(t *testing.T) {
	for keep, want := range map[int][]int{0: {1, 2, 3, 10}, 2: {3, 10}, 3: {2, 3, 10}, 9: {1, 2, 3, 10}} {
		folder := t.TempDir()
		if err := os.Mkdir(filepath.Join(folder, "step-99"), 0o777); err != nil {
			t.Fatal(err)
		}
		r := ranks.Open(t, 1, ranks.Options{})[0]
		s := r.Device.NewStream("test")
		tensors := spread(r, device.NewPool(r.Device), 1, 1)
		fill(s, tensors)
		o := options(r, folder)
		o.Keep = keep
		saver := NewSaver(r.Device, o)
		for _, step := range []int{1, 2, 3, 10} {
			if _, err := saver.Save(s, State{Tensors: tensors}, Run{Step: step, Model: []byte("{}")}); err != nil || saver.Wait() != nil {
				t.Fatal(err, saver.Wait())
			}
		}
		list, err := Whole(folder)
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for _, l := range list {
			got = append(got, l.Step)
			if err := load(t, l.Dir); err != nil {
				t.Error(err)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d are kept: %v, want %v", keep, got, want)
		}
	}
}

// TestASaveThatFailsIsToldAndTheNextSucceeds: a rank that cannot write, one that is silent, a folder that goes away.
func TestASaveThatFailsIsToldAndTheNextSucceeds(t *testing.T) {
	for name, tt := range map[string]struct {
		before func(r *ranks.Rank, folder string) (skip bool) // the second save, on each rank
		want   string
	}{
		"a rank cannot write": {func(r *ranks.Rank, folder string) bool {
			if r.Rank == 1 { // something else is in its place
				if err := os.MkdirAll(filepath.Join(folder, "step-2.tmp-test.0", fileName(1)), 0o777); err != nil {
					panic(err)
				}
			}
			return false
		}, "rank 1: open "},
		"a rank is silent": {func(r *ranks.Rank, _ string) bool { return r.Rank == 1 }, "no file grew for 300ms, and 1 of 3 ranks have not written their part: 1"},
		"the step is there": {func(r *ranks.Rank, folder string) bool {
			if err := os.MkdirAll(filepath.Join(folder, "step-2"), 0o777); err != nil {
				panic(err)
			}
			return false
		}, "step-2 is there already; a checkpoint is never overwritten"},
	} {
		for _, async := range []bool{false, true} {
			t.Run(fmt.Sprint(name, async), func(t *testing.T) {
				folder := filepath.Join(t.TempDir(), "checkpoint")
				var mu sync.Mutex
				told := map[int]error{}
				ranks.Run(t, 3, ranks.Options{}, func(r *ranks.Rank) error {
					s := r.Device.NewStream("test")
					tensors := spread(r, device.NewPool(r.Device), 3, 1)
					fill(s, tensors)
					o := options(r, folder)
					o.Async, o.Patience = async, 300*time.Millisecond
					o.Done = func(out Outcome) {
						if r.Rank == 0 {
							mu.Lock()
							told[out.Step] = out.Err
							mu.Unlock()
						}
					}
					saver := NewSaver(r.Device, o)
					for step := 1; step <= 3; step++ {
						if step == 2 && tt.before(r, folder) {
							time.Sleep(time.Second)
							continue
						}
						if _, err := saver.Save(s, State{Tensors: tensors}, Run{Step: step, Model: []byte("{}")}); err != nil {
							return err
						}
						_ = saver.Wait()
					}
					return nil
				})
				if told[1] != nil || told[3] != nil || told[2] == nil || !strings.Contains(told[2].Error(), tt.want) {
					t.Errorf("told %v, want of step 2 %s", told, tt.want)
				}
				for _, step := range []int{1, 3} {
					if err := load(t, filepath.Join(folder, StepName(step))); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
}

// TestAFolderThatHostsDoNotShareIsRefused, on all ranks, with the reason; one that they share passes, and what a save that
// did not end has left there goes, and is named.
func TestAFolderThatHostsDoNotShareIsRefused(t *testing.T) {
	one, other := t.TempDir(), t.TempDir()
	for _, torn := range []string{"step-5.tmp-x.0", "step-6"} {
		if err := os.Mkdir(filepath.Join(one, torn), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name    string
		folders []string
		want    string
		torn    []string
	}{
		{"shared", []string{one, one, one}, "", []string{filepath.Join(one, "step-5.tmp-x.0"), filepath.Join(one, "step-6")}},
		{"rank 2's own", []string{one, one, other}, "checkpoint.folder: rank 2: does not see what rank 0 wrote in ", nil},
		{"no folder", []string{"/proc/none", one, one}, "checkpoint.folder: rank 0: mkdir /proc/none: no such file or directory", nil},
	} {
		name := tt.name
		var mu sync.Mutex
		var gone []string
		for rank, err := range ranks.Each(ranks.Open(t, 3, ranks.Options{}), func(r *ranks.Rank) error {
			names, err := NewSaver(r.Device, options(r, tt.folders[r.Rank])).Prepare(func(text string) ([]string, error) {
				return agree.Exchange(r.Device, r.World, text)
			})
			mu.Lock()
			defer mu.Unlock()
			gone = append(gone, names...)
			return err
		}) {
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%s: rank %d: %v, want %s", name, rank, err, tt.want)
			}
		}
		if !slices.Equal(gone, tt.torn) {
			t.Errorf("%s: torn: %q, want %q", name, gone, tt.torn)
		}
	}
	entries, err := os.ReadDir(one)
	if err != nil || len(entries) != 1 || entries[0].Name() != "step-6" {
		t.Errorf("left: %v, %v; want step-6 alone, which nobody knows", entries, err)
	}
}

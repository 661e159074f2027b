// SPDX-License-Identifier: Apache-2.0

package commtest

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"octet/comm"
	"octet/dtype"
)

// Benchmarks are collectives by name, such as "all-reduce/1048576": float32,
// of that many bytes where the tensor is whole.
func Benchmarks() (names []string) {
	for _, kind := range []string{"all-gather", "reduce-scatter", "all-reduce"} {
		for _, bytes := range []int{4 << 10, 1 << 20, 64 << 20} {
			names = append(names, fmt.Sprintf("%s/%d", kind, bytes))
		}
	}
	return names
}

// Prepare makes the tensors of a benchmark and returns one call of it, on e's
// stream, and its bytes.
func Prepare(e *Env, name string) (call func(), bytes int) {
	kind, size, _ := strings.Cut(name, "/")
	bytes, err := strconv.Atoi(size)
	if err != nil {
		panic(fmt.Sprintf("commtest: benchmark %q", name))
	}
	whole, shard := comm.T(e.New(dtype.Float32, bytes/4)), comm.T(e.New(dtype.Float32, bytes/4/e.Size()))
	switch kind {
	case "all-gather":
		return func() { e.AllGather(e.Stream, whole, shard) }, bytes
	case "reduce-scatter":
		return func() { e.ReduceScatter(e.Stream, shard, whole, comm.Sum) }, bytes
	}
	return func() { e.AllReduce(e.Stream, whole, comm.Sum) }, bytes
}

// Bench measures a benchmark on e; the other ranks make the same calls in
// Follow until e aborts.
func Bench(b *testing.B, e *Env, name string) {
	call, bytes := Prepare(e, name)
	b.SetBytes(int64(bytes))
	call()
	b.ReportAllocs()
	for b.Loop() {
		call()
		if err := e.Stream.Sync(); err != nil {
			b.Fatal(err)
		}
	}
	e.Abort(fmt.Errorf("the benchmark is over"))
}

// Follow makes the calls of a benchmark until the group is aborted.
func Follow(e *Env, name string) {
	call, _ := Prepare(e, name)
	for {
		call()
		if e.Stream.Sync() != nil {
			return
		}
	}
}

// BenchTogether runs all benchmarks on two ranks of this process.
func BenchTogether(b *testing.B, open func(b *testing.B) []Rank) {
	for _, name := range Benchmarks() {
		b.Run(name, func(b *testing.B) {
			ranks := open(b)
			Together(ranks, func(e *Env) error {
				if e.Rank() == 0 {
					Bench(b, e, name)
				} else {
					Follow(e, name)
				}
				return nil
			})
			for _, r := range ranks {
				r.Comm.(comm.Control).Close()
			}
		})
	}
}

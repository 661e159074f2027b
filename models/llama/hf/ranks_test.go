// SPDX-License-Identifier: Apache-2.0

package hf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"octet/checkpoint"
	"octet/dtensor"
)

// exportTogether has ranks export a folder of transformers', as one with its own weights and options, if it takes part. It returns the
// ranks' errors; to go on before there is a folder, where there will be one, is one.
func exportTogether(t *testing.T, to string, world int, as func(rank int, from *checkpoint.Source, o *Options) bool) []error {
	t.Helper()
	errs, early := make([]error, world), make([]bool, world)
	var all sync.WaitGroup
	for rank := range world {
		c, w := open(t, made("llama3"))
		var from checkpoint.Source = w
		o := Options{Making: to + ".making", Ranks: checkpoint.Ranks{Rank: rank, World: world, Patience: 300 * time.Millisecond}}
		if as(rank, &from, &o) {
			all.Go(func() {
				errs[rank] = Export(to, c, from, o)
				_, err := os.Stat(to)
				early[rank] = err != nil
			})
		}
	}
	all.Wait()
	for rank := range world {
		if errs[0] == nil && errs[rank] == nil && early[rank] {
			errs[rank] = fmt.Errorf("rank %d went on before there was a folder", rank)
		}
	}
	return errs
}

// TestRanksWriteOneFolder together, the same one as one rank alone.
func TestRanksWriteOneFolder(t *testing.T) {
	for _, shard := range []int64{0, 20_000} {
		alone := filepath.Join(t.TempDir(), "alone")
		c, w := open(t, made("llama3"))
		if err := Export(alone, c, w, Options{MaxShard: shard}); err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadDir(alone)
		if err != nil {
			t.Fatal(err)
		}
		for _, world := range []int{2, 3, 40} { // more than there are tensors
			folder := filepath.Join(t.TempDir(), "together")
			written := make([]int64, world)
			if err := errors.Join(exportTogether(t, folder, world, func(rank int, _ *checkpoint.Source, o *Options) bool {
				o.MaxShard, o.Progress = shard, func(done, _ int64) { written[rank] = done }
				return true
			})...); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadDir(folder)
			if err != nil || len(got) != len(want) {
				t.Errorf("%v (%v), want %v", got, err, want)
			}
			for _, e := range want {
				sameFile(t, filepath.Join(alone, e.Name()), filepath.Join(folder, e.Name()))
			}
			if world < 4 && slices.Min(written) == 0 {
				t.Errorf("the ranks wrote %d bytes", written)
			}
		}
	}
}

// gone are weights that cannot be read any more.
type gone struct{ checkpoint.Source }

var errGone = errors.New("the disk is gone")

func (gone) Read(string, dtensor.Box, []byte) error { return errGone }

// TestARankThatCannotExportEndsIt for all, and rank 0 says which one it was, and why; nothing is left.
func TestARankThatCannotExportEndsIt(t *testing.T) {
	for name, tt := range map[string]struct {
		rank   int
		silent bool
		want   string
	}{
		"another":      {2, false, "rank 2: "},
		"rank 0":       {0, false, ".weight: the disk is gone"},
		"a silent one": {1, true, "no file grew for 300ms, and 1 of 3 ranks have not written their part: 1"},
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			errs := exportTogether(t, filepath.Join(parent, "out"), 3, func(rank int, from *checkpoint.Source, _ *Options) bool {
				if rank == tt.rank {
					*from = gone{*from}
				}
				return rank != tt.rank || !tt.silent
			})
			if errs[0] == nil || !strings.Contains(errs[0].Error(), tt.want) || !tt.silent && !strings.Contains(errs[0].Error(), errGone.Error()) {
				t.Errorf("rank 0 says %v, want %s", errs[0], tt.want)
			}
			for rank, err := range errs[1:] {
				if failed := rank+1 == tt.rank && !tt.silent; (err != nil) != failed {
					t.Errorf("rank %d says %v", rank+1, err)
				}
			}
			if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
				t.Errorf("%v is left (%v)", left, err)
			}
		})
	}
}

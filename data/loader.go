// SPDX-License-Identifier: Apache-2.0

package data

import (
	"fmt"

	"octet/internal/rng"
)

// Ignored is the target of a place that has none: a cross-entropy leaves it out.
const Ignored = -100

// State is a place in the data: all that a run needs to go on from it, on any number of ranks.
type State struct {
	Position uint64 // number of the next batch's first sample, over all ranks
	Key      uint64 // of the order of windows
}

// Batch is what one rank reads in one microbatch.
type Batch struct {
	Inputs  []int32 // [LocalBatch, SeqLen] ids
	Targets []int32 // [LocalBatch, SeqLen] the id that follows each, or Ignored
	Valid   int     // targets that are not Ignored
}

// Loader makes one rank's batches. It must not be used from several goroutines at once.
//
// A batch of all ranks holds the samples position, position+1, …; row b of rank r is sample position + r·LocalBatch + b, and the next batch
// follows. With microbatches, G = their number × Ranks × LocalBatch samples make a step, so step s holds the samples s·G to
// (s+1)·G − 1 for every division of G.
type Loader struct {
	c        Config
	source   *Source
	shuffled bool
	windows  uint64 // in the source; of a shuffled one the last may reach beyond its end
	state    State
	ids      []int32 // a window and the id after it
}

func newLoader(c Config, s *Source) *Loader {
	l := &Loader{c: c, source: s, shuffled: c.Dataset != "tokens", state: State{Key: c.Seed}, ids: make([]int32, c.SeqLen+1)}
	targets, window := uint64(s.Len()-1), uint64(c.SeqLen)
	l.windows = targets / window
	if l.shuffled {
		l.windows = (targets + window - 1) / window
	}
	return l
}

// NewBatch allocates what Next fills.
func (l *Loader) NewBatch() *Batch {
	n := l.c.LocalBatch * l.c.SeqLen
	return &Batch{Inputs: make([]int32, n), Targets: make([]int32, n)}
}

// Next fills b with this rank's part of the next batch. Every rank of the run must call it as often as the others.
func (l *Loader) Next(b *Batch) error {
	if err := l.Need(1); err != nil {
		return err
	}
	b.Valid = 0
	first := l.state.Position + uint64(l.c.Rank*l.c.LocalBatch)
	for row := range l.c.LocalBatch {
		at := row * l.c.SeqLen
		valid, err := l.read(b.Inputs[at:at+l.c.SeqLen], b.Targets[at:at+l.c.SeqLen], l.window(first+uint64(row)))
		if err != nil {
			return err
		}
		b.Valid += valid
	}
	l.state.Position += l.batch()
	return nil
}

// Need says whether the data holds so many more batches; ask before training. Shuffled data never ends: after each epoch it comes in another order.
func (l *Loader) Need(batches int) error {
	samples := l.state.Position + uint64(batches)*l.batch()
	if l.shuffled || samples <= l.windows {
		return nil
	}
	return fmt.Errorf("data: %s holds %d tokens, %d batches of %d windows of %d from position %d on need %d: set %s to more data or train fewer steps",
		l.source, l.source.Len(), batches, l.batch(), l.c.SeqLen, l.state.Position, samples*uint64(l.c.SeqLen)+1, l.c.field("dataset_path"))
}

// batch is the number of samples of all ranks in one batch.
func (l *Loader) batch() uint64 { return uint64(l.c.Ranks * l.c.LocalBatch) }

// window is the window that a sample is.
func (l *Loader) window(sample uint64) uint64 {
	if !l.shuffled {
		return sample
	}
	epoch := sample / l.windows
	return rng.Perm{Key: rng.New(l.state.Key, "data").Uint64(epoch), N: l.windows}.At(sample % l.windows)
}

// read fills one row and returns the number of its targets that are there.
func (l *Loader) read(inputs, targets []int32, window uint64) (int, error) {
	pos := int64(window) * int64(l.c.SeqLen)
	ids := l.ids[:min(int64(len(l.ids)), l.source.Len()-pos)]
	if err := l.source.Read(ids, pos); err != nil {
		return 0, err
	}
	clear(inputs[copy(inputs, ids):])
	for i := copy(targets, ids[1:]); i < len(targets); i++ {
		targets[i] = Ignored
	}
	return len(ids) - 1, nil
}

// State is the place of the next batch.
func (l *Loader) State() State { return l.state }

// Restore goes to a place that State returned, be it on another number of ranks.
func (l *Loader) Restore(s State) { l.state = s }

// Close lets go of the files.
func (l *Loader) Close() error { return l.source.Close() }

// SPDX-License-Identifier: Apache-2.0

package data

import (
	"octet/device"
	"octet/internal/rng"
)

// Batch is what one rank reads in one microbatch.
type Batch struct {
	Inputs  []int32 // [LocalBatch, SeqLen] ids
	Targets []int32 // [LocalBatch, SeqLen] the id that follows each, or device.Ignored
	Valid   int     // targets that are not device.Ignored
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
	windows  uint64  // in the source; of a shuffled one the last may reach beyond its end
	position uint64  // number of the next batch's first sample, over all ranks
	ids      []int32 // a window and the id after it
}

func newLoader(c Config, s *Source) *Loader {
	l := &Loader{c: c, source: s, shuffled: c.Dataset != "tokens", ids: make([]int32, c.SeqLen+1)}
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
	b.Valid = 0
	first := l.position + uint64(l.c.Rank*l.c.LocalBatch)
	for row := range l.c.LocalBatch {
		at := row * l.c.SeqLen
		valid, err := l.read(b.Inputs[at:at+l.c.SeqLen], b.Targets[at:at+l.c.SeqLen], l.window(first+uint64(row)))
		if err != nil {
			return err
		}
		b.Valid += valid
	}
	l.position += l.batch()
	return nil
}

// Epochs is how often so many batches from the first on read the data. Data never ends: it begins again, shuffled data in another order.
func (l *Loader) Epochs(batches int) float64 {
	return float64(uint64(batches)*l.batch()) / float64(l.windows)
}

// Summary says how much data there is, and what of it was left out.
func (l *Loader) Summary() string { return l.source.Summary() }

// Bytes reports whether ids are the bytes of text.
func (l *Loader) Bytes() bool { return l.c.Dataset != "tokens" && l.c.Assets == "" }

// Batches is how many whole batches one epoch has.
func (l *Loader) Batches() int { return int(l.windows / l.batch()) }

// batch is the number of samples of all ranks in one batch.
func (l *Loader) batch() uint64 { return uint64(l.c.Ranks * l.c.LocalBatch) }

// window is the window that a sample is.
func (l *Loader) window(sample uint64) uint64 {
	epoch := sample / l.windows
	if !l.shuffled {
		return sample % l.windows
	}
	return rng.Perm{Key: rng.New(l.c.Seed, "data").Uint64(epoch), N: l.windows}.At(sample % l.windows)
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
		targets[i] = device.Ignored
	}
	return len(ids) - 1, nil
}

// Position is the place of the next batch: the number of its first sample, over all ranks. With the same data, in windows of the same length, and
// the same seed it is all that a run needs to go on from there, on any number of ranks.
func (l *Loader) Position() uint64 { return l.position }

// Seek goes to a place that Position returned, be it on another number of ranks.
func (l *Loader) Seek(position uint64) { l.position = position }

// Fingerprint tells two data sets apart. It reads every byte.
func (l *Loader) Fingerprint() (string, error) { return l.source.Fingerprint() }

// Close lets go of the files.
func (l *Loader) Close() error { return l.source.Close() }

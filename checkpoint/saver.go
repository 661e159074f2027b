// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"fmt"
	"path/filepath"
	"regexp"
	"time"

	"octet/checkpoint/safetensors"
	"octet/device"
	"octet/dtensor"
	"octet/nn"
	"octet/tensor"
)

// Options of a Saver, alike on all ranks but for Rank.
type Options struct {
	Ranks
	Folder string // that all ranks see, and that this job alone writes to
	Job    string // the job and the attempt: in the names of what is not done yet
	Async  bool   // write beside the steps that follow
	Keep   int    // so many of the newest checkpoints stay; 0: all
	// Done, where there is one, gets what became of a save, in Poll, Wait or Save.
	Done func(Outcome)
}

// Outcome is what became of a save.
type Outcome struct {
	Step  int
	Dir   string
	Bytes int64 // that this rank wrote
	Took  time.Duration
	// Err is why there is no checkpoint: on rank 0 of any rank, elsewhere of this one.
	Err error
}

// State is what a rank saves.
type State struct {
	Tensors []nn.DTensor // that the optimizer's update alone writes
	Buffers []nn.DTensor // that forward or backward write too
	// Export is the type in which tensors of float32 are stored; empty: as they are.
	Export safetensors.DType
}

// Saver writes the checkpoints of a run, as one of its ranks, which all save the same steps:
//
//	snapshot, err := saver.Save(stream, state, run)                    // after a step
//	pending := model.Step(parallel.StepOptions{BeforeUpdate: snapshot, …})
//	saver.Poll()
//
// A save that fails leaves the checkpoints before it as they are, and the run goes on. Ranks meet in the
// file system, so that no collective waits for a disk.
type Saver struct {
	o      Options
	stream device.Stream // of copies to the host, beside what computes
	host   [][]byte      // the memory of the last snapshot, for the next
	busy   chan Outcome  // of the save that goes on; nil: none
	last   Outcome
}

// NewSaver makes no file; see Prepare.
func NewSaver(dev device.Device, o Options) *Saver {
	if o.Done == nil {
		o.Done = func(Outcome) {}
	}
	return &Saver{o: o, stream: dev.NewStream("checkpoint")}
}

// Save saves the state that is behind the work on compute so far. Where Options.Async is set it returns when the copy is under
// way, with the event that has to come before the next update of state.Tensors; else when it is known what became of it. It first
// waits for the save before. Its error is the device's; that of a save is in its Outcome.
func (s *Saver) Save(compute device.Stream, state State, run Run) (device.Event, error) {
	_ = s.Wait()
	own := primary(state.Buffers)
	buffers := len(own)
	own = append(own, primary(state.Tensors)...)
	var copied device.Event
	var read source
	if s.o.Async {
		copied, read = s.snapshot(compute, own, buffers)
	} else {
		s.stream.Wait(compute.Record())
		if err := s.stream.Sync(); err != nil {
			return nil, err
		}
		read = s.download
	}
	s.busy = make(chan Outcome, 1)
	go func(done chan<- Outcome) {
		if copied != nil {
			if err := copied.Sync(); err != nil { // the device's, which ends the run
				done <- Outcome{Step: run.Step, Err: err}
				return
			}
		}
		done <- s.write(own, export(state.Export), read, run)
	}(s.busy)
	if !s.o.Async {
		_ = s.Wait()
	}
	return copied, nil
}

// primary are the tensors of which this rank writes a part, or tells that they have no elements.
func primary(all []nn.DTensor) (own []nn.DTensor) {
	for _, t := range all {
		if t.Primary() && (t.Local.Numel() > 0 || dtensor.Whole(t.Layout.Shape()).Numel() == 0) {
			own = append(own, t)
		}
	}
	return own
}

// snapshot copies tensors to the host: the first of them, which what follows on compute may write, on that stream; all else beside
// it.
func (s *Saver) snapshot(compute device.Stream, own []nn.DTensor, buffers int) (device.Event, source) {
	for len(s.host) < len(own) {
		s.host = append(s.host, nil)
	}
	download := func(on device.Stream, from, to int) {
		for i := from; i < to; i++ {
			if n := own[i].Local.Bytes(); len(s.host[i]) != n {
				s.host[i] = make([]byte, n)
			}
			on.Download(s.host[i], own[i].Local)
		}
	}
	download(compute, 0, buffers)
	s.stream.Wait(compute.Record())
	download(s.stream, buffers, len(own))
	return s.stream.Record(), func(i int, rows *tensor.Tensor) ([]byte, error) {
		at := rows.Off - own[i].Local.Off
		return s.host[i][at : at+rows.Bytes()], nil
	}
}

// download is a source that copies to the host as much as it is asked for.
func (s *Saver) download(_ int, rows *tensor.Tensor) ([]byte, error) {
	if len(s.host) == 0 {
		s.host = append(s.host, nil)
	}
	if len(s.host[0]) < rows.Bytes() {
		s.host[0] = make([]byte, rows.Bytes())
	}
	piece := s.host[0][:rows.Bytes()]
	s.stream.Download(piece, rows)
	return piece, s.stream.Sync()
}

// write writes this rank's part, and on rank 0 makes the checkpoint of all.
func (s *Saver) write(own []nn.DTensor, as export, read source, run Run) Outcome {
	start := time.Now()
	final := filepath.Join(s.o.Folder, StepName(run.Step))
	tmp := s.Making(run.Step)
	o := Outcome{Step: run.Step, Dir: final}
	r := s.o.writeRank(tmp, own, as, read, func(n int) {
		o.Bytes += int64(n)
		s.o.alive()
	})
	if s.o.Rank == 0 {
		o.Err = s.commit(tmp, final, r, run, own)
	} else {
		o.Err = r.failure()
		// What comes of it rank 0 tells; until it has, the next save must not begin.
		_ = s.o.AwaitEnd(tmp, filepath.Join(final, IndexName))
	}
	o.Took = time.Since(start)
	return o
}

// Making is the folder in which that of a step is made. What is left of it the next start removes.
func (s *Saver) Making(step int) string {
	job := regexp.MustCompile(`[^A-Za-z0-9_-]+`).ReplaceAllString(s.o.Job, ".")
	return filepath.Join(s.o.Folder, fmt.Sprintf("%s.tmp-%s", StepName(step), job))
}

// Poll tells what became of a save that has ended meanwhile.
func (s *Saver) Poll() {
	select {
	case o := <-s.busy:
		s.done(o)
	default:
	}
}

// Wait waits for the save that goes on, if one does, and returns why the last one has failed.
func (s *Saver) Wait() error {
	if s.busy != nil {
		s.done(<-s.busy)
	}
	return s.last.Err
}

func (s *Saver) done(o Outcome) {
	s.busy, s.last = nil, o
	s.o.Done(o)
}

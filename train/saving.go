// SPDX-License-Identifier: Apache-2.0

package train

import (
	"bytes"
	"fmt"
	"path/filepath"
	"time"

	"octet/checkpoint"
	"octet/comm/agree"
	"octet/models/llama/hf"
	"octet/nn"
	"octet/train/resume"
)

// openSaver makes the folder of checkpoints ready, if the run saves any.
func (t *Trainer) openSaver(j Job) error {
	c := t.cfg.Checkpoint
	if !c.Enable || c.LoadOnly {
		return nil
	}
	t.saver = checkpoint.NewSaver(j.Device, checkpoint.Options{
		Ranks: t.ranks(), Folder: resume.Folder(t.cfg), Job: j.ID,
		Async: c.AsyncMode != "disabled", Keep: c.KeepLatestK, Done: t.saved,
	})
	torn, err := t.saver.Prepare(t.exchange(j))
	for _, dir := range torn {
		t.log.Warn(fmt.Sprintf("checkpoint: %s has no index: its save did not end, and it is left out", dir))
	}
	return err
}

// ranks are those that write a checkpoint together.
func (t *Trainer) ranks() checkpoint.Ranks {
	return checkpoint.Ranks{
		Rank: t.comm.Rank(), World: t.comm.Size(),
		Patience: time.Duration(t.cfg.Comm.TrainTimeoutSeconds) * time.Second, Alive: t.alive,
	}
}

// exchange is how the ranks tell each other what they found.
func (t *Trainer) exchange(j Job) checkpoint.Exchange {
	return func(text string) ([]string, error) { return agree.Exchange(j.Device, t.comm, text) }
}

// saved tells what became of a save.
func (t *Trainer) saved(o checkpoint.Outcome) {
	switch {
	case o.Err != nil:
		t.log.Warn(fmt.Sprintf("checkpoint: step %d was not saved: %v; the checkpoints before it are as they were", o.Step, o.Err))
	case t.comm.Rank() == 0:
		t.log.Info(fmt.Sprintf("checkpoint: step %d saved in %s, %.1f MiB of each rank in %.1fs", o.Step, o.Dir, float64(o.Bytes)/(1<<20), o.Took.Seconds()))
	}
}

// stopAsked is whether this rank was told to stop, as a vote of a step.
func (t *Trainer) stopAsked() *int32 {
	if t.saver == nil {
		return nil
	}
	vote := int32(0)
	select {
	case <-t.stop:
		vote = 1
	default:
	}
	return &vote
}

// save saves the step that is done where that is due: every interval, the last one, and one after which
// the ranks stop.
func (t *Trainer) save() error {
	c := t.cfg.Checkpoint
	if t.saver == nil {
		return nil
	}
	t.saver.Poll()
	last := t.step == t.cfg.Training.Steps
	if !last && !t.stopping && t.step%c.Interval != 0 && !(c.EnableFirstStepCheckpoint && t.step == 1) {
		return nil
	}
	state, run := t.state(), t.meta()
	if last && c.LastSaveModelOnly {
		state, run.ModelOnly = t.weights(c.ExportDType), true
	}
	var err error
	if t.copied, err = t.saver.Save(t.model.Ctx().Stream, state, run); err != nil {
		return err
	}
	if !last && !t.stopping {
		return nil
	}
	if err := t.saveEnded(); err != nil || !last || !c.LastSaveInHF {
		return err
	}
	return t.export(filepath.Join(resume.Folder(t.cfg), checkpoint.StepName(t.step)))
}

// saveSeed saves the first weights as step 0, to begin other runs with.
func (t *Trainer) saveSeed() error {
	run := t.meta()
	run.ModelOnly = true
	if _, err := t.saver.Save(t.model.Ctx().Stream, t.weights("float32"), run); err != nil {
		return err
	}
	return t.saveEnded()
}

// saveEnded waits for a save after which nothing comes that could make up for it.
func (t *Trainer) saveEnded() error {
	if err := t.saver.Wait(); err != nil {
		return fmt.Errorf("checkpoint: step %d was not saved: %w", t.step, err)
	}
	return nil
}

// state is all that the run needs to go on.
func (t *Trainer) state() checkpoint.State {
	s := t.weights("float32")
	s.Tensors = append(s.Tensors, t.adam.State()...)
	for name, b := range nn.Buffers(t.model.Root()) {
		s.Buffers = append(s.Buffers, t.model.Params()[0].Alike(name, b.Tensor))
	}
	return s
}

// weights are the model alone, stored in another type.
func (t *Trainer) weights(as string) checkpoint.State {
	kind, _ := hf.DType(as) // one of the key's values
	s := checkpoint.State{Export: kind}
	for _, p := range t.model.Params() {
		s.Tensors = append(s.Tensors, p.DTensor())
	}
	return s
}

// meta is what a checkpoint says of the run.
func (t *Trainer) meta() checkpoint.Run {
	var config bytes.Buffer
	_ = t.cfg.Write(&config) // a buffer takes everything
	return checkpoint.Run{
		Step: t.step, ScheduleStep: t.lrStep, Tokens: t.tokens, Seed: uint64(t.cfg.Debug.Seed), Job: t.owner,
		Model: resume.Sizes(t.run), Config: config.String(),
		Data: checkpoint.Data{Position: t.next.position(), SeqLen: t.cfg.Training.SeqLen, Fingerprint: t.fingerprint},
	}
}

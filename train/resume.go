// SPDX-License-Identifier: Apache-2.0

package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"octet/checkpoint"
	"octet/checkpoint/safetensors"
	"octet/device"
	"octet/dtensor"
	"octet/nn"
	"octet/train/resume"
)

// begin gives the model, the optimizer and the data the state that the run begins with.
func (t *Trainer) begin(j Job) error {
	start, err := t.findStart(j)
	if err != nil {
		return err
	}
	for _, note := range start.Notes {
		t.warn(note)
	}
	if start.Dir == "" {
		if err := t.firstWeights(); err != nil {
			return err
		}
		return t.allocate(j.Device)
	}
	c, err := checkpoint.Open(start.Dir)
	if err != nil {
		return err
	}
	if err := errors.Join(t.restore(j, c, start), c.Close()); err != nil {
		return err
	}
	if t.saver == nil || !start.Own {
		return nil
	}
	// What was saved later is of another course of the run: no step of this one may meet it.
	if _, err := t.exchange(j)(""); err != nil || t.comm.Rank() != 0 {
		return err
	}
	aside, err := checkpoint.SetAside(resume.Folder(t.cfg), t.step)
	for _, text := range aside {
		t.log.Warn("checkpoint: " + text)
	}
	return err
}

// findStart is where the run begins, as rank 0 sees it.
func (t *Trainer) findStart(j Job) (resume.Start, error) {
	if !t.cfg.Checkpoint.Enable {
		return resume.Find(j.Run, j.Contents, "")
	}
	var told struct {
		resume.Start
		Problem string
	}
	if t.comm.Rank() == 0 {
		var err error
		if told.Start, err = resume.Find(j.Run, j.Contents, j.Owner); err != nil {
			told.Problem = err.Error()
		}
	}
	text, err := json.Marshal(told)
	if err != nil {
		return told.Start, err
	}
	all, err := t.exchange(j)(string(text))
	if err != nil {
		return told.Start, err
	}
	if err := json.Unmarshal([]byte(all[0]), &told); err != nil {
		return told.Start, fmt.Errorf("what rank 0 says of the checkpoints: %w", err)
	}
	if told.Problem != "" {
		return told.Start, errors.New(told.Problem)
	}
	return told.Start, nil
}

// restoreBuffers gives the model's buffers what was saved under their names. They are a recipe's: where the run that
// saved had another, they begin as ever, or are left out.
func (t *Trainer) restoreBuffers(c *checkpoint.Checkpoint) error {
	s := t.model.Ctx().Stream
	own, missing := map[string]bool{}, 0
	for name, b := range nn.Buffers(t.model.Root()) {
		own[name] = true
		kind, shape, ok := c.Lookup(name)
		if !ok {
			missing++
			b.Set(s, nil)
			continue
		}
		if kind != safetensors.F32 {
			return fmt.Errorf("%s: %s is of type %s, the model wants F32", c.Dir, name, kind)
		}
		box := dtensor.Whole(shape)
		values := make([]float32, box.Numel())
		if err := c.Read(name, box, device.Float32Bytes(values)); err != nil {
			return err
		}
		b.Set(s, values)
	}
	extra := 0
	for _, name := range c.Names() {
		if strings.Contains(name, "fp8_") && !own[name] {
			extra++
		}
	}
	if missing > 0 {
		t.warn(fmt.Sprintf("checkpoint: %s lacks %d of the model's buffers, of its float8 recipe: they begin as in a new run", c.Dir, missing))
	}
	if extra > 0 {
		t.warn(fmt.Sprintf("checkpoint: %s has %d buffers of another float8 recipe: they are left out", c.Dir, extra))
	}
	return s.Sync()
}

// warn speaks for all ranks.
func (t *Trainer) warn(text string) {
	if t.comm.Rank() == 0 {
		t.log.Warn(text)
	}
}

// firstWeights loads the weights that the configuration names, or draws them.
// Each rank makes only its own part; it is that of the whole parameter.
func (t *Trainer) firstWeights() error {
	w, err := t.run.OpenWeights(t.model.Params())
	if err != nil {
		return err
	}
	if w == nil {
		return t.model.Init(uint64(t.cfg.Debug.Seed))
	}
	return t.loadWeights(w)
}

// loadWeights loads weights alone, and closes them.
func (t *Trainer) loadWeights(w *checkpoint.Weights) error {
	if len(w.Unused) > 0 {
		t.warn(fmt.Sprintf("%s: not of the model, so left out: %s", w.What, strings.Join(w.Unused, ", ")))
	}
	return t.model.Load(func(s device.Stream, _ []*nn.Param) error {
		return errors.Join(w.Load(s), w.Close())
	})
}

// savedWeights loads those of a checkpoint.
func (t *Trainer) savedWeights(dir string) error {
	from, err := checkpoint.OpenSource(dir)
	if err != nil {
		return err
	}
	w, err := checkpoint.NewWeights(dir, from, t.model.Params(), t.run.Args.Shared())
	if err != nil {
		return err
	}
	return t.loadWeights(w)
}

// restore loads the parts of a checkpoint that the run begins with; the others begin as ever.
func (t *Trainer) restore(j Job, c *checkpoint.Checkpoint, start resume.Start) error {
	load := func() error { return t.savedWeights(c.Dir) }
	if !start.Loads("model") {
		load = func() error { return t.model.Init(uint64(t.cfg.Debug.Seed)) }
	}
	if err := load(); err != nil {
		return err
	}
	if err := t.allocate(j.Device); err != nil {
		return err
	}
	if start.Loads("model") {
		if err := t.restoreBuffers(c); err != nil {
			return err
		}
	}
	x, s := c.Index, t.model.Ctx().Stream
	if start.Loads("optimizer") && !x.ModelOnly {
		if err := c.Load(s, t.adam.State(), nil); err != nil {
			return err
		}
	}
	if start.Loads("lr_scheduler") {
		t.lrStep = x.ScheduleStep
	}
	if start.Loads("dataloader") {
		t.loader.Seek(x.Data.Position)
	}
	if start.Loads("train_state") {
		t.step, t.tokens = x.Step, x.Tokens
	}
	without := ""
	if len(start.Without) > 0 {
		without = ", without its " + strings.Join(start.Without, ", ")
	}
	if t.comm.Rank() == 0 {
		t.log.Info(fmt.Sprintf("checkpoint: going on from %s, after step %d and %d tokens%s", c.Dir, x.Step, x.Tokens, without))
	}
	return nil
}

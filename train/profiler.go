// SPDX-License-Identifier: Apache-2.0

package train

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"octet/device/trace"
)

// profiler writes traces of steps, as profiling asks for. Each rank writes its own, as
// torchtitan's do: iteration_<last step>/rank<rank>_trace.json.
type profiler struct {
	log          *trace.Log
	rank         int
	freq, active int // of freq steps the last active ones are in a trace
	folder       string
	idle         func() error // waits for all streams
}

// profiled decorates the job's device where traces are asked for; nil: they are not.
func profiled(j *Job) *profiler {
	p, rank := j.Run.Config.Profiling, j.World.Rank()
	if !p.EnableProfiling {
		return nil
	}
	log := &trace.Log{}
	j.Device = trace.New(j.Device, log)
	return &profiler{log: log, rank: rank, freq: p.ProfileFreq, active: p.ProfilerActive, folder: filepath.Join(j.Run.Config.Job.DumpFolder, p.SaveTracesFolder)}
}

// before is called before a step, from 1.
func (p *profiler) before(step int) error {
	if p == nil || (step-1)%p.freq != p.freq-p.active {
		return nil
	}
	if err := p.idle(); err != nil {
		return err
	}
	p.log.Start()
	return nil
}

// after is called after a step.
func (p *profiler) after(step int) error {
	if p == nil || step%p.freq != 0 {
		return nil
	}
	if err := p.idle(); err != nil {
		return err
	}
	var file bytes.Buffer
	err := trace.WriteChrome(&file, map[int][]*trace.Span{p.rank: p.log.Stop()})
	folder := filepath.Join(p.folder, fmt.Sprint("iteration_", step))
	if err == nil {
		err = os.MkdirAll(folder, 0o777)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, fmt.Sprintf("rank%d_trace.json", p.rank)), file.Bytes(), 0o666)
	}
	if err != nil {
		return fmt.Errorf("train: trace of step %d: %w", step, err)
	}
	return nil
}

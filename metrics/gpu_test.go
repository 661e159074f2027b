// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestAGPUsMemoryIsTheLines, the highest of the steps together, beside what it does now.
func TestAGPUsMemoryIsTheLines(t *testing.T) {
	core, lines := observer.New(zap.InfoLevel)
	c := NewConsole(zap.New(core), ConsoleOptions{LogFreq: 3, MemoryTotal: 16 << 30})
	for step, mb := range []float64{512, 20480, 10240} {
		c.Step(Record{Step: step + 1, StepMS: 500, TokensPerS: 100, RSSMB: 1536, GPU: &GPU{MemoryMB: mb, TotalMB: 81920, Utilization: 90 + step, ClockMHz: 1980}})
	}
	const want = "step:  3  loss:  0.00000  grad_norm:  0.0000  memory: 20.00GiB(25.00%)  tps: 100  tflops: N/A  mfu: N/A  gpu: 92% 1980 MHz"
	if got := lines.All()[1].Message; got != want {
		t.Errorf("\ngot  %q\nwant %q", got, want)
	}
}

func TestARecordKeepsWhatAGPUDid(t *testing.T) {
	want := Record{Step: 3, GPU: &GPU{MemoryMB: 1.5, Utilization: 97, ClockMHz: 1980}}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	const object = `{"step":3,"loss":0,"max_loss":0,"grad_norm":0,"lr":0,"tokens":0,"tokens_seen":0,"step_ms":0,"data_ms":0,"tokens_per_s":0,"rss_mb":0,"comm_bytes":0,"gpu_memory_mb":1.5,"gpu_utilization":97,"gpu_clock_mhz":1980}`
	if string(text) != object {
		t.Errorf("%s, want %s", text, object)
	}
	var got Record
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

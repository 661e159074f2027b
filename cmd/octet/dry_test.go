// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"strings"
	"testing"
)

// TestADryRunNeedsNothing: 16,384 ranks without a device, data or a folder; how much they
// take and send is package plan's to test.
func TestADryRunNeedsNothing(t *testing.T) {
	const job = "train --debug.dry_run --model.flavor=405B --parallelism.data_parallel_replicate_degree=32 --parallelism.data_parallel_shard_degree=512 --training.dataset=tokens --training.dataset_path=nowhere"
	for _, tt := range []struct {
		args, env string
		code      int
		want      []string
		not       string
	}{
		{job, "", 0, []string{"ranks   replicate 32 × shard 512\n", "ranks   16384, (dp_replicate=32, fsdp=512), each of them\n", "memory  ", "sends   all-reduce in groups of 32 (fsdp.replicas)"}, "layers.125.attention.wq.weight"},
		{job + " --debug.print_plan", "", 0, []string{"layers.125.attention.wq.weight", "ranks   16384, "}, "\x00"},
		{"train --debug.dry_run", "", 0, []string{"ranks   1, (fsdp=1), each of them\n", "sends   0 bytes a step\n"}, "dp_replicate"},
		{job + " --parallelism.context_parallel_degree=2", "", 1, []string{"context parallelism is not in octet yet; use 1"}, "memory"},
		{"train --debug.dry_run --model.flavor=hf --model.hf_assets_path=nowhere", "", 1, []string{"model.hf_assets_path: ", "nowhere"}, "memory"},
		{"train --debug.dry_run --training.dataset=text", "", 1, []string{"training.dataset_path = \"\": "}, "memory"},
		{"train --debug.dry_run", "RANK=0 WORLD_SIZE=2 LOCAL_RANK=0 LOCAL_WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=1", 1, []string{errDryRun.Error()}, "memory"},
		{"run --nproc-per-node=1 " + job, "", 1, []string{errDryRun.Error()}, "memory"},
	} {
		cmd := octetCommand(t, strings.Fields(tt.args)...)
		cmd.Dir = t.TempDir()
		cmd.Env = append(cmd.Env, strings.Fields(tt.env)...)
		text, _ := cmd.CombinedOutput()
		for _, want := range tt.want {
			if code := cmd.ProcessState.ExitCode(); code != tt.code || !strings.Contains(string(text), want) || strings.Contains(string(text), tt.not) {
				t.Errorf("%s: exit code %d, want %d with %q and without %q:\n%.2000s", tt.args, code, tt.code, want, tt.not, text)
			}
		}
		if files, err := os.ReadDir(cmd.Dir); err != nil || len(files) > 0 {
			t.Errorf("%s: wrote %v, %v", tt.args, files, err)
		}
	}
}

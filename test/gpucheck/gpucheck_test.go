// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"octet/metrics"
	"octet/test/sim"
)

// fake is a bundle whose programs are scripts.
func fake(t *testing.T, programs map[string]string) (bundle string) {
	t.Helper()
	bundle = t.TempDir()
	for name, text := range programs {
		path := filepath.Join(bundle, "bin", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("#!/bin/bash\n"+text), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range tested() {
		if err := os.MkdirAll(filepath.Join(bundle, "tree", p), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return bundle
}

// verdicts runs gpucheck and returns what result.json says of each check.
func verdicts(t *testing.T, args ...string) map[string]Result {
	t.Helper()
	out := t.TempDir()
	if err := program(append(args, "--out", out)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(out, "result.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r Record
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(out, "gpu.md"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", page)
	found := map[string]Result{}
	for _, x := range r.Results {
		found[x.Name] = x
		if !strings.Contains(string(page), fmt.Sprintf("| %s: %s | %s |", x.Name, x.About, x.Verdict)) {
			t.Errorf("gpu.md does not say what became of %s", x.Name)
		}
	}
	return found
}

const doctor = `case $1 in
version) echo octet test;;
doctor) echo "GPU 0                GPU of a test, 0000:01:00.0, compute capability 9.0, 80.0 GiB, 132 processors";;
run) for a; do case $a in --job.dump_folder=*) d=${a#*=};; esac; done; mkdir -p $d
	for i in 1 2 3 4; do echo '{"step":'$i',"loss":2,"max_loss":2,"grad_norm":1,"lr":1,"tokens":1,"tokens_seen":1,"step_ms":1,"data_ms":1,"tokens_per_s":'$i'00,"rss_mb":1,"comm_bytes":0}'; done >$d/metrics.jsonl;;
esac
`

// TestAFailureStopsNoOtherCheck: of what fails, hangs, dies, skips itself or measures too little each has its verdict, and
// all others have theirs.
func TestAFailureStopsNoOtherCheck(t *testing.T) {
	bundle := fake(t, map[string]string{
		"octet": doctor,
		"device_cuda.test": `case "$*" in
*ConformsFromPTX*) echo "--- FAIL: TestHardwareConformsFromPTX (1.00s)"; echo "    --- FAIL: TestHardwareConformsFromPTX/cast (0.00s)"; exit 1;;
*Conforms*) echo "--- PASS: TestHardwareConforms (1.00s)";;
*StreamsApart*) sleep 60 & sleep 60;;
*FaultsAreTold*) echo "panic: oh"; exit 2;;
*SameBits*) echo "--- SKIP: TestHardwareHasTheSameBitsFromPTX (0.00s)"; echo "    hardware_test.go:9: there is no PTX";;
*BenchmarkWork*) echo "BenchmarkWork/copy-16 	 30	 100 ns/op	 4000.5 MB/s	 1.000 target"; echo "BenchmarkWork/cast,_scale_given 	 30	 100 ns/op	 2000 MB/s	 0.8500 target"
	echo "BenchmarkLaunch-16  30  2500 ns/op";;
*BenchmarkMatMul*) echo "BenchmarkMatMul/bf16/8192x8192x8192-16 30 100 ns/op 700000 GFLOP/s"; echo "FAIL: the second"; exit 1;;
esac`,
		"nccl.test":          `[ "$OCTET_NCCL_LIB" ] && [ "$OCTET_TEST_ONE_GPU" != 1 ] && exit 1; echo "--- PASS: TestHardwareConforms (1.00s)"`,
		"fp8.test":           "exit 0",
		"test_multigpu.test": `[ "$OCTET_TEST_DEVICE" = cuda ] && echo "--- PASS: TestHardwareTrainsAsTheCPU (1.00s)"`,
	})
	got := verdicts(t, "--bundle", bundle, "--patience", ".1")
	if r := got["streams"]; r.Seconds > 2+killedAfter.Seconds() {
		t.Errorf("what hangs was ended after %.1f s", r.Seconds)
	}
	for name, want := range map[string]string{
		"inventory": "pass GPU of a test, 0000:01:00.0, compute capability 9.0, 80.0 GiB, 132 processors",
		"kernels":   "pass ", "ptx": "fail TestHardwareConformsFromPTX/cast", "streams": "fail not done after 2 s", "faults": "fail exit status 2: panic: oh",
		"ptx bits": "skipped there is no PTX", "speed": "fail below its target: cast,_scale_given", "products": "fail exit status 1: FAIL: the second", "collectives": "pass ", "nccl": "pass ",
		"training": "pass ", "float8": "fail no test ran", "step bf16": "pass loss 2.0000 after 4 steps",
		"torch products": "skipped python3 has no PyTorch that sees a GPU", "torch step float8": "skipped python3 has no PyTorch that sees a GPU", "own products": "fail no test ran",
	} {
		if r := got[name]; string(r.Verdict)+" "+r.Reason != want {
			t.Errorf("%s: %s %s, want %s", name, r.Verdict, r.Reason, want)
		}
	}
	if r := got["sharding"]; r.Verdict != Fail { // its program is not there
		t.Errorf("sharding: %s %s", r.Verdict, r.Reason)
	}
	if m := got["speed"].Measures; len(m) != 3 || m[0].Value != 4000.5 || m[1].Share < .49 || m[1].Share > .51 || m[1].Want != .85 || m[2] != (Measure{Name: "Launch", Value: 2500, Unit: "ns"}) {
		t.Errorf("measures %+v", m)
	}
	if m := got["step float8"].Measures; len(m) != 1 || m[0].Value != 400 || m[0].Unit != "tokens/s" {
		t.Errorf("measures of a step %+v", m)
	}
}

// TestWithoutAGPUAllIsSkipped, with what octet says of it.
func TestWithoutAGPUAllIsSkipped(t *testing.T) {
	bundle := fake(t, map[string]string{"octet": `echo "libcuda.so.1         not found"`})
	for name, r := range verdicts(t, "--bundle", bundle) {
		if r.Verdict != Skipped || r.Reason != "no GPU: not found" {
			t.Errorf("%s: %s %s", name, r.Verdict, r.Reason)
		}
	}
	bundle = fake(t, map[string]string{"octet": doctor})
	for name, r := range verdicts(t, "--bundle", bundle, "--budget", "0s") {
		if r.Verdict != Skipped || r.Reason != "no time was left" {
			t.Errorf("without time: %s: %s %s", name, r.Verdict, r.Reason)
		}
	}
}

func TestASanitizersSummaryIsRead(t *testing.T) {
	const passed = "--- PASS: TestHardwareConforms (1.00s)\n"
	for _, tt := range []struct{ text, want string }{
		{passed + "========= ERROR SUMMARY: 0 errors\n", "pass "},
		{passed + "========= RACECHECK SUMMARY: 0 hazards displayed\n", "pass "},
		{passed + "========= ERROR SUMMARY: 3 errors\n", "fail ERROR SUMMARY: 3 error"},
		{passed + "========= ERROR SUMMARY: 12 errors\n", "fail ERROR SUMMARY: 12 error"},
		{passed + "========= RACECHECK SUMMARY: 2 hazards displayed\n", "fail RACECHECK SUMMARY: 2 hazard"},
		{passed, "fail no summary: " + strings.TrimSpace(passed)},
		{"========= Error: Device not supported.\n", "skipped compute-sanitizer does not support this device here"},
	} {
		if v, why, _ := judgeSanitizer(nil, output{text: tt.text}); string(v)+" "+why != tt.want {
			t.Errorf("%q: %s %s, want %s", tt.text, v, why, tt.want)
		}
	}
}

// TestWhatEndsEarlyIsNoFigure: a peer that fails behind its first line, a step that is alone, a PyTorch that sees no GPU.
func TestWhatEndsEarlyIsNoFigure(t *testing.T) {
	if v, why, _ := judgePeer(nil, output{text: `{"name": "a", "value": 1, "unit": "GFLOP/s"}` + "\nout of memory", err: errors.New("exit status 1")}); v != Fail || why != "exit status 1: out of memory" {
		t.Errorf("a peer that fails: %s %s", v, why)
	}
	h := &host{scratch: t.TempDir(), lacks: map[need]string{}}
	line, err := json.Marshal(metrics.Record{Step: 1, Loss: 2, TokensPerS: 400})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(h.scratch, "step-bf16"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.scratch, "step-bf16", metrics.FileName), append(line, '\n'), 0o666); err != nil {
		t.Fatal(err)
	}
	if v, why, _ := judgeStep("step bf16")(h, output{text: "stopped"}); v != Fail || !strings.HasPrefix(why, "1 steps: ") {
		t.Errorf("one step: %s %s", v, why)
	}
	for text, lacks := range map[string]bool{"torch: 2.11 sees 0": true, "torch: 2.11 sees 1": false} {
		if _, _, _ = judgeInventory(h, output{text: text}); (h.lacks[torch] != "") != lacks {
			t.Errorf("%s: %q", text, h.lacks[torch])
		}
	}
}

func TestAPeersFiguresStandBeside(t *testing.T) {
	v, _, measures := judgePeer(nil, output{text: "warning: x\n" + `{"name": "bf16/8x8x8", "value": 500000, "unit": "GFLOP/s"}` + "\n"})
	r := Record{Results: []Result{
		{Name: "products", Verdict: Pass, Measures: []Measure{{Name: "bf16/8x8x8", Value: 400000, Unit: "GFLOP/s"}}},
		{Name: "torch products", Verdict: v, Measures: measures},
		{Name: "step float8", Verdict: Pass, Measures: []Measure{{Name: "step float8", Value: 30000, Unit: "tokens/s"}}},
		{Name: "torch step float8", Verdict: Pass, Measures: []Measure{{Name: "step float8", Value: 20000, Unit: "tokens/s"}}},
		{Name: "torch step float8 compiled", Verdict: Pass, Measures: []Measure{{Name: "step float8 compiled", Value: 40000, Unit: "tokens/s"}}},
	}}
	for _, want := range []string{
		"| bf16/8x8x8, TFLOP/s | 400 | 500 | 0.80 |\n", "| step float8, tokens/s | 3e+04 | 2e+04 | 1.50 |\n", "| step float8, torch compiled, tokens/s | 3e+04 | 4e+04 | 0.75 |\n",
	} {
		if !strings.Contains(r.page(), want) {
			t.Errorf("no line %q in\n%s", want, r.page())
		}
	}
}

func TestAnUnknownCheckNamesThoseThereAre(t *testing.T) {
	err := program([]string{"--only", "speeed", "--out", t.TempDir()})
	if err == nil || !strings.HasPrefix(err.Error(), `--only: there is no check "speeed"; there are: inventory, kernels, `) {
		t.Errorf("error %v", err)
	}
}

func TestVersionsCompareByNumber(t *testing.T) {
	for _, tt := range []struct {
		version string
		want    bool
	}{{"GLIBC_2.34", false}, {"GLIBC_2.4", false}, {"GLIBC_2.35", true}, {"GLIBC_2.34.1", true}, {"GLIBC_3", true}} {
		if got := newer(tt.version, newestGlibc); got != tt.want {
			t.Errorf("%s is newer than %s: %v", tt.version, newestGlibc, got)
		}
	}
}

// TestTheBundleRunsOnASimulatedGPU: without Go, from another folder than the module's. Left out is what needs minutes more and is
// the same there, such as PTX.
func TestTheBundleRunsOnASimulatedGPU(t *testing.T) {
	if os.Getenv("OCTET_HEAVY") == "" {
		t.Skip("takes a quarter of an hour: OCTET_HEAVY=1 runs it")
	}
	t.Chdir("../..")
	archive, folder := filepath.Join(t.TempDir(), "gpucheck.tar.gz"), t.TempDir()
	if err := program([]string{"bundle", "-o", archive}); err != nil {
		t.Fatal(err)
	}
	for variable, l := range map[string]sim.Library{"OCTET_CUDA_LIB": sim.Driver(), "OCTET_CUBLASLT_LIB": sim.CublasLt(), "OCTET_NCCL_LIB": sim.NCCL(), "SIM_KERNELS": sim.Kernels()} {
		t.Setenv(variable, sim.Path(t, l))
	}
	t.Setenv("OCTET_HEAVY", "")
	out := t.TempDir()
	cmd := exec.Command("bash", "-c", `tar xzf "$1" && chmod -R a-w gpucheck && PATH=/usr/bin:/bin gpucheck/check.sh --short --patience 10 --budget 2h --out "$2" --only "$3"`, "check", archive, out,
		"kernels,streams,nccl,training,collectives,speed,products,step bf16,step float8,faults,lost peer,own products,nccl shares")
	cmd.Dir = folder
	t.Cleanup(func() { _ = exec.Command("chmod", "-R", "u+w", folder).Run() })
	text, err := cmd.CombinedOutput()
	t.Logf("%s", text)
	if err != nil {
		t.Fatal(err)
	}
	var r Record
	mem, err := os.ReadFile(filepath.Join(out, "result.json"))
	if err != nil || json.Unmarshal(mem, &r) != nil {
		t.Fatal(err)
	}
	for _, x := range r.Results {
		if slow := x.Name == "speed" && strings.HasPrefix(x.Reason, "below its target"); x.Verdict != Pass && !slow {
			t.Errorf("%s: %s %s", x.Name, x.Verdict, x.Reason)
		}
	}
}

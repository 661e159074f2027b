// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What happens to a job in the field, at random moments: the exit code and the
// name are right, and nothing is left. `make kills` does it often.
func often(few, many int) int {
	if os.Getenv("OCTET_HEAVY") != "" {
		return many
	}
	return few
}

// tmp is the process's own temporary directory, which everything that it starts
// inherits.
func (p *process) tmp() (dir string) {
	for _, kv := range p.Env {
		if v, ok := strings.CutPrefix(kv, "TMPDIR="); ok {
			dir = v
		}
	}
	return dir
}

// left lists the processes that the process has left, and its files.
func (p *process) left(t *testing.T) (all []string) {
	t.Helper()
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range environs {
		env, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(env, []byte("TMPDIR="+p.tmp()+"\x00")) {
			continue
		}
		cmd, _ := os.ReadFile(filepath.Dir(path) + "/cmdline")
		if len(cmd) > 0 { // else it is a zombie, or gone meanwhile
			all = append(all, fmt.Sprintf("%s %q", path, cmd))
		}
	}
	files, err := os.ReadDir(p.tmp())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		all = append(all, f.Name())
	}
	return all
}

// nothingLeft waits until nothing is left.
func (p *process) nothingLeft(t *testing.T) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		left := p.left(t)
		if len(left) == 0 {
			return
		}
		if time.Since(start) > 10*time.Second {
			t.Fatalf("left: %q", left)
		}
	}
}

// tellPID is a rank that writes its pid down and would live long.
const tellPID = `echo $$ > $PIDS/$RANK.tmp; mv $PIDS/$RANK.tmp $PIDS/$RANK; sleep 1000`

// awaitPIDs returns the pids of n ranks.
func awaitPIDs(t *testing.T, dir string, n int) []int {
	t.Helper()
	pids := make([]int, n)
	for r := range pids {
		for start := time.Now(); pids[r] == 0; time.Sleep(time.Millisecond) {
			text, _ := os.ReadFile(filepath.Join(dir, strconv.Itoa(r)))
			pids[r], _ = strconv.Atoi(strings.TrimSpace(string(text)))
			if time.Since(start) > 20*time.Second {
				t.Fatalf("rank %d has not started", r)
			}
		}
	}
	return pids
}

func TestKillRanks(t *testing.T) {
	const ranks = 3
	for i := range often(4, 100) {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(1, uint64(i)))
			p := octetProcess(t, "run", "--nproc-per-node", strconv.Itoa(ranks), "sh", "-c", tellPID)
			dir := t.TempDir()
			p.Env = append(p.Env, "PIDS="+dir)
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			pids := awaitPIDs(t, dir, ranks)
			time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
			rank := random.IntN(ranks)
			signal := []syscall.Signal{syscall.SIGKILL, syscall.SIGSEGV, syscall.SIGABRT, syscall.SIGTERM}[random.IntN(4)]
			if err := syscall.Kill(pids[rank], signal); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			code := p.exitCode()
			t.Logf("%v to rank %d: ended after %v", signal, rank, time.Since(start).Round(time.Millisecond))
			if want := fmt.Sprintf("first to fail: rank %d on ", rank); code != 128+int(signal) || !strings.Contains(lastLine(p.stderr.String()), want) {
				t.Errorf("%v to rank %d: code %d\n%s", signal, rank, code, p.stderr.String())
			}
			p.nothingLeft(t)
		})
	}
}

func TestKillAgents(t *testing.T) {
	for i := range often(2, 20) {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			agents := twoHosts(t, tellPID)
			dir := t.TempDir()
			for _, a := range agents {
				a.Env = append(a.Env, "PIDS="+dir)
			}
			start(t, agents[:]...)
			awaitPIDs(t, dir, 4)
			killed := i % 2
			agents[killed].Process.Kill()
			began := time.Now()
			agents[killed].exitCode()
			code := agents[1-killed].exitCode()
			t.Logf("agent %d killed: the other ended after %v", killed, time.Since(began).Round(time.Millisecond))
			want := []string{"lost the coordinator at ", "first to fail: node 1 ("}[killed]
			if code != 1 || !strings.Contains(lastLine(agents[1-killed].stderr.String()), want) {
				t.Errorf("agent %d killed: code %d\n%s", killed, code, agents[1-killed].stderr.String())
			}
			for _, a := range agents {
				a.nothingLeft(t)
			}
		})
	}
}

func TestPauses(t *testing.T) {
	for i := range often(2, 20) {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(2, uint64(i)))
			p := octetProcess(t, twoRanks("sleep 1", "--rdzv-conf", "keep_alive_interval=0.05,keep_alive_max_attempt=2")...)
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
			p.Process.Signal(syscall.SIGSTOP)
			time.Sleep(time.Duration(200+random.IntN(1000)) * time.Millisecond)
			p.Process.Signal(syscall.SIGCONT)
			if code := p.exitCode(); code != 0 {
				t.Errorf("code %d\n%s", code, p.stderr.String())
			}
			p.nothingLeft(t)
		})
	}
}

// A SIGTERM in the first moments ends octet as at any time.
func TestSIGTERMWhileStarting(t *testing.T) {
	moments := often(7, 31)
	for i := range moments {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			p := octetProcess(t, twoRanks("sleep 1000")...)
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(i) * 60 * time.Millisecond / time.Duration(moments))
			p.Process.Signal(syscall.SIGTERM)
			code := p.exitCode()
			if s := p.ProcessState.Sys().(syscall.WaitStatus); s.Signaled() {
				code = 128 + int(s.Signal()) // before octet handles signals: as a shell has it
			}
			if code != 128+int(syscall.SIGTERM) {
				t.Errorf("code %d\n%s", code, p.stderr.String())
			}
			p.nothingLeft(t)
		})
	}
}

// Launcher and guard are killed together: the ranks go with them, and what the
// ranks have started goes with the next start, as the folder of the run does.
func TestTheNextStartSweeps(t *testing.T) {
	t.Parallel()
	p := octetProcess(t, twoRanks(crowd+"wait")...)
	r := fifo(t, p)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, r, 2)
	guard := 0
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.Process.Pid))
	if err != nil || len(tasks) == 0 {
		t.Skip("the kernel does not list children: ", err)
	}
	for _, task := range tasks {
		children, _ := os.ReadFile(task)
		for _, child := range strings.Fields(string(children)) {
			if cmd, _ := os.ReadFile("/proc/" + child + "/cmdline"); strings.HasPrefix(string(cmd), "gang-guard\x00") && !strings.Contains(string(cmd), "octet") {
				guard, _ = strconv.Atoi(child)
			}
		}
	}
	if guard == 0 {
		t.Fatal("no child of octet is called gang-guard, which those who kill by octet's name do not hit")
	}
	syscall.Kill(guard, syscall.SIGSTOP) // it does nothing between the two kills
	for state := ""; state != "T"; {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", guard))
		if err != nil {
			t.Fatal(err)
		}
		state = strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))[0]
	}
	p.Process.Kill()
	syscall.Kill(guard, syscall.SIGKILL)
	p.exitCode()
	if left := p.left(t); len(left) < 3 { // the children in the ranks' and in own sessions, the folder
		t.Errorf("left before the next start: %q, want processes and a folder", left)
	}
	next := octetProcess(t, "run", "true")
	next.Env = append(next.Env, "TMPDIR="+p.tmp())
	if err := next.Run(); err != nil {
		t.Errorf("%v\n%s", err, next.stderr.String())
	}
	waitGone(t, r)
	if left := p.left(t); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// 256 ranks of one host meet, sum and end.
func TestManyRanks(t *testing.T) {
	n := often(24, 256)
	program := t.TempDir() + "/allreduce"
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../examples/allreduce").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	start := time.Now()
	p := octetProcess(t, "run", "--nproc-per-node", strconv.Itoa(n), program)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	code := p.exitCode()
	t.Logf("%v and %v of processor time", time.Since(start).Round(time.Millisecond), p.ProcessState.UserTime()+p.ProcessState.SystemTime())
	if want := fmt.Sprintf("%d ranks, sum %d\n", n, n); code != 0 || !strings.HasSuffix(p.stdout.String(), want) {
		t.Errorf("code %d, stdout %q, want %q\n%s", code, p.stdout.String(), want, p.stderr.String())
	}
	p.nothingLeft(t)
}

// A start sweeps nothing of a job that runs.
func TestAStartLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	p := octetProcess(t, twoRanks(`exec 9>$FIFO; echo ready >&9; until [ -e $DONE ]; do sleep 0.01; done; [ -d $OCTET_RUN_DIR ]`)...)
	r := fifo(t, p)
	done := t.TempDir() + "/done"
	p.Env = append(p.Env, "DONE="+done)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, r, 2)
	other := octetProcess(t, "run", "true")
	other.Env = append(other.Env, "TMPDIR="+p.tmp())
	if err := other.Run(); err != nil {
		t.Errorf("%v\n%s", err, other.stderr.String())
	}
	if err := os.WriteFile(done, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code := p.exitCode(); code != 0 {
		t.Errorf("code %d\n%s", code, p.stderr.String())
	}
}

// What a rank leaves behind at its good end may finish, for --shutdown-timeout.
func TestRunLetsChildrenFinish(t *testing.T) {
	t.Parallel()
	p := octetProcess(t, twoRanks(`(sleep 0.3; echo uploaded $RANK) & exit 0`, "--log-line-prefix-template", "")...)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	code := p.exitCode()
	if out := p.stdout.String(); code != 0 || !strings.Contains(out, "uploaded 0\n") || !strings.Contains(out, "uploaded 1\n") {
		t.Errorf("code %d, output:\n%s%s", code, out, p.stderr.String())
	}
	p.nothingLeft(t)
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
)

// twoHosts makes the agents of two hosts, both on this machine, two ranks each.
func twoHosts(t *testing.T, script string, flags ...string) [2]*process {
	port := freePort(t)
	var agents [2]*process
	for i := range agents {
		args := []string{"run", "--nnodes", "2", "--node-rank", fmt.Sprint(i), "--master-port", port, "--rdzv-id", "job", "--nproc-per-node", "2"}
		agents[i] = octetProcess(t, append(append(args, flags...), "sh", "-c", script)...)
	}
	return agents
}

func start(t *testing.T, agents ...*process) {
	t.Helper()
	for _, a := range agents {
		if err := a.Start(); err != nil {
			t.Fatal(err)
		}
	}
}

// await reads a line from each of n ranks.
func await(t *testing.T, r *bufio.Reader, n int) {
	t.Helper()
	for range n {
		if line, err := r.ReadString('\n'); err != nil {
			t.Fatalf("got %q, %v from a rank", line, err)
		}
	}
}

func TestTwoHosts(t *testing.T) {
	t.Parallel()
	said := t.TempDir() // a file of each rank that has spoken: the failure comes after all of them
	agents := twoHosts(t, `echo $RANK of $WORLD_SIZE, local $LOCAL_RANK, host $GROUP_RANK of $GROUP_WORLD_SIZE, attempt $TORCHELASTIC_RESTART_COUNT, at $MASTER_ADDR
		touch `+said+`/$RANK
		[ $RANK$TORCHELASTIC_RESTART_COUNT != 30 ] || { while [ $(ls `+said+` | wc -l) != 4 ]; do sleep 0.01; done; exit 5; }
		[ $TORCHELASTIC_RESTART_COUNT = 1 ] || sleep 100`, "--max-restarts", "1", "--log-line-prefix-template", "|")
	start(t, agents[1], agents[0])
	for i, a := range agents {
		if code := a.exitCode(); code != 0 {
			t.Errorf("agent %d: code %d\n%s", i, code, a.stderr.String())
		}
		for local := range 2 {
			for attempt := range 2 {
				line := fmt.Sprintf("|%d of 4, local %d, host %d of 2, attempt %d, at 127.0.0.1\n", 2*i+local, local, i, attempt)
				if !strings.Contains(a.stdout.String(), line) {
					t.Errorf("agent %d: no %q in:\n%s", i, line, a.stdout.String())
				}
			}
		}
		if !strings.Contains(a.stderr.String(), "attempt 1 of 2 failed: rank 3 on ") {
			t.Errorf("agent %d does not tell of the restart:\n%s", i, a.stderr.String())
		}
	}
}

func TestTwoHostsRanksMeet(t *testing.T) {
	t.Parallel()
	agents := twoHosts(t, os.Args[0]+" test-meet")
	start(t, agents[:]...)
	for i, a := range agents {
		if code := a.exitCode(); code != 0 || strings.Count(a.stdout.String(), "met all 4\n") != 2 {
			t.Errorf("agent %d: code %d\n%s%s", i, code, a.stdout.String(), a.stderr.String())
		}
	}
}

// A failure on one host ends both, with the same code and report.
func TestTwoHostsFail(t *testing.T) {
	t.Parallel()
	agents := twoHosts(t, "[ $RANK = 2 ] && exit 7; sleep 100")
	start(t, agents[:]...)
	for i, a := range agents {
		if code := a.exitCode(); code != 7 || !strings.Contains(lastLine(a.stderr.String()), "octet: first to fail: rank 2 on ") {
			t.Errorf("agent %d: code %d\n%s", i, code, a.stderr.String())
		}
	}
}

// Signals to one agent end both.
func TestTwoHostsStopped(t *testing.T) {
	for _, tt := range []struct {
		name   string
		host   int // whose agent gets the signal
		signal syscall.Signal
		codes  [2]int
		last   [2]string
	}{
		{"SIGTERM to host 1", 1, syscall.SIGTERM, [2]int{143, 143}, [2]string{"stopped by SIGTERM", "stopped by SIGTERM"}},
		{"agent 1 killed", 1, syscall.SIGKILL, [2]int{1, -1}, [2]string{"first to fail: node 1 (", ""}},
		{"agent 0 killed", 0, syscall.SIGKILL, [2]int{-1, 1}, [2]string{"", "lost the coordinator at 127.0.0.1:"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			agents := twoHosts(t, "exec 9>$FIFO; echo ready >&9; sleep 100")
			r := fifo(t, agents[0])
			agents[1].Env = append(agents[1].Env, agents[0].Env[len(agents[0].Env)-1])
			start(t, agents[:]...)
			await(t, r, 4)
			agents[tt.host].Process.Signal(tt.signal)
			for i, a := range agents {
				if code := a.exitCode(); code != tt.codes[i] || !strings.Contains(lastLine(a.stderr.String()), tt.last[i]) {
					t.Errorf("agent %d: code %d, want %d and %q\n%s", i, code, tt.codes[i], tt.last[i], a.stderr.String())
				}
			}
			waitGone(t, r)
		})
	}
}

// Two hosts that are stopped as a whole for longer than a silent host is waited
// for go on when they are continued.
func TestTwoHostsPaused(t *testing.T) {
	t.Parallel()
	agents := twoHosts(t, `[ $RANK = 0 ] || { until [ -e $DONE ]; do sleep 0.01; done; exit; }
		until [ -e $PIDS/0 ] && [ -e $PIDS/1 ]; do sleep 0.01; done
		kill -STOP $(cat $PIDS/1) $(cat $PIDS/0); sleep 1.5; kill -CONT $(cat $PIDS/0) $(cat $PIDS/1); sleep 0.5; touch $DONE`,
		"--rdzv-conf", "keep_alive_interval=0.2")
	pids := t.TempDir()
	for _, a := range agents {
		a.Env = append(a.Env, "PIDS="+pids, "DONE="+pids+"/done")
	}
	start(t, agents[:]...)
	for i, a := range agents {
		path := fmt.Sprintf("%s/%d", pids, i)
		if err := os.WriteFile(path+".tmp", []byte(fmt.Sprint(a.Process.Pid)), 0o600); err != nil {
			t.Fatal(err)
		}
		os.Rename(path+".tmp", path)
	}
	for i, a := range agents {
		if code := a.exitCode(); code != 0 {
			t.Errorf("agent %d: code %d\n%s", i, code, a.stderr.String())
		}
	}
}

// Without node ranks the agent that can listen leads.
func TestTwoHostsC10d(t *testing.T) {
	t.Parallel()
	endpoint := "localhost:" + freePort(t)
	var agents [2]*process
	for i := range agents {
		agents[i] = octetProcess(t, "run", "--nnodes=2:2", "--rdzv_backend=c10d", "--rdzv_endpoint", endpoint, "--rdzv_id=job", "sh", "-c", "echo rank $RANK")
	}
	start(t, agents[:]...)
	out := ""
	for i, a := range agents {
		if code := a.exitCode(); code != 0 {
			t.Errorf("agent %d: code %d\n%s", i, code, a.stderr.String())
		}
		out += a.stdout.String()
	}
	if !strings.Contains(out, "rank 0\n") || !strings.Contains(out, "rank 1\n") {
		t.Errorf("output:\n%s", out)
	}
}

func TestTwoHostsThatDoNotAgree(t *testing.T) {
	for _, tt := range []struct{ flags, want string }{
		{"--nnodes 2 --node-rank 1 --rdzv-id other", "it runs another job: give all nodes the same --rdzv-id"},
		{"--nnodes 3 --node-rank 1 --rdzv-id job", "--nnodes is 3 on host HOST, but 2 on host HOST: start all hosts alike"},
		{"--nnodes 2 --node-rank 1 --rdzv-id job --max-restarts 1", "--max-restarts is 1 on host HOST, but 0 on host HOST: "},
		{"--nnodes 2 --node-rank 1 --rdzv-id job --rdzv-conf keep_alive_interval=2", "a host is lost after is 10s on host HOST, but 5s on host HOST: "},
		// Also a second job of other people with the same id that strays here while this one forms.
		{"--nnodes 2 --node-rank 1 --rdzv-id job echo", "the program is echo on host HOST, but sh on host HOST: "},
		{"--nnodes 2 --node-rank 1 --rdzv-id job sh -c", "the command line is sh -c true on host HOST, but sh -c exit on host HOST: "},
	} {
		t.Run(tt.flags, func(t *testing.T) {
			t.Parallel()
			host, _ := os.Hostname()
			tt.want = strings.ReplaceAll(tt.want, "HOST", host)
			agents := twoHosts(t, "exit")
			args := append([]string{"run", "--master-port", agents[0].Args[7]}, strings.Fields(tt.flags)...)
			stranger := octetProcess(t, append(args, "true")...)
			start(t, agents[0], stranger)
			if code := stranger.exitCode(); code != 1 || !strings.Contains(lastLine(stranger.stderr.String()), tt.want) {
				t.Errorf("code %d\n%s", code, stranger.stderr.String())
			}
			start(t, agents[1]) // the others still can
			for i, a := range agents {
				if code := a.exitCode(); code != 0 {
					t.Errorf("agent %d: code %d\n%s", i, code, a.stderr.String())
				}
			}
		})
	}
}

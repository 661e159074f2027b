// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"octet/comm/store"
	"octet/internal/auth"
)

// meetAsTorch is a rank that meets the others as PyTorch's do: in the TCPStore at
// MASTER_ADDR:MASTER_PORT.
func meetAsTorch() int {
	err := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		world, err := strconv.Atoi(os.Getenv("WORLD_SIZE"))
		if err != nil {
			return err
		}
		st, err := store.DialAnyone(ctx, net.JoinHostPort(os.Getenv("MASTER_ADDR"), os.Getenv("MASTER_PORT")))
		if err != nil {
			return err
		}
		defer st.Close()
		if err := st.Set(ctx, os.Getenv("RANK"), nil); err != nil {
			return err
		}
		for r := range world {
			if _, err := st.Get(ctx, fmt.Sprint(r)); err != nil {
				return err
			}
		}
		fmt.Printf("met all %d at %s\n", world, os.Getenv("MASTER_ADDR"))
		return nil
	}()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func TestPyTorchsRanksMeet(t *testing.T) {
	for _, tt := range []struct{ conf, at string }{{"store=open", "127.0.0.2"}, {"store=relay", "127.0.0.1"}} {
		t.Run(tt.conf, func(t *testing.T) {
			t.Parallel()
			agents := twoHosts(t, os.Args[0]+" test-torch", "--master-addr", "127.0.0.2", "--rdzv-conf", tt.conf)
			start(t, agents[:]...)
			want := "met all 4 at " + tt.at + "\n"
			for i, a := range agents {
				if code := a.exitCode(); code != 0 || strings.Count(a.stdout.String(), want) != 2 {
					t.Errorf("agent %d: code %d, want %q twice\n%s%s", i, code, want, a.stdout.String(), a.stderr.String())
				}
			}
		})
	}
}

// withToken gives agents the operator's token.
func withToken(token string, agents ...*process) {
	for _, a := range agents {
		a.Env = append(a.Env, auth.TokenVar+"="+token)
	}
}

func TestHostsWithDifferentTokens(t *testing.T) {
	t.Parallel()
	agents := twoHosts(t, os.Args[0]+" test-meet")
	withToken("the token of this job", agents[:]...)
	stranger := octetProcess(t, agents[1].Args[1:]...)
	withToken("the token of another", stranger)
	start(t, agents[0], stranger)
	if code := stranger.exitCode(); code != 1 || !strings.Contains(lastLine(stranger.stderr.String()), "refused this node: the tokens differ") {
		t.Errorf("code %d\n%s", code, stranger.stderr.String())
	}
	start(t, agents[1]) // the others still can
	for i, a := range agents {
		if code := a.exitCode(); code != 0 {
			t.Errorf("agent %d: code %d\n%s%s", i, code, a.stdout.String(), a.stderr.String())
		}
	}
}

// Ranks of all hosts know the same secret, and it is not the launcher's.
func TestRanksAreGivenASecretOfTheirOwn(t *testing.T) {
	t.Parallel()
	const token = "the token of this job"
	agents := twoHosts(t, `echo "$OCTET_JOB_TOKEN"`, "--log-line-prefix-template=")
	withToken(token, agents[:]...)
	start(t, agents[:]...)
	seen := map[string]int{}
	for i, a := range agents {
		if code := a.exitCode(); code != 0 {
			t.Errorf("agent %d: code %d\n%s", i, code, a.stderr.String())
		}
		for line := range strings.Lines(a.stdout.String()) {
			seen[strings.TrimSpace(line)]++
		}
	}
	if len(seen) != 1 || seen[token] > 0 || seen[""] > 0 {
		t.Errorf("ranks have %v", seen)
	}
}

// Each attempt has a store of its own, and its ranks prove which one they are of.
func TestRanksMeetAgainAfterARestart(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := run(t, twoRanks(os.Args[0]+` test-meet && [ $TORCHELASTIC_RESTART_COUNT = 1 ]`, "--max-restarts", "1")...)
	if code != 0 || strings.Count(stdout, "met all 2\n") < 3 { // the second to fail may be stopped before it says so
		t.Errorf("code %d\n%s%s", code, stdout, stderr)
	}
}

// A stranger who holds more connections than the launcher may have files open
// does not keep ranks from their store, now or after a restart.
func TestHeldConnectionsHoldNobodyUp(t *testing.T) {
	t.Parallel()
	port, held := freePort(t), filepath.Join(t.TempDir(), "held")
	p := octetProcess(t, twoRanks(`until [ -e `+held+` ]; do sleep 0.01; done; `+os.Args[0]+` test-meet && [ $TORCHELASTIC_RESTART_COUNT = 1 ]`,
		"--master-port", port, "--max-restarts", "1")...)
	p.Args = append([]string{"sh", "-c", `ulimit -n 128; exec "$@"`, "sh", p.Path}, p.Args[1:]...)
	p.Path = "/bin/sh"
	start(t, p)
	ended := make(chan int)
	go func() { ended <- p.exitCode() }()
	for n := 0; n < 300; {
		select {
		case code := <-ended:
			t.Fatalf("code %d after %d connections\n%s", code, n, p.stderr.String())
		default:
		}
		conn, err := net.DialTimeout("tcp", "127.0.0.1:"+port, time.Second)
		if err != nil { // it has not begun to listen
			time.Sleep(time.Millisecond)
			continue
		}
		defer conn.Close()
		n++
	}
	if err := os.WriteFile(held, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code := <-ended; code != 0 {
		t.Errorf("code %d\n%s%s", code, p.stdout.String(), p.stderr.String())
	}
}

// Ranks that octet did not launch know each other by the variable, or say that
// they do without.
func TestTrainUnderAnotherLauncher(t *testing.T) {
	for _, tt := range []struct {
		name, token, flag string
		code              int
	}{
		{"neither", "", "", 1},
		{"a token", "the token of this job", "", 0},
		{"comm.insecure", "", "--comm.insecure", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			port, out := freePort(t), t.TempDir()
			var ranks [2]*process
			for i := range ranks {
				args := goldenRun(out, "--training.steps=2")
				if tt.flag != "" {
					args = append(args, tt.flag)
				}
				ranks[i] = octetProcess(t, args[3:]...)
				ranks[i].Env = append(ranks[i].Env, fmt.Sprintf("RANK=%d", i), fmt.Sprintf("LOCAL_RANK=%d", i), "WORLD_SIZE=2",
					"LOCAL_WORLD_SIZE=2", "MASTER_ADDR=127.0.0.1", "MASTER_PORT="+port, "OMP_NUM_THREADS=1")
				if tt.token != "" {
					withToken(tt.token, ranks[i])
				}
			}
			start(t, ranks[:]...)
			for i, r := range ranks {
				code := r.exitCode()
				if text := r.stderr.String(); code != tt.code || code != 0 &&
					!strings.Contains(text, "OCTET_JOB_TOKEN is not set: give all ranks the same token") || code != 0 && !strings.Contains(text, "comm.insecure = true") {
					t.Errorf("rank %d: code %d, want %d\n%s", i, code, tt.code, text)
				}
			}
		})
	}
}

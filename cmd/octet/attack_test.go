// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"octet/internal/auth"
	"octet/metrics"
)

// attackedToken is the token of the job under attack, which strangers do not know.
const attackedToken = "the members of this job know this"

// TestAttacksChangeNothing trains on two hosts while everything in attacks()
// happens to every port of the job, as often as a run lasts until all has
// happened: each run ends with 0 and with the losses of an undisturbed one.
//
// The hosts are two agents on this machine. As root each gets its own namespace
// of processes, so that its ranks use TCP between each other and have ports, too;
// otherwise they share memory, and only the coordinator's port is attacked here
// (comm/host's tests attack the others).
func TestAttacksChangeNothing(t *testing.T) {
	isolated := exec.Command("unshare", "--pid", "--fork", "--mount-proc", "true").Run() == nil
	if !isolated {
		t.Log("no namespaces here: ranks have no ports to attack")
	}
	undisturbed := attackedRun(t, isolated, nil)
	left := attacks(t)
	done := 0
	for len(left) > 0 {
		got := attackedRun(t, isolated, func(v *victim) {
			for len(left) > 0 && v.alive() {
				a := left[0]
				for _, addr := range v.ports(t, a.data) {
					err := a.do(v, addr)
					if err != nil {
						select {
						case <-v.ended: // it came too late: the job was leaving
						case <-time.After(5 * time.Second):
							t.Errorf("%s, at %s: %v", a.name, addr, err)
						}
					}
					if !v.alive() {
						return
					}
				}
				left, done = left[1:], done+1
			}
		})
		if !slices.Equal(got, undisturbed) {
			t.Fatalf("losses %v after %d attacks, undisturbed %v", got, done, undisturbed)
		}
	}
	if done < 40 {
		t.Errorf("%d attacks, want 40 or more", done)
	}
	t.Logf("%d attacks", done)
}

const attackedSteps = 30

// victim is a job that trains.
type victim struct {
	agents [2]*process
	ended  chan struct{} // closed when one of them has
	held   []net.Conn    // that attackers leave open
}

// attackedRun trains on two hosts of a rank each, does what it is told meanwhile,
// and returns the losses.
func attackedRun(t *testing.T, isolated bool, meanwhile func(*victim)) []float64 {
	t.Helper()
	out := t.TempDir()
	port := freePort(t)
	v := &victim{ended: make(chan struct{})}
	for i := range v.agents {
		args := []string{"run", "--nnodes", "2", "--node-rank", fmt.Sprint(i), "--master-port", port, "--rdzv-id", "job", "--nproc-per-node", "1"}
		train := goldenRun(out, fmt.Sprintf("--training.steps=%d", attackedSteps))
		p := octetProcess(t, append(args, train[slices.Index(train, "train"):]...)...)
		if isolated {
			p.Args = append([]string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc"}, p.Args...)
			p.Path, _ = exec.LookPath("unshare")
		}
		p.Env = append(p.Env, auth.TokenVar+"="+attackedToken, "OMP_NUM_THREADS=1")
		v.agents[i] = p
	}
	start(t, v.agents[:]...)
	codes := make(chan int)
	go func() {
		codes <- v.agents[0].exitCode()
	}()
	var code int
	if meanwhile != nil {
		finished := make(chan struct{})
		go func() { code = <-codes; close(v.ended); close(finished) }()
		waitForPort(t, v, port)
		meanwhile(v)
		<-finished
	} else {
		code = <-codes
	}
	for _, c := range v.held {
		c.Close()
	}
	if other := v.agents[1].exitCode(); code != 0 || other != 0 {
		t.Fatalf("exit codes %d, %d\n%s\n%s", code, other, v.agents[0].stderr.String(), v.agents[1].stderr.String())
	}
	records, err := metrics.Read(filepath.Join(out, metrics.FileName))
	if err != nil {
		t.Fatal(err)
	}
	var losses []float64
	for _, r := range records {
		losses = append(losses, r.Loss)
	}
	if len(losses) != attackedSteps {
		t.Fatalf("%d steps, want %d", len(losses), attackedSteps)
	}
	return losses
}

func waitForPort(t *testing.T, v *victim, port string) {
	for v.alive() {
		if slices.ContainsFunc(v.ports(t, false), func(addr string) bool { return strings.HasSuffix(addr, ":"+port) }) {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func (v *victim) alive() bool {
	select {
	case <-v.ended:
		return false
	default:
		return true
	}
}

// ports are the addresses on which the job listens: the coordinator's, and with
// data those of its ranks too.
func (v *victim) ports(t *testing.T, data bool) (addrs []string) {
	t.Helper()
	family := map[int]bool{v.agents[0].Process.Pid: true, v.agents[1].Process.Pid: true}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for grown := true; grown; {
		grown = false
		for _, e := range entries {
			if pid, err := strconv.Atoi(e.Name()); err == nil && !family[pid] && family[parentOf(pid)] {
				family[pid], grown = true, true
			}
		}
	}
	sockets := map[string]bool{}
	for pid := range family {
		fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, fd := range fds {
			if link, err := os.Readlink(fd); err == nil && strings.HasPrefix(link, "socket:[") {
				sockets[strings.Trim(link[7:], "[]")] = true
			}
		}
	}
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	coordinator := ":" + v.agents[0].Args[slices.Index(v.agents[0].Args, "--master-port")+1]
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) < 10 || f[3] != "0A" || !sockets[f[9]] { // 0A: listens
			continue
		}
		var ip, port uint32
		fmt.Sscanf(f[1], "%X:%X", &ip, &port)
		addr := fmt.Sprintf("%d.%d.%d.%d:%d", ip&255, ip>>8&255, ip>>16&255, ip>>24, port)
		if data || strings.HasSuffix(addr, coordinator) {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// attack is something that a stranger does to a port. An error says that it was
// not refused.
type attack struct {
	name string
	data bool // to ports of ranks, too
	do   func(v *victim, addr string) error
}

// sends connects, sends the bytes, and returns an error if they are answered
// with more than a refusal.
func sends(pieces ...[]byte) func(*victim, string) error {
	return func(_ *victim, addr string) error {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		for _, p := range pieces {
			if _, err := conn.Write(p); err != nil {
				return nil // it has hung up
			}
		}
		conn.(*net.TCPConn).CloseWrite()
		return onlyRefused(conn)
	}
}

// onlyRefused reads to the end: a verdict, a nonce and another verdict is what a
// stranger may see.
func onlyRefused(conn net.Conn) error {
	answer, _ := io.ReadAll(conn)
	if len(answer) > 1+32+1 || len(answer) == 34 && answer[33] == 0 {
		return fmt.Errorf("it answered % x", answer)
	}
	return nil
}

// holds connects, sends and leaves the connection open, n times.
func holds(n int, text string) func(*victim, string) error {
	return func(v *victim, addr string) error {
		for range n {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				return err
			}
			v.held = append(v.held, conn)
			io.WriteString(conn, text)
		}
		return nil
	}
}

// claims tries the handshake with an identity that is none of the job's.
func claims(id auth.Identity, want error) func(*victim, string) error {
	return func(_ *victim, addr string) error {
		conn, err := auth.Dial(timeoutContext(), addr, id)
		if err == nil {
			conn.Close()
		}
		if !errors.Is(err, want) {
			return fmt.Errorf("%w, want %w", err, want)
		}
		return nil
	}
}

// asNeighbour runs a script as another user of the host, for each rank's process.
func asNeighbour(script string) func(*victim, string) error {
	return func(v *victim, _ string) error {
		for _, a := range v.agents {
			cmd := exec.Command("sh", "-c", script, "sh", fmt.Sprint(a.Process.Pid))
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			var out bytes.Buffer
			cmd.Stdout = &out
			if err := cmd.Run(); err == nil || out.Len() > 0 {
				return fmt.Errorf("it works: %q", out.String())
			}
		}
		return nil
	}
}

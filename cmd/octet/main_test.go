// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"octet/launcher"
)

// asOctet makes the test binary behave as the octet binary, so that tests run
// real processes, with the race detector where the test has it.
const asOctet = "OCTET_TEST_BE_OCTET"

func TestMain(m *testing.M) {
	if os.Getenv(asOctet) == "" {
		goleak.VerifyTestMain(m)
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "test-meet" {
		os.Exit(meet())
	}
	if len(os.Args) > 1 && os.Args[1] == "test-torch" {
		os.Exit(meetAsTorch())
	}
	os.Exit(octet(os.Args[1:]))
}

// meet is a rank that meets the others in the store.
func meet() int {
	err := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		place, err := launcher.FromEnv(os.Getenv)
		if err != nil {
			return err
		}
		st, done, err := launcher.OpenStore(ctx, place)
		if err != nil {
			return err
		}
		defer done()
		if err := st.Set(ctx, fmt.Sprint(place.Rank), nil); err != nil {
			return err
		}
		for r := range place.WorldSize {
			if _, err := st.Get(ctx, fmt.Sprint(r)); err != nil {
				return err
			}
		}
		fmt.Printf("rank %d met all %d\n", place.Rank, place.WorldSize)
		return nil
	}()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// process is a running octet.
type process struct {
	*exec.Cmd
	stdout, stderr bytes.Buffer
}

// octetProcess makes, but does not start, an octet with a deadline.
func octetProcess(t *testing.T, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	p := &process{Cmd: exec.CommandContext(ctx, os.Args[0], args...)}
	// With -race every exit would sleep for a second, to let other threads report.
	p.Env = append(os.Environ(), asOctet+"=1", "TMPDIR="+t.TempDir(), "GORACE=atexit_sleep_ms=0")
	p.Stdout, p.Stderr = &p.stdout, &p.stderr
	return p
}

// exitCode waits for the end of a process that was started.
func (p *process) exitCode() int {
	_ = p.Wait()
	return p.ProcessState.ExitCode()
}

// run starts octet and waits for its end.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	p := octetProcess(t, args...)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	code = p.exitCode()
	return code, p.stdout.String(), p.stderr.String()
}

// lastLine is the last line of an output.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return lines[len(lines)-1]
}

// ports counts the ports that freePort has tried.
var ports atomic.Int32

// freePort is a port of 127.0.0.1 that nobody listens on. No two tests of this
// process get the same one, and it is none of those that the kernel gives away.
func freePort(t *testing.T) string {
	t.Helper()
	const first, many = 10000, 10000
	for range many {
		port := first + (os.Getpid()*64+int(ports.Add(1)))%many
		if ln, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port)); err == nil {
			ln.Close()
			return fmt.Sprint(port)
		}
	}
	t.Fatal("no free port")
	return ""
}

func TestUsage(t *testing.T) {
	for _, tt := range []struct {
		args []string
		code int
	}{{nil, 0}, {[]string{"--help"}, 0}, {[]string{"nonsense"}, 2}} {
		code, stdout, stderr := run(t, tt.args...)
		if out := stdout + stderr; code != tt.code || !strings.Contains(out, "run        start ranks") || strings.Contains(out, "guard") {
			t.Errorf("octet %v: code %d\n%s", tt.args, code, out)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// host is where checks run.
type host struct {
	bundle, out string
	short       bool
	deadline    time.Time
	scratch     string          // a folder for what checks leave behind
	lacks       map[need]string // why what checks need is not here; "" it is
}

// output is what a command came to.
type output struct {
	text     string
	err      error
	timedOut bool
}

// killedAfter is how long a command that was told to end may take.
const killedAfter = 5 * time.Second

// run runs checks in their order and writes the record after each.
func (h *host) run(chosen []check) (*Record, error) {
	var err error
	if h.scratch, err = os.MkdirTemp("", "gpucheck"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(h.scratch)
	log, err := os.Create(filepath.Join(h.out, "log.txt"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	h.lacks = map[need]string{}
	record := &Record{Began: time.Now().UTC().Truncate(time.Second)}
	for _, c := range chosen {
		start := time.Now()
		r := Result{Name: c.name, About: c.about, Limit: c.limit.Seconds()}
		out := h.one(c, &r)
		r.Seconds = time.Since(start).Seconds()
		fmt.Fprintf(log, "== %s: %s %s (%.1f s)\n%s\n", c.name, r.Verdict, r.Reason, r.Seconds, out.text)
		fmt.Fprintf(os.Stderr, "%-26s %-7s %6.1f s  %s\n", c.name, r.Verdict, r.Seconds, r.Reason)
		if c.name == inventory {
			record.Host = hostOf(out.text)
		}
		record.Results = append(record.Results, r)
		if err := record.write(h.out); err != nil {
			return nil, err
		}
	}
	return record, log.Close()
}

// one runs a check, or says why not.
func (h *host) one(c check, r *Result) (out output) {
	for _, n := range c.needs {
		if why := h.lacks[n]; why != "" {
			r.Verdict, r.Reason = Skipped, why
			return output{}
		}
	}
	limit := min(c.limit, time.Until(h.deadline))
	if limit < time.Second {
		r.Verdict, r.Reason = Skipped, "no time was left"
		return output{}
	}
	out = h.execute(c.command(h), limit)
	if out.timedOut {
		r.Verdict, r.Reason = Fail, fmt.Sprintf("not done after %.0f s", limit.Seconds())
		_, _, r.Measures = c.judge(h, out)
		return out
	}
	r.Verdict, r.Reason, r.Measures = c.judge(h, out)
	return out
}

// execute runs a command in a process group of its own, which ends with it.
func (h *host) execute(c command, limit time.Duration) output {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Dir = filepath.Join(h.bundle, "tree", c.dir)
	cmd.Env = append(append(os.Environ(), "TMPDIR="+h.scratch, "PYTHONDONTWRITEBYTECODE=1"), c.environ...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = killedAfter
	text, err := cmd.CombinedOutput()
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // those that it has left behind
	}
	return output{text: string(text), err: err, timedOut: errors.Is(ctx.Err(), context.DeadlineExceeded)}
}

func (h *host) program(name string) string { return filepath.Join(h.bundle, "bin", name) }

// test is a command that runs a package's tests in its folder.
func (h *host) test(folder string, environ []string, args ...string) command {
	c := command{args: append([]string{h.program(testName(folder))}, args...), dir: folder, environ: environ}
	if h.short {
		c.args = append(c.args, "-test.short")
	}
	return c
}

// testName is the file of a package's tests in the bundle.
func testName(folder string) string { return strings.ReplaceAll(folder, "/", "_") + ".test" }

// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// guard is the launcher's side of the guard process: a pipe on which it says
// what there is to kill. The end of the pipe without "bye" is the launcher's
// death.
type guard struct {
	cmd *osexec.Cmd
	w   *os.File
}

func startGuard(argv []string) (*guard, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd := osexec.Command(argv[0], argv[1:]...)
	cmd.Stdin = r
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no Ctrl-C for it
	if err := cmd.Start(); err != nil {
		w.Close()
		return nil, err
	}
	return &guard{cmd, w}, nil
}

// say writes a line. Without a guard the job still runs, only less guarded.
func (g *guard) say(format string, args ...any) { fmt.Fprintf(g.w, format+"\n", args...) }

func (g *guard) add(pid int)      { g.say("add %d", pid) }
func (g *guard) remove(pid int)   { g.say("remove %d", pid) }
func (g *guard) mark(text string) { g.say("mark %s", text) }
func (g *guard) pid() int         { return g.cmd.Process.Pid }

func (g *guard) close() {
	g.say("bye")
	g.w.Close()
	_ = g.cmd.Wait()
}

// Guard is the main function of the guard process: it reads from r (its stdin)
// which sessions the launcher has started, and kills what is left of them if the
// launcher dies without a word. Processes that left their session are known by
// their environment, which holds the mark.
func Guard(r io.Reader) {
	sessions := map[int]bool{}
	var mark []byte
	for lines := bufio.NewScanner(r); lines.Scan(); {
		verb, arg, _ := strings.Cut(lines.Text(), " ")
		switch pid, _ := strconv.Atoi(arg); verb {
		case "add":
			sessions[pid] = true
		case "remove":
			delete(sessions, pid)
		case "mark":
			mark = []byte(arg)
		case "bye":
			return
		}
	}
	for start := time.Now(); time.Since(start) < abandonAfter; time.Sleep(5 * time.Millisecond) {
		left := false
		for _, p := range processes() {
			if p.state != 'Z' && p.pid != os.Getpid() && (sessions[p.session] || marked(p.pid, mark)) {
				_ = syscall.Kill(p.pid, syscall.SIGKILL)
				left = true
			}
		}
		if !left {
			return
		}
	}
}

func marked(pid int, mark []byte) bool {
	if len(mark) == 0 {
		return false
	}
	env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	return err == nil && bytes.Contains(env, mark)
}

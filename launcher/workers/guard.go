// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// guard is the launcher's side of the guard process: a pipe on which it says
// what there is to kill. The end of the pipe without "bye" is the launcher's
// death.
type guard struct {
	cmd *exec.Cmd
	w   *os.File
}

func startGuard(argv []string, dir string) (*guard, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Args[0] = guardName
	cmd.Stdin = r
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no Ctrl-C for it
	if err := cmd.Start(); err != nil {
		w.Close()
		return nil, err
	}
	g := &guard{cmd, w}
	g.say("dir %s", dir)
	return g, nil
}

// say writes a line. Without a guard the job still runs, only less guarded.
func (g *guard) say(format string, args ...any) { fmt.Fprintf(g.w, format+"\n", args...) }

func (g *guard) add(pid int)    { g.say("add %d", pid) }
func (g *guard) remove(pid int) { g.say("remove %d", pid) }
func (g *guard) pid() int       { return g.cmd.Process.Pid }

func (g *guard) close() {
	g.say("bye")
	g.w.Close()
	_ = g.cmd.Wait()
}

// guardName is what the guard is called: whoever kills all of octet by its name
// leaves the guard.
const guardName = "gang-guard"

// Guard is the main function of the guard process: it reads from r (its stdin)
// which sessions the launcher has started and in which folder, and kills what is
// left of them if the launcher dies without a word. Processes that left their
// session are known by their environment, which has the folder's name.
func Guard(r io.Reader) {
	_ = os.WriteFile("/proc/self/comm", []byte(guardName), 0) // for people and pkill
	sessions := map[int]bool{}
	dir := ""
	for lines := bufio.NewScanner(r); lines.Scan(); {
		verb, arg, _ := strings.Cut(lines.Text(), " ")
		switch pid, _ := strconv.Atoi(arg); verb {
		case "add":
			sessions[pid] = true
		case "remove":
			delete(sessions, pid)
		case "dir":
			dir = arg
		case "bye":
			return
		}
	}
	killAll(func(p process) bool { return sessions[p.session] || marked(p.pid, dir) })
	if dir != "" {
		_ = os.RemoveAll(dir) // else the next start sweeps it
	}
}

// killAll kills the chosen processes, this one apart, until none is left.
func killAll(chosen func(process) bool) {
	killUntilGone(func() []process {
		return slices.DeleteFunc(processes(), func(p process) bool { return p.state == 'Z' || p.pid == os.Getpid() || !chosen(p) })
	})
}

// marked reports whether a process was started in the run of a folder.
func marked(pid int, dir string) bool {
	if dir == "" {
		return false
	}
	env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	return err == nil && bytes.Contains(env, mark(dir))
}

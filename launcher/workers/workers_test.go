// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"octet/launcher/gang"
)

// beGuard makes the test binary the guard of the processes that it starts.
const beGuard = "OCTET_TEST_BE_GUARD"

func TestMain(m *testing.M) {
	if os.Getenv(beGuard) != "" {
		Guard(os.Stdin)
		return
	}
	os.Setenv(beGuard, "1")
	os.Setenv("GORACE", "atexit_sleep_ms=0") // else -race makes every guard sleep for a second
	goleak.VerifyTestMain(m)
}

// splitAll feeds chunks to a sink, as a rank's stderr.
func splitAll(t *testing.T, chunks ...string) (console string, tailed *tail) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	s := &sink{fd: 2, console: NewConsole(nil, &out, nil, nil), prefix: "[0]:", tail: &tail{}}
	done := make(chan struct{})
	go func() {
		s.copy(r)
		close(done)
	}()
	for _, c := range chunks {
		w.WriteString(c)
	}
	w.Close()
	<-done
	return out.String(), s.tail
}

func TestWholeLines(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for _, tt := range []struct {
		name   string
		chunks []string
		want   string
	}{
		{"nothing", nil, ""},
		{"lines in pieces", []string{"a", "b\nc", "\n"}, "[0]:ab\n[0]:c\n"},
		{"empty lines", []string{"\n\na\n"}, "[0]:\n[0]:\n[0]:a\n"},
		{"unfinished", []string{"end"}, "[0]:end\n"},
		{"carriage return and line feed", []string{"a\r\nb\r", "\n"}, "[0]:a\n[0]:b\n"},
		{"progress bar, return first", []string{"\r10%", "\r20%\r100%\ndone\n"}, "[0]:100%\n[0]:done\n"},
		{"progress bar, return last", []string{"10%\r20%\r"}, "[0]:20%\n"},
		{"longer than the buffer", []string{long, "y\n"}, "[0]:" + long + "\n[0]:y\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, _ := splitAll(t, tt.chunks...); got != tt.want {
				t.Errorf("got %.200q, want %.200q", got, tt.want)
			}
		})
	}
}

// On a terminal the bar stays below the lines of the others.
func TestStatusLine(t *testing.T) {
	var out bytes.Buffer
	c := NewConsole(&out, &out, func() int { return 12 }, nil)
	c.showStatus(2, "[0]:", []byte("10% ▓▓▓▓▓▓"))
	c.line(1, "[1]:", []byte("hello"))
	c.showStatus(2, "[0]:", nil)
	c.line(1, "[1]:", []byte("end"))
	const clear = "\r\x1b[K"
	want := clear + "[0]:10% ▓▓▓" + clear + "[1]:hello\n[0]:10% ▓▓▓" + clear + "[1]:end\n"
	if out.String() != want {
		t.Errorf("got  %q\nwant %q", out.String(), want)
	}
}

func TestTailKeepsTheLastLines(t *testing.T) {
	_, tail := splitAll(t, strings.Repeat("old\n", 30), strings.Repeat("new\n", tailLines-1), "last")
	e := gang.Exit{Code: 1}
	tail.explain(&e)
	if len(e.Tail) != tailLines || e.Tail[0] != "new" || e.Tail[tailLines-1] != "last" {
		t.Errorf("got %q", e.Tail)
	}
}

// The texts are those of Go 1.26.
func TestExplainGoCrashes(t *testing.T) {
	stacks := "\ngoroutine 1 [running]:\n" + strings.Repeat("\tmain.go:1\n", 30)
	for _, tt := range []struct {
		name, stderr string
		code         int
		message      string
		signal       syscall.Signal
		first        string // line shown
	}{
		{"panic", "log\npanic: shapes [2] and [3]\n" + stacks, 2, "panic: shapes [2] and [3]", 0, "panic: shapes [2] and [3]"},
		{"signal from outside", "SIGSEGV: segmentation violation\nPC=0x40e4ce\n" + stacks, 2, "", syscall.SIGSEGV, "SIGSEGV: segmentation violation"},
		{"signal in C", "fatal error: unexpected signal during runtime execution\n[signal SIGBUS: bus error code=0x2]\n" + stacks, 2, "", syscall.SIGBUS, "fatal error: unexpected signal during runtime execution"},
		{"nil pointer", "panic: runtime error: invalid memory address\n[signal SIGSEGV: segmentation violation]\n" + stacks, 2, "panic: runtime error: invalid memory address", 0, "panic: runtime error: invalid memory address"},
		{"not Go's exit code", "panic: no\n" + stacks, 1, "", 0, "\tmain.go:1"},
		{"no crash", "usage\n", 2, "", 0, "usage"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, tail := splitAll(t, tt.stderr)
			e := gang.Exit{Code: tt.code}
			tail.explain(&e)
			if e.Message != tt.message || e.Signal != tt.signal || e.Tail[0] != tt.first || len(e.Tail) > tailLines {
				t.Errorf("got message %q, signal %v, %d lines from %q", e.Message, e.Signal, len(e.Tail), e.Tail[0])
			}
		})
	}
}

func TestParseStreams(t *testing.T) {
	for _, tt := range []struct {
		text string
		of   [3]Std // of local ranks 0 to 2
		bad  bool
	}{
		{"0", [3]Std{}, false},
		{"3", [3]Std{3, 3, 3}, false},
		{"0:1,2:3", [3]Std{1, 0, 3}, false},
		{"4", [3]Std{}, true},
		{"stdout", [3]Std{}, true},
		{"0:1,x:2", [3]Std{}, true},
		{"0:", [3]Std{}, true},
		{"-1:1", [3]Std{}, true},
		{"", [3]Std{}, true},
	} {
		s, err := ParseStreams(tt.text)
		if (err != nil) != tt.bad {
			t.Errorf("%q: error %v", tt.text, err)
		}
		if got := [3]Std{s.of(0), s.of(1), s.of(2)}; err == nil && got != tt.of {
			t.Errorf("%q: got %v, want %v", tt.text, got, tt.of)
		}
	}
}

func TestThreads(t *testing.T) {
	if n := Threads(nil, 1); n != 0 {
		t.Errorf("one rank: %d", n)
	}
	if n := Threads([]string{"OMP_NUM_THREADS=3"}, 2); n != 0 {
		t.Errorf("variable is set: %d", n)
	}
	if n := Threads(nil, 1000000); n != 1 {
		t.Errorf("more ranks than cores: %d", n)
	}
}

func TestDescendants(t *testing.T) {
	all := []process{ // in any order: pid, parent
		{pid: 5, parent: 4}, {pid: 4, parent: 2}, {pid: 2, parent: 1}, {pid: 3, parent: 2}, {pid: 6, parent: 3}, {pid: 7, parent: 1},
	}
	var got []int
	for _, p := range descendants(all, 2, 3) { // 6 is of the spared 3
		got = append(got, p.pid)
	}
	if want := []int{4, 5}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func newTestHost(t *testing.T) *Host {
	h, err := NewHost([]string{os.Args[0]})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func TestStartAndStop(t *testing.T) {
	h := newTestHost(t)
	var out bytes.Buffer
	job := Job{Argv: []string{"sh", "-c", "[ $RANK = 5 ] && exit 3; sleep 100"}, Console: NewConsole(&out, &out, nil, nil), Environ: os.Environ()}
	g, err := h.Start(job, gang.World{WorldSize: 8, FirstRank: 4, LocalWorldSize: 2, GroupWorldSize: 2, GroupRank: 1})
	if err != nil {
		t.Fatal(err)
	}
	if e := <-g.Exits(); e.Rank != 5 || e.LocalRank != 1 || e.Code != 3 || e.Killed {
		t.Errorf("first exit %+v", e)
	}
	g.Stop(syscall.SIGTERM, time.Minute, false)
	if e := <-g.Exits(); e.Rank != 4 || e.Signal != syscall.SIGTERM || !e.Killed {
		t.Errorf("second exit %+v", e)
	}
	if _, more := <-g.Exits(); more {
		t.Error("a third exit")
	}
	<-g.Done()
}

// TestARankThatSavesIsNotKilled when its grace ends, as long as it says so and the stop allows it; and the launcher hears of it.
func TestARankThatSavesIsNotKilled(t *testing.T) {
	const save = `trap 'i=0; while [ $i -lt 30 ]; do echo x > $OCTET_RUN_DIR/saving-$LOCAL_RANK; sleep 0.1; i=$((i+1)); done; exit 0' TERM; echo ready; while :; do sleep 0.01; done`
	for _, maySave := range []bool{true, false} {
		h := newTestHost(t)
		ready := make(lines, 10)
		g, err := h.Start(Job{Argv: []string{"sh", "-c", save}, Console: NewConsole(ready, ready, nil, nil), Environ: os.Environ()}, gang.World{WorldSize: 1, LocalWorldSize: 1, GroupWorldSize: 1})
		if err != nil {
			t.Fatal(err)
		}
		<-ready
		g.Stop(syscall.SIGTERM, 500*time.Millisecond, maySave)
		e := <-g.Exits()
		if saved := e.Code == 0 && e.Signal == 0; saved != maySave || !e.Killed {
			t.Errorf("may save %v: exit %+v", maySave, e)
		}
		select {
		case <-g.Saving():
			if !maySave {
				t.Error("it was said to save, and may not")
			}
		default:
			if maySave {
				t.Error("nobody was told that it saves")
			}
		}
		<-g.Done()
	}
}

// lines gets what is written.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

func TestExitIsDatedByItsErrorFile(t *testing.T) {
	end := time.Unix(1700000000, 0)
	killed := end.Add(-time.Second)
	tick := fileClockLag()
	for _, tt := range []struct {
		name    string
		written time.Time
		want    gang.Exit
	}{
		{"no error file", time.Time{}, gang.Exit{At: end, Signal: syscall.SIGTERM, Killed: true}},
		{"written before the stop", killed.Add(-time.Second), gang.Exit{At: killed.Add(-time.Second + tick), Code: 1}},
		{"because of the stop, dated a tick late", killed.Add(-tick / 2), gang.Exit{At: killed.Add(tick - tick/2), Signal: syscall.SIGTERM, Killed: true}},
		{"with its last breath", end, gang.Exit{At: end, Signal: syscall.SIGTERM, Killed: true}},
	} {
		e := gang.Exit{At: end, Signal: syscall.SIGTERM, Killed: true}
		date(&e, tt.written, killed)
		if !reflect.DeepEqual(e, tt.want) {
			t.Errorf("%s: got %+v, want %+v", tt.name, e, tt.want)
		}
	}
}

// A stop ends what lingers after ranks that exited 0.
func TestStopEndsLingering(t *testing.T) {
	h := newTestHost(t)
	var out bytes.Buffer
	job := Job{Argv: []string{"sh", "-c", "sleep 1000 & exit 0"}, Console: NewConsole(&out, &out, nil, nil), Linger: time.Hour}
	g, err := h.Start(job, gang.World{WorldSize: 1, LocalWorldSize: 1, GroupWorldSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	<-g.Exits()
	g.Stop(syscall.SIGTERM, time.Hour, false)
	<-g.Done()
}

// A stop that comes when the ranks have ended, but supervise has not yet seen it,
// is not lost: nothing lingers after it.
func TestAStopIsNotLostAtTheEnd(t *testing.T) {
	g := &Group{stops: make(chan stop), done: make(chan struct{})}
	ended, stopped := make(chan struct{}), make(chan bool)
	go func() { stopped <- g.supervise(ended) }()
	g.Stop(syscall.SIGTERM, time.Hour, false) // taken before ended is closed
	close(ended)
	if !<-stopped {
		t.Error("supervise has seen no stop")
	}
}

// A guard whose launcher dies leaves no folder.
func TestGuardRemovesTheFolder(t *testing.T) {
	dir := t.TempDir() + "/run"
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	g, err := startGuard([]string{os.Args[0]}, dir)
	if err != nil {
		t.Fatal(err)
	}
	g.w.Close() // without a word
	if err := g.cmd.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder is left: %v", err)
	}
}

// Nothing runs after a Start that failed half-way.
func TestStartFails(t *testing.T) {
	h := newTestHost(t)
	_, err := h.Start(Job{Argv: []string{"/no/such/program"}}, gang.World{WorldSize: 1, LocalWorldSize: 1, GroupWorldSize: 1})
	if err == nil || !strings.Contains(err.Error(), "local rank 0") || ExitCode(err) != 127 {
		t.Errorf("got %v, exit code %d", err, ExitCode(err))
	}
}

// Output that a child writes after its rank has ended is not waited for.
func TestChildHoldsThePipe(t *testing.T) {
	h := newTestHost(t)
	var out bytes.Buffer
	job := Job{Argv: []string{"sh", "-c", "echo said; sleep 100 & exit 0"}, Console: NewConsole(&out, &out, nil, nil), Logs: Logs{Prefix: "${rank}|"}}
	g, err := h.Start(job, gang.World{WorldSize: 1, LocalWorldSize: 1, GroupWorldSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	if e := <-g.Exits(); e.Code != 0 || e.Signal != 0 {
		t.Errorf("exit %+v", e)
	}
	<-g.Done()
	if out.String() != "0|said\n" {
		t.Errorf("got %q", out.String())
	}
}

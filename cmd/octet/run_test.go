// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// twoRanks runs a shell script on two ranks.
func twoRanks(script string, flags ...string) []string {
	return append(append([]string{"run", "--nproc-per-node", "2"}, flags...), "sh", "-c", script)
}

func TestRunReportsTheFirstToFail(t *testing.T) {
	host, _ := os.Hostname()
	for _, tt := range []struct {
		name, rank1 string
		code        int
		why         string
	}{
		{"exit status", "exit 7", 7, "exit code 7"},
		{"SIGKILL", "kill -KILL $$", 137, "killed by SIGKILL (exit code 137)"},
		{"SIGSEGV", "kill -SEGV $$", 139, "killed by SIGSEGV (exit code 139)"},
		{"error file", `echo '{"message": {"message": "ValueError: x", "extraInfo": {}}}' > $TORCHELASTIC_ERROR_FILE; exit 1`, 1, "ValueError: x (exit code 1)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			code, _, stderr := run(t, twoRanks("if [ $RANK = 1 ]; then echo last words >&2; "+tt.rank1+"; fi; sleep 100")...)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			want := fmt.Sprintf("octet: first to fail: rank 1 on %s: %s", host, tt.why)
			if lastLine(stderr) != want {
				t.Errorf("last line %q, want %q", lastLine(stderr), want)
			}
			for _, part := range []string{"octet:   | last words\n", "stopped by octet\n"} {
				if !strings.Contains(stderr, part) {
					t.Errorf("stderr does not contain %q:\n%s", part, stderr)
				}
			}
		})
	}
}

// A rank that wrote why it fails and ends slowly is the cause, not the one whose
// connection to it broke and which ended first.
func TestRunFindsTheSlowCause(t *testing.T) {
	t.Parallel()
	code, _, stderr := run(t, twoRanks(`write() { echo '{"message": {"message": "'"$1"'", "extraInfo": {}}}' > $TORCHELASTIC_ERROR_FILE.tmp; mv $TORCHELASTIC_ERROR_FILE.tmp $TORCHELASTIC_ERROR_FILE; }
		cause=$(dirname $TORCHELASTIC_ERROR_FILE)/../1/error.json
		if [ $RANK = 1 ]; then write "ValueError: bad batch"; sleep 100; fi
		until [ -e $cause ]; do :; done; sleep 0.02; write "connection closed by peer"; exit 3`)...)
	if code != 1 || !strings.Contains(lastLine(stderr), "first to fail: rank 1 on ") || !strings.HasSuffix(lastLine(stderr), ": ValueError: bad batch (exit code 1)") {
		t.Errorf("code %d\n%s", code, stderr)
	}
	if !strings.Contains(stderr, "connection closed by peer (exit code 3), ") || strings.Contains(stderr, "victim") {
		t.Errorf("rank 0 failed later, and says of nobody that it is a victim:\n%s", stderr)
	}
}

// A launcher that was stopped (Ctrl-Z, a suspended job) goes on where it was.
func TestRunSurvivesAPause(t *testing.T) {
	t.Parallel()
	code, _, stderr := run(t, twoRanks(`[ $RANK = 1 ] || { kill -STOP $PPID; sleep 1; kill -CONT $PPID; sleep 0.3; }`,
		"--rdzv-conf", "keep_alive_interval=0.1,keep_alive_max_attempt=2")...)
	if code != 0 {
		t.Errorf("code %d\n%s", code, stderr)
	}
}

// A rank that left before the others is told of.
func TestRunTellsWhoLeftEarly(t *testing.T) {
	t.Parallel()
	done := filepath.Join(t.TempDir(), "done")
	code, _, stderr := run(t, twoRanks(`[ $RANK = 0 ] || { echo $$ > `+done+`.tmp; mv `+done+`.tmp `+done+`; exit 0; }
		until [ -e `+done+` ]; do :; done
		while kill -0 $(cat `+done+`) 2>/dev/null; do :; done
		echo '{"message": {"message": "rank 1 has closed its communicator", "extraInfo": {"victim": true}}}' > $TORCHELASTIC_ERROR_FILE; exit 1`)...)
	if code != 1 || !strings.Contains(lastLine(stderr), "first to fail: rank 0 on ") || !strings.HasSuffix(lastLine(stderr), " had left before, with exit code 0") ||
		!strings.Contains(stderr, "): left with exit code 0, ") {
		t.Errorf("code %d\n%s", code, stderr)
	}
}

// A rank that gave up on a frozen one is not the cause.
func TestRunFindsTheFrozenRank(t *testing.T) {
	t.Parallel()
	pidFile := filepath.Join(t.TempDir(), "pid")
	code, _, stderr := run(t, twoRanks(`if [ $RANK = 1 ]; then echo $$ > `+pidFile+`.tmp; mv `+pidFile+`.tmp `+pidFile+`; kill -STOP $$; fi
		until grep -q 'State:.T' /proc/$(cat `+pidFile+` 2>/dev/null)/status 2>/dev/null; do :; done
		echo '{"message": {"message": "rank 1 has not arrived", "extraInfo": {"victim": true}}}' > $TORCHELASTIC_ERROR_FILE; exit 1`)...)
	if code != 147 || !strings.HasSuffix(lastLine(stderr), "did not answer: it was stopped by SIGSTOP (exit code 147)") ||
		!strings.Contains(lastLine(stderr), "first to fail: rank 1 ") {
		t.Errorf("code %d\n%s", code, stderr)
	}
}

// crowd is a rank with a child, and a grandchild in a session of its own. Each
// holds the fifo open, says "ready" to it, and would live long.
const crowd = `exec 9>$FIFO; sleep 1000 & setsid sh -c 'sleep 1000; exit 1' & echo ready >&9; `

// fifo returns a named pipe, for the environment, and its reading end.
func fifo(t *testing.T, p *process) *bufio.Reader {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	// Opened for both, so that the open does not wait for a writer; a second,
	// reading end gets the end of file when the last other writer is gone.
	hold, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hold.Close(); f.Close() })
	p.Env = append(p.Env, "FIFO="+path)
	return bufio.NewReader(readerFunc(func(b []byte) (int, error) {
		n, err := f.Read(b)
		hold.Close() // a rank has written, so it holds the fifo open
		return n, err
	}))
}

// waitGone returns when nothing holds the fifo open any more.
func waitGone(t *testing.T, r io.Reader) {
	t.Helper()
	gone := make(chan error)
	go func() {
		_, err := io.Copy(io.Discard, r)
		gone <- err
	}()
	select {
	case err := <-gone:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("processes of the ranks are left")
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func TestRunLeavesNothingBehind(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		signal       syscall.Signal // to octet, when both ranks are ready
		code         int
	}{
		{"a rank fails", crowd + "[ $RANK = 0 ] || exit 3; wait", 0, 3},
		{"all succeed", crowd + "exit 0", 0, 0},
		{"SIGTERM", crowd + "wait", syscall.SIGTERM, 143},
		{"Ctrl-C", crowd + "wait", syscall.SIGINT, 130},
		{"SIGTERM is ignored", "trap '' TERM; " + crowd + "while :; do wait; done", syscall.SIGTERM, 143},
		{"octet is killed", crowd + "wait", syscall.SIGKILL, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := octetProcess(t, twoRanks(tt.script, "--shutdown-timeout", "0.3")...)
			r := fifo(t, p)
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			await(t, r, 2)
			if tt.signal != 0 {
				p.Process.Signal(tt.signal)
			}
			if code := p.exitCode(); code != tt.code {
				t.Errorf("exit code %d, want %d\n%s", code, tt.code, p.stderr.String())
			}
			waitGone(t, r)
		})
	}
}

func TestRunForwardsTheSignal(t *testing.T) {
	t.Parallel()
	p := octetProcess(t, twoRanks(`trap 'echo bye $RANK; exit 0' INT; exec 9>$FIFO; echo ready >&9; while :; do sleep 0.01; done`)...)
	r := fifo(t, p)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, r, 2)
	p.Process.Signal(os.Interrupt)
	code := p.exitCode()
	if out := p.stdout.String(); code != 130 || !strings.Contains(out, "bye 0\n") || !strings.Contains(out, "bye 1\n") {
		t.Errorf("code %d, output:\n%s%s", code, out, p.stderr.String())
	}
}

// The table of torchrun's variables, as PyTorch 2.15 sets them.
func TestRunEnvironment(t *testing.T) {
	t.Parallel()
	p := octetProcess(t, twoRanks("env", "--rdzv-id", "job", "--max-restarts", "2", "--role", "trainer", "--local-addr", "10.1.2.3", "--local-ranks-filter", "1", "--log-line-prefix-template", "|")...)
	p.Env = slices.DeleteFunc(p.Env, func(kv string) bool { return strings.HasPrefix(kv, "OMP_NUM_THREADS=") })
	p.Env = append(p.Env, "INHERITED=yes", "RANK=77")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	if code := p.exitCode(); code != 0 {
		t.Fatalf("code %d\n%s", code, p.stderr.String())
	}
	env := map[string][]string{}
	for line := range strings.Lines(p.stdout.String()) {
		k, v, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, "|")), "=")
		env[k] = append(env[k], v)
	}
	for _, tt := range []struct{ name, value string }{
		{"RANK", "1"}, {"WORLD_SIZE", "2"}, {"LOCAL_RANK", "1"}, {"LOCAL_WORLD_SIZE", "2"},
		{"GROUP_RANK", "0"}, {"GROUP_WORLD_SIZE", "1"},
		{"ROLE_NAME", "trainer"}, {"ROLE_RANK", "1"}, {"ROLE_WORLD_SIZE", "2"},
		{"MASTER_ADDR", "localhost"}, {"MASTER_PORT", "[1-9][0-9]+"},
		{"TORCHELASTIC_RESTART_COUNT", "0"}, {"TORCHELASTIC_MAX_RESTARTS", "2"}, {"TORCHELASTIC_RUN_ID", "job"},
		{"TORCHELASTIC_USE_AGENT_STORE", "True"}, {"TORCHELASTIC_ERROR_FILE", "/.*/octet_run_[0-9]+/attempt_0/1/error.json"},
		{"TORCHELASTIC_SIGNALS_TO_HANDLE", "SIGTERM,SIGINT,SIGHUP,SIGQUIT"},
		{"TORCH_NCCL_ASYNC_ERROR_HANDLING", "1"}, {"OMP_NUM_THREADS", "[1-9][0-9]*"}, {"INHERITED", "yes"}, {"OCTET_LOCAL_ADDR", "10.1.2.3"},
	} {
		if got := env[tt.name]; len(got) != 1 || !regexp.MustCompile("^"+tt.value+"$").MatchString(got[0]) {
			t.Errorf("%s=%q, want %s once", tt.name, got, tt.value)
		}
	}
	if !strings.Contains(p.stderr.String(), "OMP_NUM_THREADS=") {
		t.Errorf("nothing said about OMP_NUM_THREADS:\n%s", p.stderr.String())
	}
}

// Ranks read the launcher's stdin, as under torchrun.
func TestRunStdin(t *testing.T) {
	t.Parallel()
	p := octetProcess(t, "run", "--log-line-prefix-template=", "cat")
	p.Stdin = strings.NewReader("one\ntwo\n")
	if err := p.Run(); err != nil || p.stdout.String() != "one\ntwo\n" {
		t.Errorf("%v, stdout without marks %q\n%s", err, p.stdout.String(), p.stderr.String())
	}
}

// A script needs no execute bit and no first line.
func TestRunPythonScript(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip(err)
	}
	script := filepath.Join(t.TempDir(), "rank.py")
	if err := os.WriteFile(script, []byte("import os, sys; print(os.environ['RANK'], sys.argv[1:], sys.orig_argv[1])\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := run(t, "run", "--log-line-prefix-template", "", script, "--lr", "1")
	if code != 0 || stdout != "0 ['--lr', '1'] -u\n" {
		t.Errorf("code %d, stdout %q\n%s", code, stdout, stderr)
	}
}

func TestRunRanksMeet(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := run(t, "run", "--nproc-per-node", "3", os.Args[0], "test-meet")
	for r := range 3 {
		if line := fmt.Sprintf("[default%d]:rank %d met all 3\n", r, r); !strings.Contains(stdout, line) {
			t.Errorf("code %d, no %q in:\n%s%s", code, line, stdout, stderr)
		}
	}
}

func TestRunLogFiles(t *testing.T) {
	t.Parallel()
	const script = `echo out $RANK; echo err $RANK >&2; printf unfinished`
	for _, tt := range []struct {
		flags  []string
		stdout string   // of octet, lines sorted
		files  []string // "path: content" below attempt_0
	}{
		{nil, "[default0]:out 0|[default0]:unfinished|[default1]:out 1|[default1]:unfinished", []string{
			"0/stderr.log: err 0|", "0/stdout.log: out 0|unfinished", "1/stderr.log: err 1|", "1/stdout.log: out 1|unfinished"}},
		{[]string{"-r", "1"}, "", []string{"0/stdout.log: out 0|unfinished", "1/stdout.log: out 1|unfinished"}},
		{[]string{"--redirects", "0:3", "--tee", "1:1"}, "[default1]:out 1|[default1]:unfinished", []string{
			"0/stderr.log: err 0|", "0/stdout.log: out 0|unfinished", "1/stdout.log: out 1|unfinished"}},
		{[]string{"--tee=3", "--local-ranks-filter=1", "--log-line-prefix-template", "<${rank} ${hostname}> ", "--duplicate-stdout-filters=out 0,nothing"},
			"<1 HOST> out 1|<1 HOST> unfinished", []string{
				"0/stderr.log: err 0|", "0/stdout.log: out 0|unfinished", "1/stderr.log: err 1|", "1/stdout.log: out 1|unfinished",
				"filtered_stdout.log: <0 HOST> out 0|"}},
	} {
		t.Run(strings.Join(tt.flags, " "), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			code, stdout, stderr := run(t, twoRanks(script, append(tt.flags, "--log-dir", dir, "--rdzv-id", "job")...)...)
			host, _ := os.Hostname()
			lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(stdout, host, "HOST")), "\n")
			slices.Sort(lines)
			if got := strings.Join(lines, "|"); code != 0 || got != tt.stdout {
				t.Errorf("code %d, stdout %s\nwant %s\n%s", code, got, tt.stdout, stderr)
			}
			paths, _ := filepath.Glob(dir + "/job_*/attempt_0/*.log")
			more, _ := filepath.Glob(dir + "/job_*/attempt_0/*/*")
			paths = append(paths, more...)
			var files []string
			for _, path := range paths {
				text, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				_, name, _ := strings.Cut(path, "attempt_0/")
				files = append(files, name+": "+strings.NewReplacer("\n", "|", host, "HOST").Replace(string(text)))
			}
			slices.Sort(files)
			if !slices.Equal(files, tt.files) {
				t.Errorf("files %q\nwant  %q", files, tt.files)
			}
		})
	}
}

func TestRunLeavesNoFilesUnasked(t *testing.T) {
	t.Parallel()
	p := octetProcess(t, twoRanks("true")...)
	tmp := t.TempDir()
	p.Env = append(p.Env, "TMPDIR="+tmp)
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(tmp); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestRunRestarts(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := run(t, twoRanks(`[ $RANK = 0 ] && sleep 100; echo attempt $TORCHELASTIC_RESTART_COUNT; exit 9`, "--max-restarts", "1")...)
	if code != 9 || stdout != "[default1]:attempt 0\n[default1]:attempt 1\n" {
		t.Errorf("code %d, stdout:\n%s", code, stdout)
	}
	if !strings.Contains(stderr, "octet: attempt 1 of 2 failed: rank 1 on ") || !strings.Contains(stderr, "octet: attempt 2 of 2 failed:\n") {
		t.Errorf("stderr:\n%s", stderr)
	}
}

func TestRunRefuses(t *testing.T) {
	port, other := freePort(t), freePort(t)
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"--nproc-per-node 0 true", 1, "--nproc-per-node 0: want 1 to 65536, gpu, cpu or auto"},
		{"--nproc_per_node=x true", 1, "--nproc-per-node x: want"},
		{"--nnodes 1:2 true", 1, "a changing number of hosts is not supported yet"},
		{"--nnodes 0 true", 1, "want a number of hosts"},
		{"--nnodes 2 --node-rank 2 true", 1, "--node-rank 2: with --nnodes 2 want 0 to 1"},
		{"--nnodes 2 --master-addr 192.0.2.1 true", 1, "give every host the same token, so that nobody else can join: in OCTET_JOB_TOKEN"},
		{"--rdzv-conf token_file=/no/such true", 1, "--rdzv-conf token_file: open /no/such: no such file"},
		{"--rdzv-conf token_file=/etc/passwd true", 1, "every user of this host can read it"},
		{"--rdzv-backend etcd true", 1, `--rdzv-backend "etcd" is not supported: use static`},
		{"--rdzv-conf close_timeout=3 true", 1, `"close_timeout" is not supported`},
		{"--max-restarts -1 true", 1, "--max-restarts -1: want 0 or more"},
		{"--log-dir /dev/null --tee 3 true", 1, "leaves no place for"},
		{"missing.py", 1, "missing.py: no such file"},
		{"no-such-program", 127, `"no-such-program": executable file not found`},
		{"/etc/passwd", 126, "permission denied"},
		{"--no-such-flag true", 2, "unknown flag: --no-such-flag"},
		{"", 2, "no program given"},
		{"--numa-binding node true", 1, "--numa-binding node: no NVML"},
		{"--numa-binding exclusive --nproc-per-node 60000 true", 1, "--numa-binding exclusive: 60000 ranks on the"},
		{"--tee 4 true", 2, `--tee "4": want 0 (none)`},
		{"--signals-to-handle SIGKILL true", 2, `"SIGKILL" is not a signal that can be handled`},
		{"-m --no-python x", 2, "--module and --no-python exclude each other"},
		{"--nnodes 2 --node-rank 1 --master-port " + port + " --rdzv-conf timeout=0.1 true", 1, "nothing listens there yet"},
		{"--nnodes 2 --master-port " + other + " --rdzv-conf timeout=0.1 true", 1, "first to fail: rendezvous: waiting for 1 of 2 nodes"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := run(t, append([]string{"run"}, strings.Fields(tt.args)...)...)
			if code != tt.code || !strings.Contains(lastLine(stderr), tt.want) || stdout != "" {
				t.Errorf("code %d, want %d and %q\n%s%s", code, tt.code, tt.want, stderr, stdout)
			}
		})
	}
}

func TestRunNamesTheHolderOfAPort(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	holder := octetProcess(t, "run", "--master-port", port, "sh", "-c", "echo ready >$FIFO; sleep 100")
	r := fifo(t, holder)
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, r, 1)
	code, _, stderr := run(t, "run", "--master-port", port, "true")
	if want := fmt.Sprintf("port %s is in use by pid %d (", port, holder.Process.Pid); code != 1 || !strings.Contains(stderr, want) {
		t.Errorf("code %d, stderr does not contain %q:\n%s", code, want, stderr)
	}
	holder.Process.Signal(syscall.SIGTERM)
	holder.exitCode()
}

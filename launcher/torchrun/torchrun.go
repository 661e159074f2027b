// SPDX-License-Identifier: Apache-2.0

// Package torchrun is torchrun's command line: its flags with their abbreviations,
// environment variables and defaults, and where the hosts of a job meet (rendezvous).
// It reads and checks; package agent runs what comes out. What torchrun has and octet
// has not is refused by name.
package torchrun

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"octet/device/cuda/topo"
	"octet/internal/auth"
	"octet/launcher/agent"
	"octet/launcher/workers"
)

// Flags is a command line that Parse has read.
type Flags struct {
	Argv             []string // the program and its arguments, as they were typed
	Module, NoPython bool
	Signals          []os.Signal // --signals-to-handle
	// GPUs are those that this process may use, in CUDA's order, for --nproc-per-node gpu and auto and for
	// --numa-binding; topo.ErrNoNVML: there are none. CPUs are those that it may use.
	GPUs func() ([]topo.GPU, error)
	CPUs func() ([]topo.CPU, error)

	set  *pflag.FlagSet
	opts agent.Options // as the flags have it, each by itself; see Options
	logs workers.Logs  // see Logs

	token, python string // OCTET_JOB_TOKEN, PYTHON_EXEC

	nnodes, nprocPerNode, numaBinding   string
	rdzvBackend, rdzvEndpoint, rdzvConf string
	standalone, insecure                bool
	countedGPUs                         bool // there is a rank for each
	monitorInterval, shutdownTimeout    float64

	logDir, redirects, tee, ranksFilter string
	stdoutWords, stderrWords            string
}

// refused are torchrun's flags that octet does not have, with torchrun's default,
// which is accepted, and what to do instead.
var refused = []struct{ name, def, why string }{
	{"start-method", "spawn", "octet starts programs, not functions: leave it out"},
	{"event-log-handler", "null", "octet has no event handlers: read the report, or --log-dir"},
	{"run-path", "false", "name the script itself"},
	{"logs-specs", "default", "octet has no log plugins: use --log-dir, --redirects, --tee"},
	{"virtual-local-rank", "false", "every rank sees all GPUs of its host and takes that of its LOCAL_RANK"},
	{"print-completion", "", "octet has no shell completion"},
}

// newFlags declares the flags with torchrun's names and defaults; linePrefix is
// that of --log-line-prefix-template.
func newFlags(linePrefix string) *Flags {
	f := &Flags{GPUs: visibleGPUs, CPUs: workers.CPUs}
	fs := pflag.NewFlagSet("octet run", pflag.ContinueOnError)
	f.set = fs
	fs.SetInterspersed(false) // what follows the program belongs to it
	fs.SortFlags = false
	fs.Usage = func() {}
	fs.StringVar(&f.nnodes, "nnodes", "1:1", "number of hosts, `N`")
	fs.StringVar(&f.nprocPerNode, "nproc-per-node", "1", "ranks on this host: a `number`, gpu (one per GPU that CUDA_VISIBLE_DEVICES shows), cpu (one per core), or auto: gpu if there are any, else cpu")
	fs.StringVar(&f.numaBinding, "numa-binding", "", "where ranks stay: node (CPUs beside their GPU; so it is where each has one), socket (of those), exclusive (cores of their own beside it; without GPUs an equal share of those that octet run may use), core-complex (a cache of their own beside it), or none")
	fs.BoolVar(&f.standalone, "standalone", false, "one host on a free port of localhost, whatever the rendezvous flags say")
	fs.IntVar(&f.opts.NodeRank, "node-rank", 0, "`number` of this host from 0 (backend static)")
	fs.StringVar(&f.opts.Addr, "master-addr", "127.0.0.1", "`address` of host 0 (static)")
	fs.IntVar(&f.opts.Port, "master-port", 29500, "`port` of host 0 (static); for one host any free port unless given")
	fs.StringVar(&f.rdzvBackend, "rdzv-backend", "static", "static: hosts are numbered; c10d: the one that has the endpoint leads")
	fs.StringVar(&f.rdzvEndpoint, "rdzv-endpoint", "", "`host[:port]` where the hosts meet; for static in place of --master-addr and -port, for c10d port 29400")
	fs.StringVar(&f.opts.RunID, "rdzv-id", "none", "`id` of the job, the same on all hosts")
	fs.StringVar(&f.rdzvConf, "rdzv-conf", "", "`key=value,…`: join_timeout, timeout (seconds), is_host; token_file (instead of OCTET_JOB_TOKEN); tls_cert, tls_key, tls_ca (files); bind (address to listen on); store, store_port (for PyTorch: open, relay or none); a host is lost after keep_alive_max_attempt (5) times keep_alive_interval (1 s) without a sign of life")
	fs.BoolVar(&f.insecure, "insecure", false, "run on several hosts without a token: who reaches the endpoint can join, read and stop the job")
	fs.StringVar(&f.opts.LocalAddr, "local-addr", "", "`address` by which others reach this host")
	fs.IntVar(&f.opts.MaxRestarts, "max-restarts", 0, "how often all ranks are started again after a failure")
	fs.Float64Var(&f.monitorInterval, "monitor-interval", 0.1, "`seconds`: accepted and ignored, octet notices at once when a rank ends")
	fs.StringVar(&f.opts.Job.Role, "role", "default", "`name` of the ranks, also in the mark of their lines")
	fs.BoolVarP(&f.Module, "module", "m", false, "the program is a Python module")
	fs.BoolVar(&f.NoPython, "no-python", false, "execute the program as it is, even if it is named like a script or a command of octet")
	fs.StringVar(&f.logDir, "log-dir", "", "`directory` for <run id>_<random>/attempt_<n>/<local rank>/{stdout.log,stderr.log,error.json}; /dev/null: not even error.json")
	fs.StringVarP(&f.redirects, "redirects", "r", "0", "`streams` to files only: 0 none, 1 stdout, 2 stderr, 3 both, or 0:1,1:2 by local rank")
	fs.StringVarP(&f.tee, "tee", "t", "0", "`streams` to files and the console; 3 if --log-dir is given without --redirects and --tee")
	fs.StringVar(&f.logs.Prefix, "log-line-prefix-template", linePrefix, "mark of a rank's lines: `text` with ${role_name}, ${local_rank}, ${rank}, ${hostname}; empty for none")
	fs.StringVar(&f.ranksFilter, "local-ranks-filter", "", "local `ranks` that the console shows, as 0,1; files have all")
	fs.StringVar(&f.stdoutWords, "duplicate-stdout-filters", "", "`words`: lines with one of them also go to filtered_stdout.log (,, is a comma)")
	fs.StringVar(&f.stderrWords, "duplicate-stderr-filters", "", "the same for stderr")
	fs.StringVar(&f.opts.Job.Signals, "signals-to-handle", "SIGTERM,SIGINT,SIGHUP,SIGQUIT", "`signals` that stop the job; ranks get the same")
	fs.Float64Var(&f.shutdownTimeout, "shutdown-timeout", 30, "`seconds` between the signal and SIGKILL")
	for _, r := range refused {
		if r.def == "false" {
			fs.Bool(r.name, false, "")
		} else {
			fs.String(r.name, r.def, "")
		}
		_ = fs.MarkHidden(r.name)
	}
	fs.SetNormalizeFunc(fullName)
	return f
}

// fullName is the flag that a word of the command line means: dashes and
// underscores are one, and the beginning of one flag alone is enough, as argparse
// has it. Of an ambiguous word nothing is made: Parse tells what it could be.
func fullName(fs *pflag.FlagSet, word string) pflag.NormalizedName {
	if found := begun(fs, word); len(found) == 1 {
		return pflag.NormalizedName(found[0])
	}
	return pflag.NormalizedName(strings.ReplaceAll(word, "_", "-"))
}

// begun lists the flags that begin with word, or the one that it is.
func begun(fs *pflag.FlagSet, word string) (found []string) {
	word = strings.ReplaceAll(word, "_", "-")
	exact := false
	fs.VisitAll(func(flag *pflag.Flag) {
		exact = exact || flag.Name == word
		if strings.HasPrefix(flag.Name, word) {
			found = append(found, flag.Name)
		}
	})
	if exact {
		return []string{word}
	}
	return found
}

// Parse reads a command line: flags up to the first word that is none, the program
// and its arguments. What it does not say it takes from environ, as torchrun does:
// PET_<FLAG>, and the few variables that torchrun reads besides; the token too. The
// error of --help is pflag.ErrHelp; any other says what is wrong. The Flags are never
// nil, so that Usage can be asked for.
func Parse(args, environ []string) (*Flags, error) {
	env := map[string]string{}
	for _, kv := range environ {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	f := newFlags(cmp.Or(env["TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE"], workers.DefaultPrefix))
	f.token, f.python = env[auth.TokenVar], env["PYTHON_EXEC"]
	var bad error
	fromEnv := func(flag *pflag.Flag, name string) {
		if v, ok := env[name]; ok && bad == nil {
			if err := f.set.Set(flag.Name, v); err != nil {
				bad = fmt.Errorf("%s=%q: %w", name, v, err)
			}
		}
	}
	fromEnv(f.set.Lookup("shutdown-timeout"), "TORCH_ELASTIC_SHUTDOWN_TIMEOUT")
	f.set.VisitAll(func(flag *pflag.Flag) {
		fromEnv(flag, "PET_"+strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_")))
	})
	if err := f.set.Parse(args); err != nil {
		if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
			if found := begun(f.set, unknown.GetSpecifiedName()); len(found) > 1 {
				return f, fmt.Errorf("--%s could be --%s", unknown.GetSpecifiedName(), strings.Join(found, " or --"))
			}
		}
		return f, err
	}
	if bad != nil {
		return f, bad
	}
	for _, r := range refused {
		if flag := f.set.Lookup(r.name); flag.Changed && flag.Value.String() != r.def {
			return f, fmt.Errorf("--%s is not supported: %s", r.name, r.why)
		}
	}
	if f.Argv = f.set.Args(); len(f.Argv) == 0 {
		return f, fmt.Errorf("no program given")
	}
	return f, f.lists()
}

// Usage lists the flags.
func (f *Flags) Usage() string { return f.set.FlagUsages() }

// lists reads the flags that are lists.
func (f *Flags) lists() (err error) {
	if f.logs.Redirects, err = workers.ParseStreams(f.redirects); err != nil {
		return fmt.Errorf("--redirects %w", err)
	}
	if f.logs.Tee, err = workers.ParseStreams(f.tee); err != nil {
		return fmt.Errorf("--tee %w", err)
	}
	if f.ranksFilter != "" {
		f.logs.ConsoleFilter = map[int]bool{}
		for part := range strings.SplitSeq(f.ranksFilter, ",") {
			rank, err := strconv.Atoi(strings.TrimSpace(part))
			if err != nil || rank < 0 {
				return fmt.Errorf("--local-ranks-filter %q: want local ranks, as 0,1", f.ranksFilter)
			}
			f.logs.ConsoleFilter[rank] = true
		}
	}
	f.logs.StdoutFilters, f.logs.StderrFilters = words(f.stdoutWords), words(f.stderrWords)
	for name := range strings.SplitSeq(f.opts.Job.Signals, ",") {
		signal := unix.SignalNum(strings.TrimSpace(name))
		if signal == 0 || signal == syscall.SIGKILL || signal == syscall.SIGSTOP {
			return fmt.Errorf("--signals-to-handle %q: %q is not a signal that can be handled", f.opts.Job.Signals, name)
		}
		f.Signals = append(f.Signals, signal)
	}
	if f.Module && f.NoPython {
		return fmt.Errorf("--module and --no-python exclude each other")
	}
	return nil
}

// words splits a list at commas; two commas are one in a word.
func words(text string) []string {
	if text == "" {
		return nil
	}
	const comma = "\x00"
	var out []string
	for w := range strings.SplitSeq(strings.ReplaceAll(text, ",,", comma), ",") {
		out = append(out, strings.ReplaceAll(w, comma, ","))
	}
	return out
}

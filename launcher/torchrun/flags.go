// SPDX-License-Identifier: Apache-2.0

package torchrun

import (
	"os"
	"strings"

	"github.com/spf13/pflag"

	"octet/launcher/workers"
)

// Flags is a command line that Parse has read.
type Flags struct {
	Argv             []string // the program and its arguments, as they were typed
	Module, NoPython bool
	Signals          []os.Signal // --signals-to-handle

	set    *pflag.FlagSet
	token  string // OCTET_JOB_TOKEN
	python string // PYTHON_EXEC

	nnodes, nprocPerNode      string
	rdzvBackend, rdzvEndpoint string
	rdzvID, rdzvConf          string
	standalone, insecure      bool
	nodeRank                  int
	masterAddr                string
	masterPort                int
	localAddr                 string
	maxRestarts               int
	monitorInterval           float64
	shutdownTimeout           float64
	role, signalsToHandle     string

	logDir, linePrefix           string
	redirectsText, teeText       string
	ranksFilterText              string
	stdoutWords, stderrWords     string
	redirects, tee               workers.Streams
	ranksFilter                  map[int]bool
	stdoutFilters, stderrFilters []string
}

// refused are torchrun's flags that octet does not have, with torchrun's default,
// which is accepted, and what to do instead.
var refused = []struct{ name, def, why string }{
	{"start-method", "spawn", "octet starts programs, not functions: leave it out"},
	{"event-log-handler", "null", "octet has no event handlers: read the report, or --log-dir"},
	{"run-path", "false", "name the script itself"},
	{"logs-specs", "default", "octet has no log plugins: use --log-dir, --redirects, --tee"},
	{"numa-binding", "", "start the program under numactl: octet run --no-python numactl --cpunodebind=… program"},
	{"virtual-local-rank", "false", "octet has no GPU backend yet: read LOCAL_RANK"},
	{"print-completion", "", "octet has no shell completion"},
}

// newFlags declares the flags with torchrun's names and defaults; linePrefix is
// that of --log-line-prefix-template.
func newFlags(linePrefix string) *Flags {
	f := &Flags{}
	fs := pflag.NewFlagSet("octet run", pflag.ContinueOnError)
	f.set = fs
	fs.SetInterspersed(false) // what follows the program belongs to it
	fs.SortFlags = false
	fs.Usage = func() {}
	fs.StringVar(&f.nnodes, "nnodes", "1:1", "number of hosts, `N`")
	fs.StringVar(&f.nprocPerNode, "nproc-per-node", "1", "ranks on this host: a `number`, cpu or auto (one per core)")
	fs.BoolVar(&f.standalone, "standalone", false, "one host on a free port of localhost, whatever the rendezvous flags say")
	fs.IntVar(&f.nodeRank, "node-rank", 0, "`number` of this host from 0 (backend static)")
	fs.StringVar(&f.masterAddr, "master-addr", "127.0.0.1", "`address` of host 0 (static)")
	fs.IntVar(&f.masterPort, "master-port", 29500, "`port` of host 0 (static); for one host any free port unless given")
	fs.StringVar(&f.rdzvBackend, "rdzv-backend", "static", "static: hosts are numbered; c10d: the one that has the endpoint leads")
	fs.StringVar(&f.rdzvEndpoint, "rdzv-endpoint", "", "`host[:port]` where the hosts meet; for static in place of --master-addr and -port, for c10d port 29400")
	fs.StringVar(&f.rdzvID, "rdzv-id", "none", "`id` of the job, the same on all hosts")
	fs.StringVar(&f.rdzvConf, "rdzv-conf", "", "`key=value,…`: join_timeout, timeout (seconds), is_host; token_file (instead of OCTET_JOB_TOKEN); tls_cert, tls_key, tls_ca (files); bind (address to listen on); store, store_port (for PyTorch: open, relay or none); a host is lost after keep_alive_max_attempt (5) times keep_alive_interval (1 s) without a sign of life")
	fs.BoolVar(&f.insecure, "insecure", false, "run on several hosts without a token: who reaches the endpoint can join, read and stop the job")
	fs.StringVar(&f.localAddr, "local-addr", "", "`address` by which others reach this host")
	fs.IntVar(&f.maxRestarts, "max-restarts", 0, "how often all ranks are started again after a failure")
	fs.Float64Var(&f.monitorInterval, "monitor-interval", 0.1, "`seconds`: accepted and ignored, octet notices at once when a rank ends")
	fs.StringVar(&f.role, "role", "default", "`name` of the ranks, also in the mark of their lines")
	fs.BoolVarP(&f.Module, "module", "m", false, "the program is a Python module")
	fs.BoolVar(&f.NoPython, "no-python", false, "execute the program as it is, even if it is named like a script or a command of octet")
	fs.StringVar(&f.logDir, "log-dir", "", "`directory` for <run id>_<random>/attempt_<n>/<local rank>/{stdout.log,stderr.log,error.json}; /dev/null: not even error.json")
	fs.StringVarP(&f.redirectsText, "redirects", "r", "0", "`streams` to files only: 0 none, 1 stdout, 2 stderr, 3 both, or 0:1,1:2 by local rank")
	fs.StringVarP(&f.teeText, "tee", "t", "0", "`streams` to files and the console; 3 if --log-dir is given without --redirects and --tee")
	fs.StringVar(&f.linePrefix, "log-line-prefix-template", linePrefix, "mark of a rank's lines: `text` with ${role_name}, ${local_rank}, ${rank}, ${hostname}; empty for none")
	fs.StringVar(&f.ranksFilterText, "local-ranks-filter", "", "local `ranks` that the console shows, as 0,1; files have all")
	fs.StringVar(&f.stdoutWords, "duplicate-stdout-filters", "", "`words`: lines with one of them also go to filtered_stdout.log (,, is a comma)")
	fs.StringVar(&f.stderrWords, "duplicate-stderr-filters", "", "the same for stderr")
	fs.StringVar(&f.signalsToHandle, "signals-to-handle", "SIGTERM,SIGINT,SIGHUP,SIGQUIT", "`signals` that stop the job; ranks get the same")
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

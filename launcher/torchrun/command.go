// SPDX-License-Identifier: Apache-2.0

package torchrun

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"octet/launcher/agent"
	"octet/launcher/workers"
)

// Command is the command line of a rank: of a Python script or module, or Argv.
func (f *Flags) Command() ([]string, error) {
	python := cmp.Or(f.python, "python3")
	switch {
	case f.Module:
		return append([]string{python, "-u", "-m"}, f.Argv...), nil
	case strings.HasSuffix(f.Argv[0], ".py") && !f.NoPython:
		if _, err := os.Stat(f.Argv[0]); err != nil {
			return nil, fmt.Errorf("script: %w", err)
		}
		return append([]string{python, "-u"}, f.Argv...), nil
	}
	return f.Argv, nil
}

// Logs says where the output of the ranks goes, and makes the folders. Without
// --log-dir, their error files go to scratch, a folder of this run, and logs into
// one that stays.
func (f *Flags) Logs(o agent.Options, scratch string) (logs workers.Logs, err error) {
	logs = f.logs
	streams := logs.Redirects.Any() || logs.Tee.Any()
	files := streams || len(logs.StdoutFilters)+len(logs.StderrFilters) > 0
	name := strings.ReplaceAll(o.RunID, string(filepath.Separator), "_") + "_*"
	switch {
	case f.logDir == os.DevNull:
		if files {
			return logs, fmt.Errorf("--log-dir %s leaves no place for --redirects, --tee and the --duplicate-…-filters", os.DevNull)
		}
		return logs, nil
	case f.logDir == "" && !files:
		logs.Dir = scratch
		return logs, nil
	case f.logDir == "":
		if logs.Dir, err = os.MkdirTemp("", "octet_"+name); err == nil {
			o.Say("logs of the ranks are in " + logs.Dir)
		}
		return logs, err
	}
	if !streams { // who asks for a directory wants the output in it
		logs.Tee = workers.Streams{All: workers.Stdout | workers.Stderr}
	}
	dir, err := filepath.Abs(f.logDir)
	if err != nil {
		return logs, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return logs, fmt.Errorf("--log-dir: %w", err)
	}
	logs.Dir, err = os.MkdirTemp(dir, name)
	return logs, err
}

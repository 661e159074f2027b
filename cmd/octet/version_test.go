// SPDX-License-Identifier: Apache-2.0

package main

import (
	"regexp"
	"runtime/debug"
	"strings"
	"testing"
)

func TestVersionSaysWhatWasBuilt(t *testing.T) {
	for _, args := range []string{"version", "--version"} {
		code, stdout, stderr := run(t, args)
		if code != 0 || !regexp.MustCompile(`^octet \S+.*, go1\.\d+\S* \w+/\w+\n$`).MatchString(stdout) {
			t.Errorf("octet %s: code %d, %q, %s", args, code, stdout, stderr)
		}
	}
	info := &debug.BuildInfo{Main: debug.Module{Version: "v1.2.0"}, Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "912248b3a1c0aaaaaaaaaaaa"}, {Key: "vcs.time", Value: "2026-11-27T00:10:00Z"}, {Key: "vcs.modified", Value: "true"},
	}}
	if got, want := describeBuild(info), "octet v1.2.0, commit 912248b3a1c0 of 2026-11-27T00:10:00Z, changed since"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// Help of a command is the same alone, after `octet help`, and under octet run,
// which starts nothing for it.
func TestHelpOfACommand(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"train --help", "usage: octet train [--config"},
		{"help train", "usage: octet train [--config"},
		{"run --nproc-per-node 2 train --help", "usage: octet train [--config"},
		{"help run", "usage: octet run [flags] program"},
		{"help plot", "usage: octet plot [--out"},
		{"help bench", "usage: octet bench <benchmark>"},
		{"help", "usage: octet <command>"},
	} {
		code, stdout, stderr := run(t, strings.Fields(tt.args)...)
		if code != 0 || strings.Count(stdout, tt.want) != 1 || stderr != "" {
			t.Errorf("octet %s: code %d, no %q in\n%.300s%s", tt.args, code, tt.want, stdout, stderr)
		}
	}
}

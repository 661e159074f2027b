// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
)

// runVersion is `octet version`: what was built, from which commit, by which Go, for which machine.
func runVersion(context.Context, []string) error {
	fmt.Println(version())
	return nil
}

func version() string {
	text := "octet (unknown)"
	if info, ok := debug.ReadBuildInfo(); ok {
		text = describeBuild(info)
	}
	return fmt.Sprintf("%s, %s %s/%s", text, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// describeBuild is as "octet v1.2.0, commit 912248b3a1c0 of 2026-11-27T00:10:00Z, changed since".
func describeBuild(info *debug.BuildInfo) string {
	text := "octet " + info.Main.Version
	set := map[string]string{}
	for _, s := range info.Settings {
		set[s.Key] = s.Value
	}
	if commit := set["vcs.revision"]; commit != "" {
		text += fmt.Sprintf(", commit %.12s of %s", commit, set["vcs.time"])
	}
	if set["vcs.modified"] == "true" {
		text += ", changed since"
	}
	return text
}

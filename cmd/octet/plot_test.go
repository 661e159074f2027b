// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"octet/metrics"
)

func TestPlotDrawsRuns(t *testing.T) {
	dir := t.TempDir()
	file, err := os.Create(filepath.Join(dir, "metrics.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	log := metrics.NewJSONL(file, func(text string) { t.Error(text) })
	for step := 1; step <= 20; step++ {
		log.Step(metrics.Record{Step: step, Loss: 5 / float64(step)})
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "loss.svg")
	if err := runPlot(t.Context(), []string{"--out", out, "--title", "a run", "float8=" + filepath.Join(dir, "metrics.jsonl")}); err != nil {
		t.Fatal(err)
	}
	svg, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<svg", "a run", "float8"} {
		if !strings.Contains(string(svg), want) {
			t.Errorf("%s lacks %q", out, want)
		}
	}
}

func TestPlotNamesTheMistake(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"no run", nil, "no run given; name each as NAME=PATH/metrics.jsonl"},
		{"no name", []string{"out/metrics.jsonl"}, `"out/metrics.jsonl" names no run`},
		{"no file", []string{"f32=missing.jsonl"}, "run f32: metrics: open missing.jsonl"},
		{"no folder", []string{"--out=/nowhere/loss.svg", "f32=missing.jsonl"}, "--out /nowhere/loss.svg: there is no folder /nowhere"},
		{"another format", []string{"--out=loss.pdf", "f32=missing.jsonl"}, "--out loss.pdf: a picture is SVG or PNG"},
		{"unknown flag", []string{"--colour=red"}, "unknown flag: --colour"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := runPlot(t.Context(), tt.args)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

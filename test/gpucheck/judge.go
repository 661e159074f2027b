// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"octet/metrics"
)

var (
	gpuLine       = regexp.MustCompile(`(?m)^GPU \d+ +(.+)$`)
	noGPULine     = regexp.MustCompile(`(?m)^(?:GPUs|libcuda\.so\.1) +(.+)$`)
	torchLine     = regexp.MustCompile(`(?m)^torch: .* sees (\d+)$`)
	torchaoLine   = regexp.MustCompile(`(?m)^torchao: `)
	sanitizerLine = regexp.MustCompile(`(?m)^compute-sanitizer: `)
	passLine      = regexp.MustCompile(`(?m)^--- PASS: `)
	failLine      = regexp.MustCompile(`(?m)^ *--- FAIL: (\S+)`)
	skipLine      = regexp.MustCompile(`(?m)^--- SKIP: .*\n +\S+\.go:\d+: (.*)$`)
	measureLine   = regexp.MustCompile(`(?m)^Benchmark(?:Work/|MatMul/)?(\S+?)(?:-\d+)?\s+\d+\s+([\d.]+) ns/op(.*)$`)
	metric        = regexp.MustCompile(`([\d.e+]+) (MB/s|target|GFLOP/s)`)
	errorSummary  = regexp.MustCompile(`ERROR SUMMARY: (\d+) error|RACECHECK SUMMARY: (\d+) hazard`)
)

// judgeInventory finds what later checks need.
func judgeInventory(h *host, out output) (Verdict, string, []Measure) {
	first := gpuLine.FindStringSubmatch(out.text)
	h.lacks[gpu], h.lacks[torch], h.lacks[torchao], h.lacks[sanitizer] = "", "", "", ""
	if m := torchLine.FindStringSubmatch(out.text); m == nil || m[1] == "0" {
		h.lacks[torch] = "python3 has no PyTorch that sees a GPU"
	}
	if !torchaoLine.MatchString(out.text) {
		h.lacks[torchao] = "python3 has no torchao"
	}
	if !sanitizerLine.MatchString(out.text) {
		h.lacks[sanitizer] = "there is no compute-sanitizer"
	}
	if first != nil {
		return Pass, first[1], nil
	}
	h.lacks[gpu] = "no GPU"
	if m := noGPULine.FindStringSubmatch(out.text); m != nil {
		h.lacks[gpu] += ": " + m[1]
	}
	return Skipped, h.lacks[gpu], nil
}

// judgeTests reads what tests with -test.v print. Those that all skip themselves say why.
func judgeTests(_ *host, out output) (Verdict, string, []Measure) {
	if failed := failures(out.text); len(failed) > 0 {
		return Fail, summary(failed), nil
	}
	if out.err != nil {
		return Fail, fmt.Sprintf("%v: %s", out.err, lastLine(out.text)), nil
	}
	if n := len(passLine.FindAllString(out.text, -1)); n > 0 {
		return Pass, "", nil
	}
	if m := skipLine.FindStringSubmatch(out.text); m != nil {
		return Skipped, m[1], nil
	}
	return Fail, "no test ran", nil
}

// failures are the tests that failed, without those that failed because a part did.
func failures(text string) (names []string) {
	for _, m := range failLine.FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool {
		return slices.ContainsFunc(names, func(other string) bool { return strings.HasPrefix(other, n+"/") })
	})
}

func summary(failed []string) string {
	const most = 6
	text := strings.Join(failed[:min(most, len(failed))], ", ")
	if len(failed) > most {
		text += fmt.Sprintf(" and %d more", len(failed)-most)
	}
	return text
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// judgeBenchmarks reads measures: of kernels their share of the copy's speed, of which each has a target.
func judgeBenchmarks(_ *host, out output) (v Verdict, why string, all []Measure) {
	for _, m := range measureLine.FindAllStringSubmatch(out.text, -1) {
		found := Measure{Name: m[1]}
		found.Value, _ = strconv.ParseFloat(m[2], 64) // as the expression has it
		found.Unit = "ns"
		for _, with := range metric.FindAllStringSubmatch(m[3], -1) {
			x, _ := strconv.ParseFloat(with[1], 64)
			if with[2] == "target" {
				found.Want = x
			} else {
				found.Value, found.Unit = x, with[2]
			}
		}
		all = append(all, found)
	}
	var slow []string
	copied := valueOf(all, "copy", "MB/s")
	for i := range all {
		m := &all[i]
		if m.Unit != "MB/s" || copied == 0 {
			continue
		}
		m.Share = m.Value / copied
		if m.Share < m.Want {
			slow = append(slow, m.Name)
		}
	}
	switch {
	case out.err != nil:
		return Fail, fmt.Sprintf("%v: %s", out.err, lastLine(out.text)), all
	case len(all) == 0:
		return Fail, "nothing was measured", nil
	case len(slow) > 0:
		return Fail, "below its target: " + summary(slow), all
	}
	return Pass, "", all
}

func valueOf(all []Measure, name, unit string) float64 {
	for _, m := range all {
		if m.Name == name && m.Unit == unit {
			return m.Value
		}
	}
	return 0
}

// judgePeer reads the lines of peer.py.
func judgePeer(_ *host, out output) (Verdict, string, []Measure) {
	var all []Measure
	for line := range strings.Lines(out.text) {
		var m Measure
		if json.Unmarshal([]byte(line), &m) == nil && m.Name != "" {
			all = append(all, m)
		}
	}
	if out.err != nil || len(all) == 0 {
		return Fail, fmt.Sprintf("%v: %s", out.err, lastLine(out.text)), all
	}
	return Pass, "", all
}

// judgeStep reads the records of a training run: the median of the speeds of the second half of its steps.
func judgeStep(name string) func(h *host, out output) (Verdict, string, []Measure) {
	return func(h *host, out output) (Verdict, string, []Measure) {
		records, err := metrics.Read(filepath.Join(h.scratch, strings.ReplaceAll(name, " ", "-"), metrics.FileName))
		if err = errors.Join(out.err, err); err != nil || len(records) < 2 {
			return Fail, fmt.Sprintf("%d steps: %v: %s", len(records), err, lastLine(out.text)), nil
		}
		var speeds []float64
		for _, r := range records[len(records)/2:] {
			speeds = append(speeds, r.TokensPerS)
		}
		slices.Sort(speeds)
		last := records[len(records)-1]
		return Pass, fmt.Sprintf("loss %.4f after %d steps", last.Loss, last.Step), []Measure{{Name: name, Value: speeds[len(speeds)/2], Unit: "tokens/s"}}
	}
}

// judgeSanitizer wants the tool's own summary: tests that pass show nothing where it did not start.
func judgeSanitizer(h *host, out output) (Verdict, string, []Measure) {
	m := errorSummary.FindStringSubmatch(out.text)
	if strings.Contains(out.text, "Device not supported") {
		return Skipped, "compute-sanitizer does not support this device here", nil
	}
	if m == nil {
		return Fail, "no summary: " + lastLine(out.text), nil
	}
	if m[1] == "0" || m[2] == "0" {
		return judgeTests(h, out)
	}
	return Fail, m[0], nil
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"octet/internal/durable"
)

// Verdict is what a check came to.
type Verdict string

// The verdicts.
const (
	Pass    Verdict = "pass"
	Fail    Verdict = "fail"
	Skipped Verdict = "skipped"
)

// Record is what result.json has.
type Record struct {
	Began   time.Time `json:"began"`
	Host    []string  `json:"host"` // what was found there, in lines
	Results []Result  `json:"results"`
}

// Result is of one check.
type Result struct {
	Name     string    `json:"name"`
	About    string    `json:"about"`
	Verdict  Verdict   `json:"verdict"`
	Reason   string    `json:"reason,omitempty"` // why it failed or was skipped
	Seconds  float64   `json:"seconds"`
	Limit    float64   `json:"limit"`
	Measures []Measure `json:"measures,omitempty"`
}

// Measure is a figure. Share is of the copy's speed, and Want what it should be at least; 0 is none.
type Measure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	Share float64 `json:"share,omitempty"`
	Want  float64 `json:"want,omitempty"`
}

// hostOf are the lines of the inventory that tell one host from another.
func hostOf(text string) (lines []string) {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n ")
		if line != "" && !strings.HasPrefix(line, "    tried ") {
			lines = append(lines, line)
		}
	}
	return lines
}

// write writes result.json and gpu.md, each of them whole.
func (r *Record) write(folder string) error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return errors.Join(durable.Text(filepath.Join(folder, "result.json"), append(text, '\n')), durable.Text(filepath.Join(folder, "gpu.md"), []byte(r.page())))
}

func (r *Record) table() string {
	var b strings.Builder
	b.WriteString("| check | verdict | seconds | |\n|---|---|---|---|\n")
	for _, x := range r.Results {
		fmt.Fprintf(&b, "| %s: %s | %s | %.0f of %.0f | %s |\n", x.Name, x.About, x.Verdict, x.Seconds, x.Limit, strings.ReplaceAll(x.Reason, "|", "/"))
	}
	return b.String()
}

// page is the record as docs/gpu.md has it: what was here, every verdict, every figure.
func (r *Record) page() string {
	var b strings.Builder
	fmt.Fprintf(&b, "## The run of %s\n\n```\n%s\n```\n\n%s", r.Began.Format("2006-01-02 15:04 MST"), strings.Join(r.Host, "\n"), r.table())
	var kernels, products, other []Measure
	beside := map[string]float64{} // torch's figures, by name
	for _, x := range r.Results {
		if strings.HasPrefix(x.Name, "torch ") {
			for _, m := range x.Measures {
				beside[m.Name] = m.Value
			}
			continue
		}
		for _, m := range x.Measures {
			switch m.Unit {
			case "MB/s":
				kernels = append(kernels, m)
			case "GFLOP/s":
				products = append(products, m)
			default:
				other = append(other, m)
			}
		}
	}
	if len(kernels) > 0 {
		b.WriteString("\n| kernel | GB/s | of the copy's speed | target |\n|---|---|---|---|\n")
		for _, m := range kernels {
			fmt.Fprintf(&b, "| %s | %.0f | %.0f %% | %.0f %% |\n", strings.ReplaceAll(m.Name, "_", " "), m.Value/1e3, 100*m.Share, 100*m.Want)
		}
	}
	versus := func(title string, list []Measure, unit string, by float64) {
		if len(list) == 0 {
			return
		}
		fmt.Fprintf(&b, "\n| %s | octet | torch | octet / torch |\n|---|---|---|---|\n", title)
		for _, m := range list {
			theirs, ratio := "–", "–"
			if x := beside[m.Name]; x > 0 {
				theirs, ratio = fmt.Sprintf("%.4g", x/by), fmt.Sprintf("%.2f", m.Value/x)
			}
			fmt.Fprintf(&b, "| %s, %s | %.4g | %s | %s |\n", m.Name, cmp.Or(unit, m.Unit), m.Value/by, theirs, ratio)
		}
	}
	versus("product, tokens × out × in; attention, tokens × heads × key heads × size", products, "TFLOP/s", 1e3)
	versus("beside", other, "", 1)
	for _, m := range other { // the same again, beside what torch has compiled
		if x := beside[m.Name+" compiled"]; x > 0 {
			fmt.Fprintf(&b, "| %s, torch compiled, %s | %.4g | %.4g | %.2f |\n", m.Name, m.Unit, m.Value, x, m.Value/x)
		}
	}
	return b.String()
}

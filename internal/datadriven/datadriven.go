// SPDX-License-Identifier: Apache-2.0

// Package datadriven runs tests that are written as text: a file of cases, each
// a command, its input and the output expected. Use it for pure functions and
// state machines whose behaviour is easier to read as a scenario than as Go.
//
// A case is a line `command arg key=value`, optional lines of input, a line
// `----`, and the expected output up to the next blank line. Lines that start
// with # before a command are comments.
//
//	func TestPlan(t *testing.T) {
//		datadriven.Run(t, "testdata/*.txt", func(t *testing.T, c *datadriven.Case) string {
//			return Plan(c.Args[0], c.Int(t, "ranks", 1)).String()
//		})
//	}
//
// `go test ./pkg -rewrite` writes the actual outputs into the files; commit only
// the differences you can explain.
package datadriven

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "datadriven: write actual outputs into the test files")

// Case is one command of a file.
type Case struct {
	Pos      string            // file:line, for messages
	Cmd      string            // first word of the command line
	Args     []string          // its other words without "="
	Vals     map[string]string // its words of the form key=value
	Input    string            // lines between the command and ----, each ended by \n
	Expected string            // lines after ----, each ended by \n
}

// Int returns the integer value of key, or def where the case does not give it.
func (c *Case) Int(t *testing.T, key string, def int) int {
	t.Helper()
	s, ok := c.Vals[key]
	if !ok {
		return def
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("%s: %s=%s: not an integer", c.Pos, key, s)
	}
	return n
}

// Run calls run for each case of each file that matches glob, in order, one
// subtest a file, and compares the text it returns with the expected one.
func Run(t *testing.T, glob string, run func(t *testing.T, c *Case) string) {
	t.Helper()
	files, err := filepath.Glob(glob)
	if err != nil || len(files) == 0 {
		t.Fatalf("datadriven: no file matches %s (%v)", glob, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runFile(t, file, run) })
	}
}

func runFile(t *testing.T, file string, run func(t *testing.T, c *Case) string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	err = parse(file, string(text), &out, func(c *Case) string {
		got := run(t, c)
		if got != "" && !strings.HasSuffix(got, "\n") {
			got += "\n"
		}
		if strings.HasPrefix(got, "\n") || strings.Contains(got, "\n\n") {
			t.Fatalf("%s: output has a blank line, which ends a case:\n%s", c.Pos, got)
		}
		if got != c.Expected && !*rewrite {
			t.Errorf("%s: %s\ngot:\n%swant:\n%s", c.Pos, c.Cmd, got, c.Expected)
		}
		return got
	})
	if err != nil {
		t.Fatal(err)
	}
	if *rewrite && out.String() != string(text) {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// parse calls do for each case and copies the text to out, with each expected
// output replaced by what do returned.
func parse(file, text string, out *strings.Builder, do func(*Case) string) error {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		fmt.Fprintln(out, lines[i])
		if lines[i] == "" || strings.HasPrefix(lines[i], "#") {
			continue
		}
		words := strings.Fields(lines[i])
		c := &Case{Pos: fmt.Sprintf("%s:%d", file, i+1), Cmd: words[0], Vals: map[string]string{}}
		for _, w := range words[1:] {
			if k, v, ok := strings.Cut(w, "="); ok {
				c.Vals[k] = v
			} else {
				c.Args = append(c.Args, w)
			}
		}
		for i++; i < len(lines) && lines[i] != "----"; i++ {
			c.Input += lines[i] + "\n"
		}
		if i == len(lines) {
			return fmt.Errorf("%s: no ---- after the command", c.Pos)
		}
		out.WriteString(c.Input + "----\n")
		for i++; i < len(lines) && lines[i] != ""; i++ {
			c.Expected += lines[i] + "\n"
		}
		out.WriteString(do(c))
		if i < len(lines) {
			out.WriteString("\n")
		}
	}
	return nil
}

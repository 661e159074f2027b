// SPDX-License-Identifier: Apache-2.0

package datadriven

import (
	"fmt"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	Run(t, "testdata/*.txt", func(t *testing.T, c *Case) string {
		switch c.Cmd {
		case "upper":
			return strings.ToUpper(c.Input)
		case "add":
			return fmt.Sprint(c.Int(t, "a", 0) + c.Int(t, "b", 10))
		case "words":
			return strings.Join(c.Args, "\n")
		}
		t.Fatalf("%s: unknown command %s", c.Pos, c.Cmd)
		return ""
	})
}

func TestRewriteKeepsTheRest(t *testing.T) {
	const text = "# comment\n\necho a\nin\n----\nold\n\necho b\n----\n"
	var out strings.Builder
	err := parse("f", text, &out, func(c *Case) string { return c.Args[0] + "\n" })
	if err != nil {
		t.Fatal(err)
	}
	const want = "# comment\n\necho a\nin\n----\na\n\necho b\n----\nb\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestMissingSeparator(t *testing.T) {
	err := parse("f", "echo a\nin\n", new(strings.Builder), func(*Case) string { return "" })
	if err == nil || !strings.Contains(err.Error(), "f:1: no ----") {
		t.Errorf("got %v", err)
	}
}

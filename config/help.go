// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Help writes every flag by section: its type and default, what it does, and its legal values.
func Help(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprint(b, `usage: octet train [--config FILE.toml] [--section.field=value ...]

Flags are --section.field=value, on top of the TOML file that --config names. A bool is also --section.field and
--section.no_field; a list is separated by commas.
`)
	for _, s := range sections(Default()) {
		fmt.Fprintf(b, "\n[%s] %s\n", s.name, s.help)
		for _, f := range s.fields {
			fmt.Fprintf(b, "  --%s %s%s\n        %s%s\n", f.name, f.kind(), f.helpDefault(), f.tag.Get("help"), f.remarks())
		}
	}
	fmt.Fprint(b, `
Keys of torchtitan that octet does not have: what would change numbers, layout or files is refused unless it has the
value that is shown; what has no effect here is told once.
`)
	for _, f := range foreignKeys() {
		same := ""
		if f.same != "" {
			same = " = " + f.same
		}
		fmt.Fprintf(b, "  %s%s (%s)\n        %s\n", f.name, same, f.fate, f.advice)
	}
	return b.Flush()
}

// helpDefault is the default after the type; nothing where that is the type's zero or unset.
func (f field) helpDefault() string {
	text := f.tag.Get("default")
	switch {
	case text == "":
		return ""
	case f.kind() == "string" && f.tag.Get("enum") == "":
		return " = " + strconv.Quote(text)
	}
	return " = " + text
}

// remarks are the legal values and what is not there yet, in parentheses.
func (f field) remarks() string {
	if later := f.tag.Get("later"); later != "" && f.tag.Get("now") == "" {
		return fmt.Sprintf(" (%s is not in octet yet)", later)
	}
	if enum := f.tag.Get("enum"); enum != "" {
		return fmt.Sprintf(" (%s)", strings.ReplaceAll(enum, ",", " | "))
	}
	if in := f.tag.Get("in"); in != "" {
		return fmt.Sprintf(" (%s)", f.legalNumbers())
	}
	return ""
}

// Write prints c as a TOML file that gives the same configuration again. Unset fields are left out.
func (c *Config) Write(w io.Writer) error {
	file := *c
	file.Job.ConfigFile = ""
	return toml.NewEncoder(w).Encode(file)
}

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

// Help writes every flag by section: its type, what it does, its legal values and its default.
func Help(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprint(b, `Flags are --section.field=value, on top of the TOML file that --config names. A bool is also --section.field and
--section.no_field; a list is separated by commas.
`)
	for _, s := range sections(Default()) {
		fmt.Fprintf(b, "\n[%s] %s\n", s.name, s.help)
		for _, f := range s.fields {
			fmt.Fprintf(b, "  --%s %s\n        %s%s\n", f.name, f.kind(), f.tag.Get("help"), f.remarks())
		}
	}
	return b.Flush()
}

// remarks are the legal values, the default, and what is not there yet, in parentheses.
func (f field) remarks() string {
	var parts []string
	if enum := f.tag.Get("enum"); enum != "" {
		parts = append(parts, strings.ReplaceAll(enum, ",", " | "))
	}
	if in := f.tag.Get("in"); in != "" && f.tag.Get("later") == "" {
		parts = append(parts, parseInterval(in).String())
	}
	if text := f.tag.Get("default"); text != "" && f.kind() != "bool" || text == "true" {
		if f.kind() == "string" && f.tag.Get("enum") == "" {
			text = strconv.Quote(text)
		}
		parts = append(parts, "default "+text)
	}
	if later := f.tag.Get("later"); later != "" {
		parts = append(parts, later+": not in octet yet")
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, "; ") + ")"
}

// Write prints c as a TOML file that gives the same configuration again. Unset fields are left out.
func (c *Config) Write(w io.Writer) error {
	file := *c
	file.Job.ConfigFile = ""
	return toml.NewEncoder(w).Encode(file)
}

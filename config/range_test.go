// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

// TestEveryNumberHasARange: whatever is computed from a number of the user's, in whatever type, does not overflow.
func TestEveryNumberHasARange(t *testing.T) {
	for name, f := range fields(Default()) {
		kind, in := f.kind(), f.tag.Get("in")
		if kind != "int" && kind != "float" || f.tag.Get("later") != "" { // of those only the default is legal
			continue
		}
		if in == "" {
			t.Errorf("%s has no range", name)
			continue
		}
		r := parseInterval(in)
		// Only a seed may be any int, and only the norm may be without bound.
		if kind == "int" && r.high > 1e9 && name != "debug.seed" || kind == "float" && r.high > 1e15 && name != "training.max_norm" {
			t.Errorf("%s may be %v, which is too much", name, r.high)
		}
	}
}

// TestAnyValueOfAnyKey is Load and Validate on all keys × families of values: each is taken or refused by the name of
// its key, in a file and as a flag.
func TestAnyValueOfAnyKey(t *testing.T) {
	if testing.Short() {
		t.Skip("seconds long")
	}
	values := []string{"", " ", "0", "-1", "1", "1.5", "true", "inf", "-inf", "nan", "1e10", "1e400", "-1e-400", "9223372036854775807", "-9223372036854775808", "9223372036854775808",
		"0x10", "1_000", ",", ",,a", "a,b", "*", "\x00", "\x1b[31m\a\r\n", "../..", "/", "/dev/null", "♥\u202e", "\xff\xfe", "--", "=", strings.Repeat("9", 400), strings.Repeat("long", 1<<14)}
	for name := range fields(Default()) {
		if name == configFile {
			continue
		}
		dot := strings.LastIndexByte(name, '.')
		for _, v := range values {
			inFile := fmt.Sprintf("[%s]\n%s = %s\n", name[:dot], name[dot+1:], v)
			quotedInFile := fmt.Sprintf("[%s]\n%s = %q\n", name[:dot], name[dot+1:], strings.ToValidUTF8(v, "?"))
			asFlag, err := Load([]string{"--" + name + "=" + v})
			judge(t, name, v, asFlag, err)
			c, err := loadText(t, inFile)
			if err == nil || !strings.Contains(err.Error(), "toml: ") { // what is not TOML has only a place
				judge(t, name, v, c, err)
			}
			c, err = loadText(t, quotedInFile)
			if err == nil || !strings.Contains(err.Error(), "toml: ") {
				judge(t, name, v, c, err)
			}
		}
	}
}

func judge(t *testing.T, name, value string, c *Config, err error) {
	t.Helper()
	if err == nil {
		err = c.Validate(2)
		if f := fields(c)[name]; err == nil && (f.kind() == "float" || f.kind() == "int") {
			if v, isSet := f.text(); isSet && (math.IsNaN(f.number()) || math.IsInf(f.number(), 0) && name != "training.max_norm") {
				t.Errorf("%s = %s is taken as %s", name, value, v)
			}
		}
	}
	if err == nil {
		return
	}
	text := err.Error()
	leaf := name[strings.LastIndexByte(name, '.')+1:]
	if !strings.Contains(text, leaf) && !strings.Contains(text, "world size") {
		t.Errorf("%s = %.40q: the error does not name the key: %s", name, value, text)
	}
	if len(text) > 2000 || strings.ContainsAny(text, "\x00\x1b\a\r") {
		t.Errorf("%s = %.40q: an error of %d bytes: %.200q", name, value, len(text), text)
	}
}

func TestMessagesShowTheBeginningOfALongValue(t *testing.T) {
	hundred := strings.Repeat("x", 100)
	if got, want := shorten(hundred), `"`+hundred+`"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := shorten(hundred+"♥"), `"`+hundred+`"… (103 bytes)`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := shorten(hundred[1:]+"♥"), `"`+hundred[1:]+`"… (102 bytes)`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := shorten(hundred+"y"), `"`+hundred+`"… (101 bytes)`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

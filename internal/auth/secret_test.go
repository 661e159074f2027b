// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSecretsStayOutOfTexts(t *testing.T) {
	s, err := ParseSecret("correct horse battery staple")
	if err != nil {
		t.Fatal(err)
	}
	in := struct{ Secret Secret }{s}
	asJSON, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprint(in), fmt.Sprintf("%+v", in), fmt.Sprintf("%#v", in), fmt.Sprintf("%s %q %v", s, s, &in), string(asJSON)} {
		if strings.Contains(text, "horse") {
			t.Errorf("it is in %s", text)
		}
	}
}

func TestDerivedSecretsDiffer(t *testing.T) {
	s := NewSecret()
	seen := map[Secret]bool{s: true, {}: true, Public(): true}
	for _, purpose := range []string{"a", "b"} {
		d := s.For(purpose)
		if seen[d] || d != s.For(purpose) {
			t.Errorf("for %q: known, or not the same twice", purpose)
		}
		seen[d] = true
		if again, err := ParseSecret(strings.TrimPrefix(d.Environ(), TokenVar+"=")); err != nil || again != d {
			t.Errorf("a child reads another: %v", err)
		}
	}
	if !(Secret{}).For("a").IsZero() {
		t.Error("no secret became one")
	}
}

func TestReadSecret(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		name, text string
		mode       os.FileMode
		want       string // part of the error; empty: none
	}{
		{"good", "0123456789abcdef\n", 0o600, ""},
		{"for the group", "0123456789abcdef\n", 0o640, ""},
		{"for everyone", "0123456789abcdef\n", 0o644, "chmod 600"},
		{"empty", "\n", 0o600, "it is empty"},
		{"short", "0123\n", 0o600, "a token of 4 characters can be guessed: want 16 or more"},
		{"long", strings.Repeat("x", maxToken+1), 0o600, "want 16 to 4096"},
	} {
		path := filepath.Join(dir, tt.name)
		if err := os.WriteFile(path, []byte(tt.text), tt.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, tt.mode); err != nil { // whatever the umask
			t.Fatal(err)
		}
		s, err := ReadSecret(path)
		if tt.want == "" {
			if err != nil || s.text != "0123456789abcdef" {
				t.Errorf("%s: %v", tt.name, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
	if _, err := ReadSecret(filepath.Join(dir, "missing")); err == nil {
		t.Error("no error without a file")
	}
}

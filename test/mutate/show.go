// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// outcome is what became of a bug: one of these, or which tests noticed it.
type outcome string

const (
	survived   outcome = "SURVIVED"
	notBuilt   outcome = "does not build"
	sameObject outcome = "compiles to the same"
)

// counts reports whether there was a bug for tests to notice.
func (o outcome) counts() bool { return o != notBuilt && o != sameObject }

// readRecord returns what appendRecord wrote, of a file that need not be there. Lines that are deleted are bugs to try again.
func readRecord(name string) (map[string]outcome, error) {
	had := map[string]outcome{}
	text, err := os.ReadFile(name)
	if name == "" || errors.Is(err, os.ErrNotExist) {
		return had, nil
	}
	for line := range strings.Lines(string(text)) {
		if o, bug, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t"); ok {
			had[bug] = outcome(o)
		}
	}
	return had, err
}

func appendRecord(name string, b bug, o outcome) error {
	if name == "" {
		return nil
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s\t%s\n", o, b)
	return errors.Join(err, f.Close())
}

// show runs the tests on the bug, whose packages are linked once each, up to the first that fails.
func (p planned) show(ctx context.Context, limit time.Duration) (outcome, error) {
	dir, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	overlay, err := p.overlay(dir)
	if err != nil {
		return "", err
	}
	root := "."
	if shadowed(p.file) {
		if root, err = p.shadow(dir); err != nil {
			return "", err
		}
	} else {
		switch was, is := compiled(ctx, p.file, ""), compiled(ctx, p.file, overlay); {
		case is == "":
			return notBuilt, nil
		case is == was:
			return sameObject, nil
		}
	}
	binaries := map[string]string{}
	for _, t := range p.tests {
		binary, ok := binaries[t.folder]
		if !ok {
			binary = filepath.Join(dir, fmt.Sprint(len(binaries), ".test"))
			if out, err := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-overlay", overlay, "-o", binary, "./"+t.folder).CombinedOutput(); err != nil {
				return "", fmt.Errorf("go test -c ./%s: %w\n%s", t.folder, err, out)
			}
			binaries[t.folder] = binary
		}
		start := time.Now()
		out, err := t.of(ctx, binary, root, limit)
		var failed *exec.ExitError
		switch {
		case err == nil:
		case strings.Contains(string(out), "sim: g++"):
			return notBuilt, nil
		case errors.As(err, &failed):
			return outcome(fmt.Sprintf("noticed by %s in %.0f s", t.name(string(out)), time.Since(start).Seconds())), nil
		default:
			return "", err
		}
	}
	return survived, nil
}

// overlay writes the file that has the go command see the bug, and returns its path.
func (p planned) overlay(dir string) (string, error) {
	changed, overlay := filepath.Join(dir, "changed"+filepath.Ext(p.file)), filepath.Join(dir, "overlay.json")
	table, err := json.Marshal(map[string]map[string]string{"Replace": {p.file: changed}})
	return overlay, errors.Join(err, os.WriteFile(changed, p.text, 0o666), os.WriteFile(overlay, table, 0o666))
}

// compiled identifies what the package of a file compiles to, "" if it does not.
func compiled(ctx context.Context, file, overlay string) string {
	out, err := exec.CommandContext(ctx, "go", "list", "-export", "-overlay", overlay, "-f", "{{.BuildID}}", filepath.Dir(file)).Output()
	if err != nil {
		return ""
	}
	_, content, _ := strings.Cut(strings.TrimSpace(string(out)), "/") // behind what it was made of
	return content
}

// of runs the tests out of their binary, in the module's folder at root.
func (t shown) of(ctx context.Context, binary, root string, limit time.Duration) ([]byte, error) {
	cmd := exec.CommandContext(ctx, binary, "-test.short", "-test.failfast", "-test.timeout", limit.String(), "-test.run", t.run)
	cmd.Dir = filepath.Join(root, t.folder)
	return cmd.CombinedOutput()
}

// name is the test that failed, as the output says.
func (t shown) name(out string) string {
	name := t.folder
	if _, failed, ok := strings.Cut(out, "--- FAIL: "); ok {
		test, _, _ := strings.Cut(failed, " ")
		name += " " + test
	}
	if strings.Contains(out, "panic: test timed out") {
		name += ", which took too long"
	}
	return name
}

// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// attempt opens the folder for an attempt of a job, adds a line to metrics.jsonl,
// writes config.toml, and lets go.
func attempt(t *testing.T, path string, o Owner) (said []string) {
	t.Helper()
	f, err := OpenFolder(path, o, func(text string) { said = append(said, text) })
	if err != nil {
		t.Fatal(err)
	}
	file, err := f.Append(FileName)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(file, "%s %d\n", o.Job, o.Attempt)
	if err := f.Write("config.toml", func(w io.Writer) error { _, err := fmt.Fprint(w, o.Job); return err }); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return said
}

// files are the folder's, with what is in them.
func files(t *testing.T, path string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != LockName {
			text, err := os.ReadFile(filepath.Join(path, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, e.Name()+": "+string(text))
		}
	}
	return all
}

func TestNothingOfAnEarlierJobIsOverwritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "folder")
	if said := attempt(t, path, Owner{Job: "a"}); said != nil {
		t.Errorf("said %q", said)
	}
	attempt(t, path, Owner{Job: "a", Attempt: 1}) // goes on
	if err := os.WriteFile(filepath.Join(path, "metrics.1.jsonl"), []byte("the user's"), 0o666); err != nil {
		t.Fatal(err)
	}
	said := attempt(t, path, Owner{Job: "b"})
	attempt(t, path, Owner{Job: "c", Attempt: 3}) // of another job, whatever its number
	attempt(t, path, Owner{Job: "c", Attempt: 3}) // started again by hand
	if want := []string{path + "/metrics.jsonl of an earlier run is now metrics.2.jsonl", path + "/config.toml of an earlier run is now config.2.toml"}; !slices.Equal(said, want) {
		t.Errorf("said %q, want %q", said, want)
	}
	want := []string{
		"config.2.toml: a", "config.3.toml: b", "config.4.toml: c", "config.toml: c",
		"metrics.1.jsonl: the user's", "metrics.2.jsonl: a 0\na 1\n", "metrics.3.jsonl: b 0\n", "metrics.4.jsonl: c 3\n", "metrics.jsonl: c 3\n",
	}
	if got := files(t, path); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// A run that fails at once leaves an empty file, which nobody misses.
func TestAnEmptyFileIsNotKept(t *testing.T) {
	path := t.TempDir()
	if err := os.WriteFile(filepath.Join(path, FileName), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	attempt(t, path, Owner{Job: "a"})
	if got, want := files(t, path), []string{"config.toml: a", "metrics.jsonl: a 0\n"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// An attempt that was killed within a line leaves no broken one in the middle.
func TestALineThatWasCutIsRemoved(t *testing.T) {
	for _, tt := range []struct{ before, after string }{{"a 0\n{\"step\":2,\"lo", "a 0\na 1\n"}, {"{\"st", "a 1\n"}, {"", "a 1\n"}} {
		path := t.TempDir()
		attempt(t, path, Owner{Job: "a"})
		if err := os.WriteFile(filepath.Join(path, FileName), []byte(tt.before), 0o666); err != nil {
			t.Fatal(err)
		}
		attempt(t, path, Owner{Job: "a", Attempt: 1})
		if got := files(t, path)[1]; got != FileName+": "+tt.after {
			t.Errorf("%q, want %q", got, tt.after)
		}
	}
}

func TestAFolderIsHeldByOne(t *testing.T) {
	path := t.TempDir()
	if err := CheckFolder(path); err != nil {
		t.Errorf("a folder of nobody: %v", err)
	}
	f, err := OpenFolder(path, Owner{Job: "a", PID: 123, Host: "here"}, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("job.dump_folder = %q: process 123 on here writes there; wait for its end, or name another folder", path)
	if err := CheckFolder(path); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if _, err := OpenFolder(path, Owner{Job: "a", Attempt: 1}, func(string) {}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := CheckFolder(path); err != nil {
		t.Errorf("a folder that was held: %v", err)
	}
	attempt(t, path, Owner{Job: "b"})
}

// TestAnEarlierJobsSubfolderIsKept under another name, an earlier attempt's where it is.
func TestAnEarlierJobsSubfolderIsKept(t *testing.T) {
	path := t.TempDir()
	for _, o := range []Owner{{Job: "a"}, {Job: "a", Attempt: 1}, {Job: "b"}} {
		f, err := OpenFolder(path, o, func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		sub, err := f.Subfolder("tb")
		if err == nil {
			err = os.WriteFile(filepath.Join(sub, o.Job+fmt.Sprint(o.Attempt)), nil, 0o666)
		}
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	var all []string
	for _, pattern := range []string{"tb/*", "tb.1/*"} {
		found, _ := filepath.Glob(filepath.Join(path, pattern))
		for _, f := range found {
			all = append(all, strings.TrimPrefix(f, path+"/"))
		}
	}
	if want := []string{"tb/b0", "tb.1/a0", "tb.1/a1"}; !slices.Equal(all, want) {
		t.Errorf("%q, want %q", all, want)
	}
}

// TestARunGoesOnInItsFiles: whichever job wrote them, behind the step that it goes on from; another run's are renamed, and an attempt
// that begins again begins its files again.
func TestARunGoesOnInItsFiles(t *testing.T) {
	path := t.TempDir()
	write := func(o Owner, own bool, step int, lines string) {
		t.Helper()
		f, err := OpenFolder(path, o, func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		f.Resume(own, step)
		file, err := f.Append(FileName)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(file, lines)
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for i, tt := range []struct {
		owner Owner
		own   bool
		step  int
		lines string
		want  []string
	}{
		{Owner{Job: "a"}, false, 0, "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n{\"ste", []string{"metrics.jsonl: {\"step\":1}\n{\"step\":2}\n{\"step\":3}\n{\"ste"}},
		{Owner{Job: "b"}, true, 2, "{\"step\":3,\"of\":\"b\"}\n", []string{"metrics.jsonl: {\"step\":1}\n{\"step\":2}\n{\"step\":3,\"of\":\"b\"}\n"}},
		{Owner{Job: "b", Attempt: 1}, false, 0, "{\"step\":1}\n", []string{"metrics.jsonl: {\"step\":1}\n"}},
		{Owner{Job: "c"}, false, 0, "{\"step\":1}\n", []string{"metrics.1.jsonl: {\"step\":1}\n", "metrics.jsonl: {\"step\":1}\n"}},
		{Owner{Job: "d"}, true, 9, "", []string{"metrics.1.jsonl: {\"step\":1}\n", "metrics.jsonl: {\"step\":1}\n"}},
	} {
		write(tt.owner, tt.own, tt.step, tt.lines)
		if got := files(t, path); !slices.Equal(got, tt.want) {
			t.Errorf("%d: %q, want %q", i, got, tt.want)
		}
	}
}

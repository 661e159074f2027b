// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"octet/checkpoint"
	"octet/internal/pace"
	"octet/models/llama/hf"
)

// inspection is a line of the table of what octet checkpoint does.
type inspection struct {
	name, args, help string
	run              func(ctx context.Context, args []string) error
}

func inspections() []inspection {
	return []inspection{
		{"ls", "FOLDER", "the checkpoints in a folder, torn ones too", listCheckpoints},
		{"show", "[--config] CHECKPOINT", "step, layout, files and tensors of a checkpoint, or of a folder's newest", showCheckpoint},
		{"verify", "CHECKPOINT…", "read every byte, of all checkpoints of a folder too, and report all that is not as it was written", verifyCheckpoints},
		{"diff", "ONE OTHER", "which tensors differ, and by how much: of checkpoints (of a folder the newest), safetensors or Hugging Face's folders; exit code 1 if any", diffCheckpoints},
		{"convert", "--to hf|octet [flags] FROM TO", "a saved model in another format; --help has the flags", runConvert},
	}
}

// runCheckpoint is `octet checkpoint`, whose first argument says what is done.
func runCheckpoint(ctx context.Context, args []string) error {
	all := inspections()
	if len(args) > 0 {
		if i := slices.IndexFunc(all, func(c inspection) bool { return c.name == args[0] }); i >= 0 {
			c := all[i]
			err := c.run(ctx, args[1:])
			if errors.Is(err, pflag.ErrHelp) {
				fmt.Printf("usage: octet checkpoint %s %s: %s\n", c.name, c.args, c.help)
				return nil
			}
			if _, silent := errors.AsType[exitCode](err); err == nil || silent {
				return err
			}
			return fmt.Errorf("checkpoint %s: %w", c.name, err)
		}
	}
	var usage strings.Builder
	for _, c := range all {
		fmt.Fprintf(&usage, "  octet checkpoint %s %s\n        %s\n", c.name, c.args, c.help)
	}
	if slices.Contains(args, "-h") || slices.Contains(args, "--help") {
		fmt.Print("usage:\n" + usage.String())
		return nil
	}
	return usageError{fmt.Errorf("checkpoint: %q: want one of\n%s", args, usage.String())}
}

// only reads a command line without flags, of so many arguments.
func only(args []string, want string, least, most int) ([]string, error) {
	if slices.Contains(args, "-h") || slices.Contains(args, "--help") {
		return nil, pflag.ErrHelp
	}
	if len(args) < least || most > 0 && len(args) > most || slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "-") }) {
		return nil, usageError{fmt.Errorf("want %s, not %q", want, args)}
	}
	return args, nil
}

func listCheckpoints(_ context.Context, args []string) error {
	args, err := only(args, "FOLDER", 1, 1)
	if err != nil {
		return err
	}
	if _, err := os.Stat(args[0]); err != nil {
		return err
	}
	list, err := checkpoint.List(args[0])
	if err != nil {
		return err
	}
	if len(list) == 0 {
		say(args[0] + " has no checkpoints, which are folders like step-500")
		return nil
	}
	return table(os.Stdout, func(row func(cells ...any)) error {
		row("step", "of", "tokens", "size", "ranks", "saved", "folder")
		for _, l := range list {
			c, err := checkpoint.Open(l.Dir)
			if err != nil {
				row(l.Step, "torn", "-", "-", "-", "-", l.Dir)
				continue
			}
			what, saved := "a run", "-"
			if c.Index.ModelOnly {
				what = "weights"
			}
			if info, err := os.Stat(filepath.Join(l.Dir, checkpoint.IndexName)); err == nil {
				saved = info.ModTime().Format(time.DateTime)
			}
			row(l.Step, what, c.Index.Tokens, size(c.Index.Bytes()), mesh(c.Index), saved, l.Dir)
			if err := c.Close(); err != nil {
				return err
			}
		}
		return nil
	})
}

func showCheckpoint(_ context.Context, args []string) error {
	flags := pflag.NewFlagSet("octet checkpoint show", pflag.ContinueOnError)
	config := flags.Bool("config", false, "print the configuration that it was saved with, as TOML, and nothing else")
	flags.Usage = func() {
		fmt.Fprintf(os.Stdout, "usage: octet checkpoint show [--config] CHECKPOINT\n\n%s", flags.FlagUsages())
	}
	if err := flags.Parse(args); errors.Is(err, pflag.ErrHelp) {
		return nil
	} else if err != nil {
		return usageError{err}
	}
	args, err := only(flags.Args(), "CHECKPOINT", 1, 1)
	if err != nil {
		return err
	}
	dirs := namedBy(args)
	c, err := checkpoint.Open(dirs[len(dirs)-1])
	if err != nil {
		return err
	}
	defer c.Close()
	x := c.Index
	if *config {
		fmt.Print(x.Config)
		return nil
	}
	fmt.Printf("step %d, %d tokens, seed %d, the learning rate's curve at %d\n", x.Step, x.Tokens, x.Seed, x.ScheduleStep)
	fmt.Printf("model %s\n", x.Model)
	fmt.Printf("data  sample %d of windows of %d tokens, %s\n", x.Data.Position, x.Data.SeqLen, cmp.Or(x.Data.Fingerprint, "no fingerprint"))
	fmt.Printf("saved by %s on ranks %s, %d tensors, %s in %d files\n\n", cmp.Or(x.Job, "nobody who says so"), mesh(x), len(x.Tensors), size(x.Bytes()), len(x.Files))
	if err := table(os.Stdout, func(row func(cells ...any)) error {
		row("file", "size", "sha256")
		for _, name := range slices.Sorted(maps.Keys(x.Files)) {
			row(name, size(x.Files[name].Size), x.Files[name].SHA256)
		}
		return nil
	}); err != nil {
		return err
	}
	fmt.Println()
	return table(os.Stdout, func(row func(cells ...any)) error {
		row("tensor", "type", "shape", "size", "parts")
		for _, name := range c.Names() {
			t := x.Tensors[name]
			row(name, t.DType, fmt.Sprint(t.Shape), size(t.Bytes()), len(t.Parts))
		}
		return nil
	})
}

// namedBy are the checkpoints at paths, and the paths that have none, whose opening says what they lack.
func namedBy(paths []string) (dirs []string) {
	for _, path := range paths {
		at := checkpoint.At(path)
		if len(at) == 0 {
			at = []string{path}
		}
		dirs = append(dirs, at...)
	}
	return dirs
}

func verifyCheckpoints(_ context.Context, args []string) error {
	args, err := only(args, "CHECKPOINT…", 1, 0)
	if err != nil {
		return err
	}
	for _, dir := range namedBy(args) {
		c, err := checkpoint.Open(dir)
		if err != nil {
			return err
		}
		err = c.Verify(progress(dir, c.Index.Bytes()))
		if err := errors.Join(err, c.Close()); err != nil {
			return err
		}
		fmt.Printf("%s: step %d, %d tensors, %s in %d files: every byte is as it was written\n", dir, c.Index.Step, len(c.Index.Tensors), size(c.Index.Bytes()), len(c.Index.Files))
	}
	return nil
}

func diffCheckpoints(_ context.Context, args []string) error {
	args, err := only(args, "ONE OTHER", 2, 2)
	if err != nil {
		return err
	}
	one, err := openTensors(args[0])
	if err != nil {
		return err
	}
	defer one.Close()
	other, err := openTensors(args[1])
	if err != nil {
		return err
	}
	defer other.Close()
	all, err := checkpoint.Diff(one, other, progress("compared", 0))
	for _, d := range all {
		fmt.Println(d)
	}
	if err != nil {
		return err
	}
	fmt.Printf("%d of %d tensors differ\n", len(all), len(one.Names()))
	if len(all) > 0 {
		return exitCode(1)
	}
	return nil
}

// openTensors opens a checkpoint or a folder's newest, safetensors files, or a folder of Hugging Face's, whose tensors it calls by octet's names.
func openTensors(path string) (checkpoint.Source, error) {
	if _, err := os.Stat(filepath.Join(path, hf.ConfigName)); err == nil {
		m, err := openSaved(path, "")
		if err != nil {
			return nil, err
		}
		return m.from, nil
	}
	dirs := namedBy([]string{path})
	return checkpoint.OpenSource(dirs[len(dirs)-1])
}

// progress says every two seconds how far something is, of so many bytes; 0: not known.
func progress(what string, all int64) func(bytes int) {
	var read int64
	due := pace.Every(2 * time.Second)
	return func(bytes int) {
		if read += int64(bytes); !due() {
			return
		}
		of := ""
		if all > 0 {
			of = " of " + size(all)
		}
		say(fmt.Sprintf("%s: %s%s", what, size(read), of))
	}
}

// table writes rows of cells, in columns.
func table(w io.Writer, fill func(row func(cells ...any)) error) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	err := fill(func(cells ...any) {
		for _, c := range cells {
			fmt.Fprint(t, c, "\t")
		}
		fmt.Fprintln(t)
	})
	return errors.Join(err, t.Flush())
}

// size is a number of bytes for people.
func size(bytes int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, i := float64(bytes), 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", bytes)
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}

// mesh is how the ranks that saved a checkpoint lay.
func mesh(x *checkpoint.Index) string {
	var axes []string
	for _, a := range x.Mesh {
		axes = append(axes, fmt.Sprintf("%s=%d", a.Name, a.Size))
	}
	return cmp.Or(strings.Join(axes, ","), "-")
}

// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/go-multierror"
)

// ErrHelp is what Load returns when the arguments ask for help.
var ErrHelp = errors.New("help asked for")

const (
	configFile  = "job.config_file"
	commandLine = "command line" // the place of what was set there
)

// File is a TOML file that has been read: what a launcher hands to its ranks, so that they run what it checked, also
// where the file was a pipe.
type File struct{ Path, Text string }

// Load reads flags, and first the file that --config (or --job.config_file) names, unless read has the text of a file of
// that path. A flag is --section.field=value or --section.field value; a bool also --section.field and
// --section.no_field; a list is separated by commas; a dash in a name is an underscore; of flags given twice the last
// wins. The error holds every problem found in the file and in the flags; it is ErrHelp for -h and --help.
func Load(args []string, read ...File) (*Config, error) {
	if slices.Contains(args, "-h") || slices.Contains(args, "--help") {
		return nil, ErrHelp
	}
	c := Default()
	p := flagParser{known: fields(c), foreign: newForeignTable()}
	p.parse(args)
	problems := p.problems
	if path, ok := p.last(configFile); ok {
		problems = multierror.Append(problems, c.readFile(path, read))
	}
	for i, f := range p.flags {
		if own, ok := p.known[f.name]; ok {
			if err := own.parse(f.value); err != nil {
				problems = multierror.Append(problems, fmt.Errorf("--%s: %w", f.name, err))
			}
			c.origin[f.name] = commandLine
		} else if entry, _ := p.foreign.find(f.name); !slices.ContainsFunc(p.flags[i+1:], func(later flag) bool { return later.name == f.name }) {
			note, err := entry.judge(f.name, f.value, shorten(f.value))
			if err != nil {
				problems = multierror.Append(problems, fmt.Errorf("%s: %w", commandLine, err))
			}
			c.tell(commandLine, note)
		}
	}
	c.tellIdle()
	if problems.ErrorOrNil() != nil {
		// What was read can be judged beside what could not be, so that a user sees all there is to change at once.
		return nil, listed(multierror.Append(problems, c.values()), c.Notes)
	}
	c.resolve()
	return c, nil
}

// tellIdle tells of the keys that were set to something although another key leaves them without effect.
func (c *Config) tellIdle() {
	v := c.validator()
	for _, s := range sections(c) {
		for _, f := range s.fields {
			if place, ok := c.origin[f.name]; ok && f.idle(v.fields) && !v.isDefault(f) {
				state, key := "is false", f.tag.Get("when")
				if k, want, ok := strings.Cut(key, "="); ok {
					key, state = k, "is not "+want
				} else if k, least, ok := strings.Cut(key, ">"); ok {
					key, state = k, "is "+least
				}
				c.tell(place, fmt.Sprintf("%s = %s has no effect while %s %s", f.name, f.quoted(), key, state))
			}
		}
	}
}

// resolve replaces aliases and notes what the run will do differently from what was written.
func (c *Config) resolve() {
	for i, name := range c.Model.Converters {
		if name == "float8" {
			c.Model.Converters[i] = Float8Converter
			c.note("model.converters: float8 is now called %s", Float8Converter)
		}
	}
	if c.Checkpoint.Enable && c.Checkpoint.AsyncMode == "async_with_pinned_mem" {
		c.note("checkpoint.async_mode: async_with_pinned_mem is async here: the copy is in the rank's own memory")
	}
	if p := c.Profiling; p.EnableProfiling && p.ProfileFreq > c.Training.Steps {
		c.note("profiling.profile_freq = %d: no trace is written in %d steps", p.ProfileFreq, c.Training.Steps)
	}
	total, warmup, ratio := c.TotalSteps(), c.LRScheduler.WarmupSteps, c.LRScheduler.DecayRatio
	if warmup > total {
		c.note("lr_scheduler.warmup_steps = %d is cut to the %d steps of the curve", warmup, total)
	} else if ratio != nil && float64(warmup)+*ratio*float64(total) > float64(total) {
		c.note("lr_scheduler.decay_ratio = %g of %d steps reaches into the %d steps of warmup: it is cut", *ratio, total, warmup)
	}
}

// tell notes text, unless it is empty, with the place of what it is about.
func (c *Config) tell(place, text string) {
	if text != "" {
		c.note("%s: %s", place, text)
	}
}

func (c *Config) note(format string, args ...any) {
	c.Notes = append(c.Notes, fmt.Sprintf(format, args...))
}

// flag is one option of the command line: the name of a key, and its value's text.
type flag struct{ name, value string }

// flagParser splits arguments into flags of known keys, without looking at the values.
type flagParser struct {
	known    map[string]field
	foreign  foreignTable
	flags    []flag
	problems *multierror.Error
}

// last is the value of the last flag of a name.
func (p *flagParser) last(name string) (value string, ok bool) {
	for _, f := range p.flags {
		if f.name == name {
			value, ok = f.value, true
		}
	}
	return value, ok
}

func (p *flagParser) parse(args []string) {
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		name, isFlag := strings.CutPrefix(arg, "--")
		name, value, hasValue := strings.Cut(name, "=")
		name = normalize(name)
		if name == "config" {
			name = configFile
		}
		if !isFlag || name == "" {
			p.problem("unexpected argument %s; a flag is --section.field=value", shorten(arg))
			continue
		}
		nextIsValue := len(args) > 0 && !strings.HasPrefix(args[0], "--")
		full, kind, negated := p.lookup(name, hasValue)
		switch {
		case kind == "":
			p.problems = multierror.Append(p.problems, unknown("flag", "--"+name, flagNames(p.known)))
			if !hasValue && nextIsValue {
				args = args[1:] // most likely its value: one mistake, one message
			}
			continue
		case negated:
			value = "false"
		case hasValue:
		case kind == "bool":
			value = "true"
			if nextIsValue && (args[0] == "true" || args[0] == "false") {
				value, args = args[0], args[1:]
			}
		case nextIsValue:
			value, args = args[0], args[1:]
		case kind == foreignKind:
			value = "true"
		default:
			p.problem("--%s needs a value: %s", name, article(kind))
			continue
		}
		p.flags = append(p.flags, flag{full, value})
	}
}

// foreignKind is the kind of a key of torchtitan's: what a user has given, or true where that is nothing.
const foreignKind = "foreign"

// lookup finds the key that a flag sets and its kind, which is "" if there is none; negated says that the flag is
// --section.no_field.
func (p *flagParser) lookup(name string, hasValue bool) (full, kind string, negated bool) {
	if f, ok := p.known[name]; ok {
		return name, f.kind(), false
	}
	if _, ok := p.foreign.find(name); ok {
		return name, foreignKind, false
	}
	if full = withoutNo(name); hasValue || full == name {
		return name, "", false
	}
	if f, ok := p.known[full]; ok && f.kind() == "bool" {
		return full, "bool", true
	}
	if _, ok := p.foreign.find(full); ok {
		return full, foreignKind, true
	}
	return name, "", false
}

func (p *flagParser) problem(format string, args ...any) {
	p.problems = multierror.Append(p.problems, fmt.Errorf(format, args...))
}

// withoutNo turns section.no_field into section.field.
func withoutNo(name string) string {
	last := leaf(name)
	return strings.TrimSuffix(name, last) + strings.TrimPrefix(last, "no_")
}

func flagNames(known map[string]field) []string {
	names := []string{"--config"}
	for name := range known {
		names = append(names, "--"+name)
	}
	return names
}

// listed makes one error of all problems, one a line, and of what else a user should know; nil if there is no problem.
func listed(problems *multierror.Error, notes []string) error {
	if problems != nil {
		problems.ErrorFormat = func(errs []error) string {
			if len(errs) == 1 && len(notes) == 0 {
				return errs[0].Error()
			}
			lines := []string{fmt.Sprintf("%d problems:", len(errs))}
			if len(errs) == 1 {
				lines[0] = "1 problem:"
			}
			for _, err := range errs {
				lines = append(lines, err.Error())
			}
			text := strings.Join(lines, "\n\t")
			if len(notes) > 0 {
				text += "\nand, to know:\n\t" + strings.Join(notes, "\n\t")
			}
			return text
		}
	}
	return problems.ErrorOrNil()
}

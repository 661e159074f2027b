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

const configFile = "job.config_file"

// Load reads flags, and first the file that --config (or --job.config_file) names. A flag is --section.field=value or
// --section.field value; a bool also --section.field and --section.no_field; a list is separated by commas; a dash in
// a name is an underscore. The error holds every problem found in the file and in the flags; it is ErrHelp for -h
// and --help.
func Load(args []string) (*Config, error) {
	if slices.Contains(args, "-h") || slices.Contains(args, "--help") {
		return nil, ErrHelp
	}
	c := Default()
	byName := fields(c)
	flags, problems := parseFlags(args, byName)
	for _, f := range flags {
		if f.name == configFile {
			problems = multierror.Append(problems, c.readFile(f.value))
		}
	}
	for _, f := range flags {
		if err := byName[f.name].parse(f.value); err != nil {
			problems = multierror.Append(problems, fmt.Errorf("--%s: %w", f.name, err))
		}
		c.origin[f.name] = "command line"
	}
	if err := listed(problems); err != nil {
		return nil, err
	}
	c.resolve()
	return c, nil
}

// resolve replaces aliases and notes what the run will do differently from what was written.
func (c *Config) resolve() {
	for i, name := range c.Model.Converters {
		if name == "float8" {
			c.Model.Converters[i] = Float8Converter
			c.note("model.converters: float8 is now called %s", Float8Converter)
		}
	}
	total, warmup, ratio := c.TotalSteps(), c.LRScheduler.WarmupSteps, c.LRScheduler.DecayRatio
	if warmup > total {
		c.note("lr_scheduler.warmup_steps = %d is cut to the %d steps of the curve", warmup, total)
	} else if ratio != nil && float64(warmup)+*ratio*float64(total) > float64(total) {
		c.note("lr_scheduler.decay_ratio = %g of %d steps reaches into the %d steps of warmup: it is cut", *ratio, total, warmup)
	}
}

func (c *Config) note(format string, args ...any) {
	c.Notes = append(c.Notes, fmt.Sprintf(format, args...))
}

// flag is one option of the command line: the name of a field, and its value's text.
type flag struct{ name, value string }

// parseFlags splits arguments into flags of known fields, without looking at the values.
func parseFlags(args []string, known map[string]field) ([]flag, *multierror.Error) {
	var flags []flag
	var problems *multierror.Error
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
			problems = multierror.Append(problems, fmt.Errorf("unexpected argument %q; a flag is --section.field=value", arg))
			continue
		}
		nextIsValue := len(args) > 0 && !strings.HasPrefix(args[0], "--")
		f, ok := known[name]
		negated := false
		if !ok && !hasValue {
			f, negated = known[withoutNo(name)]
			negated = negated && f.kind() == "bool"
		}
		switch {
		case negated:
			name, value = f.name, "false"
		case !ok:
			problems = multierror.Append(problems, unknown("flag", "--"+name, flagNames(known)))
			if !hasValue && nextIsValue {
				args = args[1:] // most likely its value: one mistake, one message
			}
			continue
		case hasValue:
		case f.kind() == "bool":
			value = "true"
			if nextIsValue && (args[0] == "true" || args[0] == "false") {
				value, args = args[0], args[1:]
			}
		case nextIsValue:
			value, args = args[0], args[1:]
		default:
			problems = multierror.Append(problems, fmt.Errorf("--%s needs a value: %s", name, article(f.kind())))
			continue
		}
		if slices.ContainsFunc(flags, func(earlier flag) bool { return earlier.name == name }) {
			problems = multierror.Append(problems, fmt.Errorf("--%s is given twice", name))
			continue
		}
		flags = append(flags, flag{name, value})
	}
	return flags, problems
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

// listed makes one error of all problems, one a line; nil if there is none.
func listed(problems *multierror.Error) error {
	if problems != nil {
		problems.ErrorFormat = func(errs []error) string {
			if len(errs) == 1 {
				return errs[0].Error()
			}
			lines := []string{fmt.Sprintf("%d problems:", len(errs))}
			for _, err := range errs {
				lines = append(lines, err.Error())
			}
			return strings.Join(lines, "\n\t")
		}
	}
	return problems.ErrorOrNil()
}

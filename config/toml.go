// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/go-multierror"
	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// maxFile is the most bytes of a configuration file: a launcher hands its text to the ranks in a variable of their
// environment, which Linux limits to 128 KiB, and in which it may take a third more.
const maxFile = 64 << 10

// readFile sets the fields that the TOML file gives, whose text may be in read. The error holds every problem, each with
// file and line.
func (c *Config) readFile(path string, read []File) error {
	at := slices.IndexFunc(read, func(f File) bool { return f.Path == path })
	if at < 0 {
		text, err := readLimited(path)
		if err != nil {
			return fmt.Errorf("--config %s: %w", shorten(path), reason(err))
		}
		read, at = []File{{path, text}}, 0
	}
	c.file = &read[at]
	return c.readTOML(path, []byte(c.file.Text))
}

func readLimited(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("it has more than the %d bytes that a configuration may have", maxFile)
	}
	return string(data), err
}

// File is the TOML file that c was read from; ok is false if there was none.
func (c *Config) File() (f File, ok bool) {
	if c.file == nil {
		return File{}, false
	}
	return *c.file, true
}

func (c *Config) readTOML(path string, data []byte) error {
	lines, err := keyLines(path, data)
	if err != nil {
		return err
	}
	var tree map[string]any
	if err := toml.Unmarshal(data, &tree); err != nil {
		return syntaxError(path, err)
	}
	r := tomlReader{config: c, path: path, lines: lines, fields: fields(c), sections: sectionNames(c), foreign: newForeignTable()}
	r.table("", tree)
	return r.problems.ErrorOrNil()
}

// keyLines maps each key and table of a TOML document, by its full name, to its line. It refuses a key given twice,
// whichever way it is spelled. What is not TOML at all ends it early: Unmarshal will say where.
func keyLines(path string, data []byte) (map[string]int, error) {
	k := keyIndex{path: path, lines: make(map[string]int)}
	k.parser.Reset(data)
	table := ""
	for k.parser.NextExpression() {
		if node := k.parser.Expression(); node.Kind == unstable.KeyValue {
			k.visit(table, node)
		} else { // [table] or [[array of tables]]
			table = k.visit("", node)
		}
	}
	return k.lines, k.problems.ErrorOrNil()
}

// keyIndex collects lines over the nodes of a document.
type keyIndex struct {
	parser   unstable.Parser
	path     string
	lines    map[string]int
	problems *multierror.Error
}

// visit enters a node that has a key, and what is inside it, and returns the key's full name.
func (k *keyIndex) visit(prefix string, node *unstable.Node) string {
	var line, first int
	var seen bool
	name := prefix
	for key := node.Key(); key.Next(); {
		line = k.parser.Shape(key.Node().Raw).Start.Line
		name = join(name, string(key.Node().Data))
		if first, seen = k.lines[name]; !seen {
			k.lines[name] = line
		}
	}
	if node.Kind != unstable.KeyValue {
		return name
	}
	if seen {
		k.problems = multierror.Append(k.problems, fmt.Errorf("%s:%d: %s is given twice, first on line %d", k.path, line, name, first))
	}
	if node.Value().Kind == unstable.InlineTable {
		for child := node.Value().Children(); child.Next(); {
			k.visit(name, child.Node())
		}
	}
	return name
}

// tomlReader moves a parsed document into a Config.
type tomlReader struct {
	config   *Config
	path     string
	lines    map[string]int
	fields   map[string]field
	sections []string
	foreign  foreignTable
	problems *multierror.Error
}

func (r *tomlReader) table(prefix string, tree map[string]any) {
	keys := slices.SortedFunc(maps.Keys(tree), func(a, b string) int {
		return cmp.Or(r.lines[join(prefix, a)]-r.lines[join(prefix, b)], strings.Compare(a, b))
	})
	for _, key := range keys {
		name, value := join(prefix, key), tree[key]
		f, isField := r.fields[name]
		sub, isTable := value.(map[string]any)
		entry, isForeign := r.foreign.find(name)
		isSection := slices.ContainsFunc(r.sections, func(s string) bool { return s == name || strings.HasPrefix(s, name+".") })
		switch {
		case name == configFile:
			r.problem(name, errors.New("job.config_file belongs on the command line: a file does not name another"))
		case isField:
			if err := f.set(value); err != nil {
				r.problem(name, fmt.Errorf("%s: %w", name, err))
			}
			r.config.origin[name] = fmt.Sprintf("%s:%d", r.path, r.lines[name])
		case isSection && isTable:
			r.table(name, sub)
		case isSection:
			r.problem(name, fmt.Errorf("%s: found %s; want a table", name, describe(value)))
		case isTable && r.foreign.holds(name):
			r.table(name, sub)
		case isForeign:
			note, err := entry.judge(name, typed(value), shown(value))
			if err != nil {
				r.problem(name, err)
			}
			r.config.tell(fmt.Sprintf("%s:%d", r.path, r.lines[name]), note)
		case isTable:
			r.problem(name, unknown("section", name, r.sections))
		default:
			r.problem(name, unknown("key", name, slices.Collect(maps.Keys(r.fields))))
		}
	}
}

func (r *tomlReader) problem(name string, err error) {
	r.problems = multierror.Append(r.problems, fmt.Errorf("%s:%d: %w", r.path, r.lines[name], err))
}

// syntaxError puts file and line before an error of the TOML library.
func syntaxError(path string, err error) error {
	var at *toml.DecodeError
	if errors.As(err, &at) {
		line, column := at.Position()
		return fmt.Errorf("%s:%d:%d: %w", path, line, column, err)
	}
	return fmt.Errorf("%s: %w", path, err)
}

func sectionNames(c *Config) []string {
	var names []string
	for _, s := range sections(c) {
		names = append(names, s.name)
	}
	return names
}

// join appends a key to a section's name, in the spelling of the declarations: dashes become underscores.
func join(section, key string) string {
	key = normalize(key)
	if section == "" {
		return key
	}
	return section + "." + key
}

func normalize(name string) string { return strings.ReplaceAll(name, "-", "_") }

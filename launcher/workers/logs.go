// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Std is a set of streams: Stdout, Stderr, both or none.
type Std int

// The streams, with the numbers of --redirects and --tee.
const (
	Stdout Std = 1
	Stderr Std = 2
)

// Streams chooses streams per local rank.
type Streams struct {
	All   Std         // of ranks that Local does not name
	Local map[int]Std // by local rank
}

// ParseStreams reads the value of --redirects or --tee: a number 0 to 3 for all
// ranks, or "0:1,1:2", a number for each local rank named.
func ParseStreams(text string) (Streams, error) {
	one := func(s string) (Std, error) {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 || n > 3 {
			return 0, fmt.Errorf("%q: want 0 (none), 1 (stdout), 2 (stderr), 3 (both), or a list such as 0:1,1:2 by local rank", text)
		}
		return Std(n), nil
	}
	if !strings.Contains(text, ":") {
		std, err := one(text)
		return Streams{All: std}, err
	}
	s := Streams{Local: map[int]Std{}}
	for part := range strings.SplitSeq(text, ",") {
		rank, std, _ := strings.Cut(part, ":")
		r, err := strconv.Atoi(rank)
		if err != nil || r < 0 {
			return s, fmt.Errorf("%q: %q is not a local rank", text, rank)
		}
		if s.Local[r], err = one(std); err != nil {
			return s, err
		}
	}
	return s, nil
}

// of returns the streams chosen for a local rank.
func (s Streams) of(local int) Std {
	if std, ok := s.Local[local]; ok {
		return std
	}
	return s.All
}

// Logs says where the output of the ranks goes. A stream in neither Redirects
// nor Tee goes to the console.
type Logs struct {
	// Dir is the directory of this run: Dir/attempt_<n>/<local rank>/ holds
	// stdout.log, stderr.log and error.json. Empty: no files.
	Dir       string
	Redirects Streams // to the file only
	Tee       Streams // to the file and the console

	Prefix        string       // template of a line's mark on the console, as DefaultPrefix
	ConsoleFilter map[int]bool // local ranks that the console shows; nil: all

	// Lines with one of these words also go to attempt_<n>/filtered_stdout.log
	// and filtered_stderr.log.
	StdoutFilters, StderrFilters []string

	Lost *Lost // of what goes to files
}

// DefaultPrefix marks lines as torchrun does.
const DefaultPrefix = "[${role_name}${local_rank}]:"

// prefixNames are the values of the macros of a prefix.
type prefixNames struct {
	role        string
	local, rank int
}

func (l Logs) prefix(n prefixNames) string {
	hostname, _ := os.Hostname()
	return strings.NewReplacer("${role_name}", n.role, "${local_rank}", strconv.Itoa(n.local),
		"${rank}", strconv.Itoa(n.rank), "${hostname}", hostname).Replace(l.Prefix)
}

// MarkWidth is how many columns of rank 0's lines are their mark.
func (l Logs) MarkWidth(role string) int {
	return utf8.RuneCountInString(l.prefix(prefixNames{role: role}))
}

func (l Logs) attemptDir(attempt int) string {
	return filepath.Join(l.Dir, "attempt_"+strconv.Itoa(attempt))
}

// errorFile is where a rank may leave the reason of its failure; "" for nowhere.
func (l Logs) errorFile(attempt, local int) string {
	if l.Dir == "" {
		return ""
	}
	return filepath.Join(l.attemptDir(attempt), strconv.Itoa(local), "error.json")
}

// logFiles are the files that the ranks of an attempt share.
type logFiles struct{ filtered [2]*lockedFile }

func (l Logs) open(attempt int) (*logFiles, error) {
	files := &logFiles{}
	if l.Dir == "" {
		return files, nil
	}
	if err := os.MkdirAll(l.attemptDir(attempt), 0o755); err != nil {
		return nil, fmt.Errorf("log directory: %w", err)
	}
	for i, words := range [][]string{l.StdoutFilters, l.StderrFilters} {
		if len(words) == 0 {
			continue
		}
		f, err := os.Create(filepath.Join(l.attemptDir(attempt), "filtered_"+stdNames[i]+".log"))
		if err != nil {
			files.close()
			return nil, err
		}
		files.filtered[i] = &lockedFile{f: f, lost: l.Lost}
	}
	return files, nil
}

func (f *logFiles) close() {
	for _, l := range f.filtered {
		if l != nil {
			l.f.Close()
		}
	}
}

var stdNames = [2]string{"stdout", "stderr"}

// sinks makes the two sinks of a rank.
func (l Logs) sinks(files *logFiles, attempt int, names prefixNames, console *Console) ([2]*sink, error) {
	var sinks [2]*sink
	tee, redirect := l.Tee.of(names.local), l.Redirects.of(names.local)
	dir := filepath.Join(l.attemptDir(attempt), strconv.Itoa(names.local))
	if l.Dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return sinks, fmt.Errorf("log directory: %w", err)
		}
	}
	for i, words := range [][]string{l.StdoutFilters, l.StderrFilters} {
		std := Std(1 << i)
		s := &sink{fd: i + 1, prefix: l.prefix(names), filtered: files.filtered[i], lost: l.Lost}
		if s.filtered != nil {
			s.filters = words
		}
		if (tee|redirect)&std != 0 && l.Dir != "" {
			f, err := os.Create(filepath.Join(dir, stdNames[i]+".log"))
			if err != nil {
				return sinks, errors.Join(err, sinks[0].close())
			}
			s.file = f
		}
		shown := l.ConsoleFilter == nil || l.ConsoleFilter[names.local]
		if shown && (redirect&std == 0 || tee&std != 0) {
			s.console = console
		}
		sinks[i] = s
	}
	return sinks, nil
}

// close closes the file of a sink whose rank was not started.
func (s *sink) close() error {
	if s == nil || s.file == nil {
		return nil
	}
	return s.file.Close()
}

// Any reports whether a stream of any rank is chosen.
func (s Streams) Any() bool {
	for _, std := range s.Local {
		if std != 0 {
			return true
		}
	}
	return s.All != 0
}

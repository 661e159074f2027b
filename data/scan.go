// SPDX-License-Identifier: Apache-2.0

package data

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"unicode/utf8"
)

// pieceBytes is how much of a file one goroutine scans; it is part of what Fingerprint means.
const pieceBytes = 64 << 20

// readBytes is how much it has in memory; every width of ids divides it.
const readBytes = 1 << 20

// piece is a part of a file.
type piece struct {
	file          int
	offset, bytes int64
}

// pieces cuts all files into parts of pieceBytes and one that is shorter.
func (s *Source) pieces() []piece {
	var all []piece
	for i, f := range s.files {
		for at := int64(0); at < f.size; at += pieceBytes {
			all = append(all, piece{i, at, min(pieceBytes, f.size-at)})
		}
	}
	return all
}

// Scan opens every file, and of a data set of tokens it reads all ids, on all cores: the error is that of the first file that cannot be
// read, or of the first id that is outside the vocabulary. Now and then it calls progress, which may be nil, with the bytes that were read
// and the bytes there are. What documents became is not read: those who made it knew the vocabulary.
func (s *Source) Scan(progress func(read, all int64)) error {
	if s.made != nil {
		return nil
	}
	if s.width == 1 { // every byte is in the vocabulary
		return s.failure(each(len(s.files), func(i int) error {
			f, err := os.Open(s.files[i].path)
			if err != nil {
				return err
			}
			return f.Close()
		}))
	}
	read := s.counted(progress)
	pieces := s.pieces()
	i, err := each(len(pieces), func(i int) error {
		p := pieces[i]
		at := p.offset / s.width
		return s.read(p, func(raw []byte) error {
			for j := range len(raw) / int(s.width) {
				if id := idAt(raw, s.width, j); uint64(id) >= uint64(s.vocab) {
					return s.outside(id, at+int64(j))
				}
			}
			at += int64(len(raw)) / s.width
			read(len(raw))
			return nil
		})
	})
	if err != nil {
		i = pieces[i].file
	}
	return s.failure(i, err)
}

// counted returns what adds up the bytes of all files that were read, and tells progress, which may be nil.
func (s *Source) counted(progress func(read, all int64)) func(bytes int) {
	var all int64
	for _, f := range s.files {
		all += f.size
	}
	var done atomic.Int64
	return func(bytes int) {
		if read := done.Add(int64(bytes)); progress != nil {
			progress(read, all)
		}
	}
}

// Fingerprint is the SHA-256, in hexadecimal digits, of the files in their order: of each its path from the root on and a zero byte, its
// size in 8 bytes, little-endian, and the SHA-256 of every 64 MiB of its contents. It reads every byte. Of documents that became ids it is one of
// the documents, the tokenizer and what else the ids depend on, and is known.
func (s *Source) Fingerprint() (string, error) {
	if s.made != nil {
		return s.made.fingerprint, nil
	}
	return s.fingerprint(nil)
}

func (s *Source) fingerprint(progress func(read, all int64)) (string, error) {
	read := s.counted(progress)
	pieces := s.pieces()
	sums := make([][sha256.Size]byte, len(pieces))
	if i, err := each(len(pieces), func(i int) error {
		h := sha256.New()
		if err := s.read(pieces[i], func(raw []byte) error {
			read(len(raw))
			_, err := h.Write(raw)
			return err
		}); err != nil {
			return err
		}
		h.Sum(sums[i][:0])
		return nil
	}); err != nil {
		return "", s.failure(pieces[i].file, err)
	}
	all := sha256.New()
	for i, p := range pieces {
		if p.offset == 0 {
			f := s.files[p.file]
			all.Write(binary.LittleEndian.AppendUint64([]byte(f.rel+"\x00"), uint64(f.size))) // a hash.Hash never fails
		}
		all.Write(sums[i][:])
	}
	return fmt.Sprintf("%x", all.Sum(nil)), nil
}

// read hands the bytes of a piece to use, some at a time.
func (s *Source) read(p piece, use func(raw []byte) error) error {
	f, err := os.Open(s.files[p.file].path)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, min(readBytes, p.bytes))
	for at, end := p.offset, p.offset+p.bytes; at < end; {
		raw := buf[:min(int64(len(buf)), end-at)]
		if n, err := f.ReadAt(raw, at); n < len(raw) {
			return s.short(p.file, at+int64(n), err)
		}
		if err := use(raw); err != nil {
			return err
		}
		at += int64(len(raw))
	}
	return nil
}

// short explains why file i could not be read beyond a byte.
func (s *Source) short(i int, at int64, err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("it had %d bytes when it was listed, now it ends at %d", s.files[i].size, at)
	}
	return err
}

// failure says of which file err is.
func (s *Source) failure(i int, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("data: %s = %q: %s: %w", s.field, s.root, s.files[i].path, err)
}

// dropBinaries leaves out the files that are not text.
func (s *Source) dropBinaries() error {
	text := make([]bool, len(s.files))
	if i, err := each(len(s.files), func(i int) (err error) {
		text[i], err = s.isText(i)
		return err
	}); err != nil {
		return fmt.Errorf("%s: %w", s.files[i].path, err)
	}
	var kept []file
	for i, f := range s.files {
		if text[i] {
			kept = append(kept, f)
		}
	}
	s.leftOut.noText = len(s.files) - len(kept)
	s.files = kept
	return nil
}

// errNoText ends the reading of a file.
var errNoText = errors.New("not UTF-8 text")

// isText reports whether file i is UTF-8 without a zero byte.
func (s *Source) isText(i int) (bool, error) {
	var rest []byte // a character that was cut
	err := s.read(piece{i, 0, s.files[i].size}, func(raw []byte) error {
		if len(rest) > 0 {
			raw = append(rest, raw...)
		}
		whole := len(raw)
		for back := 1; back < utf8.UTFMax && back <= len(raw); back++ {
			if at := len(raw) - back; utf8.RuneStart(raw[at]) {
				if !utf8.FullRune(raw[at:]) {
					whole = at
				}
				break
			}
		}
		if bytes.IndexByte(raw, 0) >= 0 || !utf8.Valid(raw[:whole]) {
			return errNoText
		}
		rest = append([]byte(nil), raw[whole:]...)
		return nil
	})
	if errors.Is(err, errNoText) {
		return false, nil
	}
	return err == nil && len(rest) == 0, err
}

// each calls f with 0 to n-1, on all cores, and returns the first of them that failed and its error. After a failure it begins no more.
func each(n int, f func(i int) error) (int, error) {
	errs := make([]error, n)
	var next atomic.Int64
	var failed atomic.Bool
	var wg sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for !failed.Load() {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if errs[i] = f(i); errs[i] != nil {
					failed.Store(true)
				}
			}
		})
	}
	wg.Wait()
	for i, err := range errs { // whatever is before one that failed was begun before it
		if err != nil {
			return i, err
		}
	}
	return 0, nil
}

// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package gemm

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"octet/device/cuda/api"
	"octet/dtype"
	"octet/internal/durable"
)

// What a tuning found is kept in a file, in little-endian numbers: magic, the chip, the number of records, the records, and the
// SHA-256 of all that. Types are cuBLASLt's numbers. An algorithm is cuBLASLt's own struct, which means something to the version
// that made it alone, on the GPU that it was made for; so a file of another is not used, and of one that is, the library itself
// is asked whether each algorithm is one for its product.

var magic = [8]byte{'o', 'c', 't', 'g', 'e', 'm', 'm', '1'}

// chip is what a file is valid for.
type chip struct {
	Library    uint32 // cublasLtGetVersion
	Capability uint32 // 90 is 9.0
	Workspace  uint64 // bytes
	Device     [64]byte
}

func (c chip) String() string {
	return fmt.Sprintf("cuBLASLt %d on %s", c.Library, bytes.TrimRight(c.Device[:], "\x00"))
}

// record is a product and the algorithm that was the fastest.
type record struct {
	M, N, K               uint64
	A, B                  recordSide
	D                     int32
	DAlign                uint32
	Accumulate, FastAccum bool
	Algorithm             [8]uint64
	Nanoseconds           uint64
}

type recordSide struct {
	Type        int32
	KContiguous bool
	Scales      Scales
	LD          uint64
	Align       uint32
}

func recordOf(p Problem) record {
	side := func(s Side) recordSide {
		return recordSide{int32(types[s.Type]), s.KContiguous, s.Scales, uint64(s.LD), uint32(s.Align)}
	}
	return record{M: uint64(p.M), N: uint64(p.N), K: uint64(p.K), A: side(p.A), B: side(p.B), D: int32(types[p.D]), DAlign: uint32(p.DAlign),
		Accumulate: p.Accumulate, FastAccum: p.FastAccum}
}

func (r record) problem() Problem {
	typed := map[int32]dtype.Type{}
	for t, n := range types {
		typed[int32(n)] = t
	}
	side := func(s recordSide) Side { return Side{typed[s.Type], s.KContiguous, int(s.LD), s.Scales, int(s.Align)} }
	return Problem{M: int(r.M), N: int(r.N), K: int(r.K), A: side(r.A), B: side(r.B), D: typed[r.D], DAlign: int(r.DAlign),
		Accumulate: r.Accumulate, FastAccum: r.FastAccum}
}

// tunedFile is where the file is: in the user's cache, one for each compute capability and version; "" where no variable says
// where that is.
func tunedFile(getenv func(string) string, c chip) string {
	cache := getenv("XDG_CACHE_HOME")
	if !filepath.IsAbs(cache) { // which is to be ignored, as its specification has it
		home := getenv("HOME")
		if home == "" {
			return ""
		}
		cache = filepath.Join(home, ".cache")
	}
	return filepath.Join(cache, "octet", fmt.Sprintf("gemm-%d.%d-%d.bin", c.Capability/10, c.Capability%10, c.Library))
}

// readTuned takes what a tuning kept, all of it or, with the reason in l.stale, nothing.
func (l *Library) readTuned(o Options) {
	l.tuned = map[Problem]record{}
	l.chip = chip{Library: uint32(l.lt.Version), Capability: uint32(10*o.Major + o.Minor), Workspace: uint64(l.workspace)}
	copy(l.chip.Device[:], o.Device)
	if o.Getenv == nil {
		return
	}
	if l.kept = tunedFile(o.Getenv, l.chip); l.kept == "" {
		return
	}
	text, err := os.ReadFile(l.kept)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	var all []record
	if err == nil {
		all, err = l.decoded(text)
	}
	for _, r := range all {
		if err == nil {
			err = l.fits(r)
		}
		l.tuned[r.problem()] = r
	}
	if err != nil {
		l.tuned = map[Problem]record{}
		l.stale = fmt.Sprintf("the products that were tuned are not used: %s: %v; octet bench matmul --tune makes it anew", l.kept, err)
	}
}

// Stale says why what a tuning kept is not used; empty where it is, or where there is nothing.
func (l *Library) Stale() string { return l.stale }

// decoded are the records of a file of this library and GPU.
func (l *Library) decoded(text []byte) ([]record, error) {
	if len(text) < sha256.Size || !bytes.HasPrefix(text, magic[:]) {
		return nil, errors.New("it is no file of tuned products")
	}
	body, sum := text[:len(text)-sha256.Size], text[len(text)-sha256.Size:]
	if made := sha256.Sum256(body); !bytes.Equal(made[:], sum) {
		return nil, errors.New("it is damaged")
	}
	in := bytes.NewReader(body[len(magic):])
	var of chip
	var n uint32
	if err := errors.Join(binary.Read(in, binary.LittleEndian, &of), binary.Read(in, binary.LittleEndian, &n)); err != nil {
		return nil, err
	}
	if of != l.chip {
		return nil, fmt.Errorf("it is of %v, this is %v", of, l.chip)
	}
	if in.Len() != int(n)*binary.Size(record{}) {
		return nil, fmt.Errorf("it has %d bytes for %d products", in.Len(), n)
	}
	all := make([]record, n)
	return all, binary.Read(in, binary.LittleEndian, all)
}

// fits asks cuBLASLt whether an algorithm is one for its product, on this GPU.
func (l *Library) fits(r record) (err error) {
	p := r.problem()
	plan, err := l.described(p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plan.close()) }()
	algorithm := algorithmOf(r.Algorithm)
	need, s := plan.check(&algorithm)
	if s != api.CUBLAS_STATUS_SUCCESS {
		return fmt.Errorf("the algorithm of %v: %w", p, l.failed("cublasLtMatmulAlgoCheck", s))
	}
	if need > l.workspace {
		return fmt.Errorf("the algorithm of %v needs a workspace of %d bytes, of %d", p, need, l.workspace)
	}
	return nil
}

// SaveTuned writes all that was tuned, here and before, and returns the file.
func (l *Library) SaveTuned() (path string, err error) {
	if l.kept == "" {
		return "", errors.New("neither XDG_CACHE_HOME nor HOME is set: there is no place for what was tuned")
	}
	l.mu.Lock()
	all := slices.SortedFunc(maps.Values(l.tuned), func(a, b record) int {
		return cmp.Or(cmp.Compare(a.M, b.M), cmp.Compare(a.N, b.N), cmp.Compare(a.K, b.K), cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)))
	})
	l.mu.Unlock()
	out := bytes.NewBuffer(magic[:])
	for _, part := range []any{l.chip, uint32(len(all)), all} {
		if err := binary.Write(out, binary.LittleEndian, part); err != nil {
			return "", err
		}
	}
	sum := sha256.Sum256(out.Bytes())
	out.Write(sum[:])
	if err := os.MkdirAll(filepath.Dir(l.kept), 0o755); err != nil {
		return "", err
	}
	if err := durable.Text(l.kept, out.Bytes()); err != nil {
		return "", err
	}
	return l.kept, nil
}

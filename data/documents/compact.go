// SPDX-License-Identifier: Apache-2.0

package documents

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// structBytes is how many bytes the struct takes that begins at an offset of a file, in Thrift's compact protocol, of left bytes at most.
// A list or text that has more elements than bytes are left is an error: elements have a byte each or more.
func structBytes(file io.ReaderAt, at, left int64) (int64, error) {
	c := &compact{bufio.NewReader(io.NewSectionReader(file, at, left)), left}
	err := c.skip(compactStruct, 0)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return left - c.left, err
}

// compact reads over values of Thrift's compact protocol.
type compact struct {
	r    *bufio.Reader
	left int64 // bytes
}

// The types of the protocol.
const (
	compactTrue = iota + 1
	compactFalse
	compactByte
	compactI16
	compactI32
	compactI64
	compactDouble
	compactBinary
	compactList
	compactSet
	compactMap
	compactStruct
	compactUUID
)

// mostDeep is how deep structs and lists may lie in one another; Parquet's are some six deep.
const mostDeep = 64

// ReadByte reads the next byte.
func (c *compact) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.left--
	}
	return b, err
}

// discard goes on by n bytes.
func (c *compact) discard(n int64) error {
	done, err := c.r.Discard(int(n))
	c.left -= int64(done)
	return err
}

// count reads a number of things that have a byte each or more.
func (c *compact) count() (int64, error) {
	n, err := binary.ReadUvarint(c)
	if err == nil && n > uint64(c.left) {
		err = fmt.Errorf("%d elements, where %d bytes are left", n, c.left)
	}
	return int64(n), err
}

// skip reads over a value.
func (c *compact) skip(kind byte, depth int) error {
	if depth > mostDeep {
		return fmt.Errorf("values are more than %d deep in one another", mostDeep)
	}
	switch kind {
	case compactTrue, compactFalse: // the field is the value
		return nil
	case compactByte:
		return c.discard(1)
	case compactI16, compactI32, compactI64:
		_, err := binary.ReadUvarint(c)
		return err
	case compactDouble:
		return c.discard(8)
	case compactUUID:
		return c.discard(16)
	case compactBinary:
		n, err := c.count()
		if err != nil {
			return err
		}
		return c.discard(n)
	case compactList, compactSet:
		return c.list(depth)
	case compactMap:
		return c.dictionary(depth)
	case compactStruct:
		return c.fields(depth)
	}
	return fmt.Errorf("a value of type %d, which there is not", kind)
}

func (c *compact) list(depth int) error {
	b, err := c.ReadByte()
	if err != nil {
		return err
	}
	n := int64(b >> 4)
	if n == 15 {
		if n, err = c.count(); err != nil {
			return err
		}
	}
	for range n {
		if err := c.element(b&15, depth); err != nil {
			return err
		}
	}
	return nil
}

func (c *compact) dictionary(depth int) error {
	n, err := c.count()
	if err != nil || n == 0 {
		return err
	}
	b, err := c.ReadByte()
	if err != nil {
		return err
	}
	for range n {
		if err := c.element(b>>4, depth); err != nil {
			return err
		}
		if err := c.element(b&15, depth); err != nil {
			return err
		}
	}
	return nil
}

// element reads over a value of a list or map, where a boolean has a byte of its own.
func (c *compact) element(kind byte, depth int) error {
	if kind == compactTrue || kind == compactFalse {
		kind = compactByte
	}
	return c.skip(kind, depth+1)
}

func (c *compact) fields(depth int) error {
	for {
		b, err := c.ReadByte()
		if err != nil || b == 0 {
			return err
		}
		if b>>4 == 0 { // the field's number follows
			if _, err := binary.ReadUvarint(c); err != nil {
				return err
			}
		}
		if err := c.skip(b&15, depth+1); err != nil {
			return err
		}
	}
}

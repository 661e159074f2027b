// SPDX-License-Identifier: Apache-2.0

package tensorboard

import (
	"encoding/binary"
	"hash/crc32"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// fileVersion is what the first event of a file says, and TensorBoard asks for.
const fileVersion = "brain.Event:2"

// event is tensorflow.Event, with one of the kinds that are written here.
type event struct {
	wall    float64 // seconds since 1970
	step    int64
	version string   // of the file
	starts  bool     // a session starts at step: earlier points from there on are void
	scalars []scalar // a summary
}

// scalar is a point of a curve.
type scalar struct {
	tag   string
	value float64
}

// The numbers of the fields that are written, in tensorflow/core/util/event.proto and
// tensorflow/core/framework/summary.proto.
const (
	eventWallTime    = 1 // double
	eventStep        = 2 // int64
	eventFileVersion = 3 // string
	eventSummary     = 5
	eventSessionLog  = 7

	sessionStatus = 1 // enum
	statusStart   = 1

	summaryValue = 1 // repeated
	valueTag     = 1 // string
	valueSimple  = 2 // float
)

func (e event) marshal() []byte {
	b := protowire.AppendTag(nil, eventWallTime, protowire.Fixed64Type)
	b = protowire.AppendFixed64(b, math.Float64bits(e.wall))
	b = protowire.AppendTag(b, eventStep, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(e.step))
	switch {
	case e.version != "":
		b = protowire.AppendTag(b, eventFileVersion, protowire.BytesType)
		b = protowire.AppendString(b, e.version)
	case e.starts:
		log := protowire.AppendTag(nil, sessionStatus, protowire.VarintType)
		log = protowire.AppendVarint(log, statusStart)
		b = protowire.AppendTag(b, eventSessionLog, protowire.BytesType)
		b = protowire.AppendBytes(b, log)
	default:
		var summary []byte
		for _, s := range e.scalars {
			value := protowire.AppendTag(nil, valueTag, protowire.BytesType)
			value = protowire.AppendString(value, s.tag)
			value = protowire.AppendTag(value, valueSimple, protowire.Fixed32Type)
			value = protowire.AppendFixed32(value, math.Float32bits(float32(s.value)))
			summary = protowire.AppendTag(summary, summaryValue, protowire.BytesType)
			summary = protowire.AppendBytes(summary, value)
		}
		b = protowire.AppendTag(b, eventSummary, protowire.BytesType)
		b = protowire.AppendBytes(b, summary)
	}
	return b
}

// appendFrame appends data as a record of a TFRecord file: its length, uint64, and the checksum of that; data, and its checksum.
func appendFrame(b, data []byte) []byte {
	length := binary.LittleEndian.AppendUint64(nil, uint64(len(data)))
	b = append(b, length...)
	b = binary.LittleEndian.AppendUint32(b, masked(length))
	b = append(b, data...)
	return binary.LittleEndian.AppendUint32(b, masked(data))
}

// masked is TFRecord's checksum: CRC32C, turned by 15 bits, so that the checksum of data that holds its own is no
// constant, plus a constant (tensorflow/core/lib/hash/crc32c.h).
func masked(data []byte) uint32 {
	crc := crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
	return (crc>>15 | crc<<17) + 0xa282ead8
}

// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"time"

	"octet/backend"
	"octet/device/trace"
	"octet/dtype"
	"octet/tensor"
)

// limits are what a rank's device does at most while all ranks do the same: the peak of
// each arithmetic unit, and how fast memory is copied, by how much of it. The zero value
// has not been measured.
type limits struct {
	peaks  map[dtype.Type]float64 // FLOP/s, by trace.Span.Unit
	copies []copyRate             // growing; the last is of what no cache holds
}

type copyRate struct {
	bytes int64   // read and written
	rate  float64 // bytes/s
}

// measure takes the limits of a rank's device, where they are above those that were taken
// before: other work can only hide them. All ranks call it.
func (l *limits) measure(ctx context.Context, r *backend.Rank) error {
	if l.peaks == nil {
		l.peaks = map[dtype.Type]float64{}
		for bytes := int64(1 << 18); bytes <= 1<<27; bytes <<= 3 {
			l.copies = append(l.copies, copyRate{bytes: bytes})
		}
	}
	rig := newRig(r)
	together := func() error {
		r.World.Barrier(rig.s)
		return rig.s.Sync()
	}
	for _, t := range []dtype.Type{dtype.Float32, dtype.BFloat16, dtype.Float8E4M3} {
		if err := together(); err != nil {
			return err
		}
		l.peaks[t] = max(l.peaks[t], r.Device.Peak(t))
	}
	for i := range l.copies {
		c := &l.copies[i]
		half := int(c.bytes / 2)
		buf, err := r.Device.Alloc(2 * half)
		if err != nil {
			return err
		}
		src, dst := tensor.New(buf, dtype.Uint8, half), tensor.At(buf, half, dtype.Uint8, half)
		rig.s.Zero(src)
		if err := together(); err != nil {
			return err
		}
		took, err := Effort{Time: 60 * time.Millisecond, Repeat: 100}.inTurns(ctx, rig.s, func() { rig.s.Copy(dst, src) })
		if err != nil {
			return err
		}
		c.rate = max(c.rate, float64(c.bytes)/took[0])
		r.Device.Free(buf)
	}
	return together()
}

// memory is how fast so many bytes are read and written at most: as fast as the least
// that was measured and is not less, so that what may lie in a cache has the cache's limit.
func (l limits) memory(bytes int64) float64 {
	for _, c := range l.copies {
		if bytes <= c.bytes {
			return c.rate
		}
	}
	return l.copies[len(l.copies)-1].rate
}

// seconds is what a kernel would take at the limits; 0 of what is no kernel.
func (l limits) seconds(s *trace.Span) float64 {
	if s.Kind != trace.Kernel {
		return 0
	}
	took := float64(s.Bytes) / l.memory(s.Bytes)
	if s.FLOPs > 0 {
		took = max(took, s.FLOPs/l.peaks[s.Unit])
	}
	return took
}

// SPDX-License-Identifier: Apache-2.0

package device_test

import (
	"errors"
	"strings"
	"testing"

	"octet/device"
	"octet/dtype"
	"octet/tensor"
)

// memory is a device that only counts what is taken from it.
type memory struct {
	device.Device
	taken []int
	limit int
}

type block struct{ bytes int }

func (b *block) Len() int { return b.bytes }

func (m *memory) Name() string { return "memory" }

func (m *memory) Alloc(bytes int) (tensor.Buffer, error) {
	if len(m.taken) == m.limit {
		return nil, errors.New("out of memory")
	}
	m.taken = append(m.taken, bytes)
	return &block{bytes}, nil
}

func TestPoolReusesMemoryOfASizeClass(t *testing.T) {
	dev := &memory{limit: 2}
	pool := device.NewPool(dev)
	a := pool.New(dtype.Float32, 100, 100)
	pool.Free(a)
	pool.Free(nil)
	b := pool.New(dtype.BFloat16, 2, 100, 99) // within an eighth of a's bytes
	if len(dev.taken) != 1 || b.Buf != a.Buf {
		t.Errorf("took %v from the device, want one buffer for both", dev.taken)
	}
	c := pool.New(dtype.Float32, 1)
	if pool.Live() != b.Buf.Len()+c.Buf.Len() || pool.Peak() != pool.Live() {
		t.Errorf("%d bytes live, %d at most, of buffers %v", pool.Live(), pool.Peak(), dev.taken)
	}
	pool.Free(b)
	pool.Free(c)
	if pool.Live() != 0 || pool.Peak() == 0 {
		t.Errorf("%d bytes live after all is freed, %d at most", pool.Live(), pool.Peak())
	}
	defer func() {
		if e, _ := recover().(*device.OutOfMemory); e == nil || !strings.Contains(e.Error(), "out of memory") || !strings.Contains(e.Error(), "float32[1000 1000]") {
			t.Errorf("panic %v, want the cause and the tensor", e)
		}
	}()
	pool.New(dtype.Float32, 1000, 1000)
}

func TestPoolWastesAtMostAnEighth(t *testing.T) {
	for n := 1; n < 1<<20; n += 997 {
		pool := device.NewPool(&memory{limit: 1})
		if got := pool.New(dtype.Uint8, n).Buf.Len(); got < n || got > max(4096, n+n/8) {
			t.Errorf("%d bytes for a tensor of %d", got, n)
		}
	}
}

func TestAScopeFreesAllButItsResults(t *testing.T) {
	pool := device.NewPool(&memory{limit: 10})
	before := pool.New(dtype.Float32, 2000)
	outer := pool.Scope()
	pool.New(dtype.Float32, 2000)
	inner := pool.Scope()
	pool.New(dtype.Float32, 2000)
	result := pool.New(dtype.Float32, 2000)
	freed := pool.New(dtype.Float32, 2000)
	pool.Free(freed)
	pool.Lasting().New(dtype.Float32, 2000)
	inner(result, nil, before) // before is not the scope's to free or to hand on
	size := before.Buf.Len()
	if live := pool.Live(); live != 3*size {
		t.Errorf("%d bytes in use after the inner scope, want those of 3 tensors of %d", live, size)
	}
	outer()
	if live := pool.Live(); live != size {
		t.Errorf("%d bytes in use after the outer scope, want %d: the inner result belongs to it", live, size)
	}
	pool.Free(before)
	if pool.Live() != 0 || pool.Lasting().Live() != size {
		t.Errorf("%d bytes in use in the end, %d lasting", pool.Live(), pool.Lasting().Live())
	}
	first, second := pool.Scope(), pool.Scope()
	defer func() {
		if text, _ := recover().(string); !strings.Contains(text, "scope 1 of a pool ends while 2 are open") {
			t.Errorf("panic %q, want one about the order of scopes", text)
		}
		second()
	}()
	first()
}

// TestReservedMemoryIsNobodys: until it is released.
func TestReservedMemoryIsNobodys(t *testing.T) {
	dev := &memory{limit: 2}
	pool := device.NewPool(dev)
	a := pool.New(dtype.Float32, 100)
	pool.Free(a)
	release := pool.Reserve()
	b := pool.New(dtype.Float32, 100)
	if b.Buf == a.Buf {
		t.Error("reserved memory was handed out")
	}
	pool.Free(b)
	if c := pool.New(dtype.Float32, 100); c.Buf != b.Buf {
		t.Error("what was freed since is reserved too")
	}
	release()
	release() // once is enough
	if c := pool.New(dtype.Float32, 100); c.Buf != a.Buf {
		t.Error("released memory was not handed out")
	}
	if pool.Live() != 2*4096 {
		t.Errorf("%d bytes are in use", pool.Live())
	}
}

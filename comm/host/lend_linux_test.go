// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"octet/comm"
	"octet/comm/internal/group"
	"octet/comm/store"
	"octet/internal/arena"
)

// pair is two ranks of this process that lend each other memory: their links, and 64 KiB of each.
type pair struct {
	nodes [2]*node
	links [2]*link
	mem   [2][]byte
}

func lenders(t *testing.T) (p pair) {
	t.Helper()
	a, err := arena.New()
	if err != nil {
		t.Fatal(err)
	}
	met := store.NewMemory()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	var all sync.WaitGroup
	var errs [2]error
	for r := range 2 {
		p.nodes[r] = newNode(Config{Rank: r, World: 2, Store: met, Timeout: time.Minute, Arena: a})
		if p.mem[r], err = a.Alloc(64 << 10); err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			if errs[r] = p.nodes[r].join(ctx); errs[r] != nil {
				return
			}
			l, err := p.nodes[r].Link(ctx, "test", []int{0, 1})
			if errs[r] = err; err == nil {
				p.links[r] = l.(*link)
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for r := range 2 {
			if err := errors.Join(p.links[r].Close(), p.nodes[r].Close()); err != nil {
				t.Error(err)
			}
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// post has rank 0 post its memory in round n.
func (p *pair) post(t *testing.T, n uint32) *group.Layout {
	t.Helper()
	size := len(p.mem[0])
	layout := &group.Layout{At: []int{0}, Len: []int{size}, Total: size}
	if err := p.links[0].Post(n, &group.Message{Call: &comm.Call{Seq: 1}, Bufs: [][]byte{p.mem[0]}, Layout: layout, Hi: size}); err != nil {
		t.Fatal(err)
	}
	return layout
}

// TestLenderWaits: what is read is the sender's memory itself, whose call ends only when it is read.
func TestLenderWaits(t *testing.T) {
	p := lenders(t)
	layout := p.post(t, 0)
	v, err := p.links[1].Await(0, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.mem[0][1000] = 7
	if got := v.Bytes(layout, 0, 1000, 1001)[0]; got != 7 {
		t.Errorf("the reader finds %d where the sender's memory has 7", got)
	}
	finished := make(chan error, 1)
	go func() { finished <- p.links[0].Finish(1) }()
	time.Sleep(20 * time.Millisecond) // what is wrong shows if it comes first
	select {
	case err := <-finished:
		t.Errorf("the call ended while its memory was read (%v)", err)
	default:
		p.links[1].Done(0)
		if err := <-finished; err != nil {
			t.Error(err)
		}
	}
	if err := p.links[1].Finish(1); err != nil {
		t.Error(err)
	}
}

// TestReaderFailsAfterAbort: the sender no longer waits, so what was read may be something else; also where the cause is
// still being written.
func TestReaderFailsAfterAbort(t *testing.T) {
	for name, abort := range map[string]func(n *node){
		"aborted":  func(n *node) { n.job.Abort(0, errors.New("loss is NaN")) },
		"aborting": func(n *node) { word(n.page.mem, 0).Store(pageWriting) },
	} {
		t.Run(name, func(t *testing.T) {
			p := lenders(t)
			p.post(t, 0)
			if _, err := p.links[1].Await(0, 0, nil); err != nil {
				t.Fatal(err)
			}
			abort(p.nodes[0])
			if name == "aborted" {
				if err := p.links[0].Finish(1); err == nil {
					t.Error("the sender's call ends well, although nobody has read its memory")
				}
			}
			p.links[1].Done(0)
			if err := p.links[1].Finish(1); err == nil || !strings.Contains(err.Error(), "abort") {
				t.Errorf("the reader's call ends with %v", err)
			}
		})
	}
}

// TestLentNumbersAreChecked: what a peer writes into its slot is not believed.
func TestLentNumbersAreChecked(t *testing.T) {
	for name, spoil := range map[string]func(p *pair, slot, head []byte){
		"offset behind the arena": func(p *pair, slot, _ []byte) { binary.LittleEndian.PutUint64(slot, 1<<62) },
		"size behind the arena":   func(p *pair, slot, _ []byte) { binary.LittleEndian.PutUint64(slot[8:], 1<<47) },
		"parts that wrap around": func(p *pair, slot, head []byte) {
			head[headFlag] |= 2
			binary.LittleEndian.PutUint64(slot[8:], 1<<63)
		},
		"more tensors than fit": func(p *pair, _, head []byte) { binary.LittleEndian.PutUint32(head[headLent:], 1<<31) },
	} {
		t.Run(name, func(t *testing.T) {
			p := lenders(t)
			p.post(t, 0)
			s := p.links[0].shm
			spoil(&p, s.seats[0].data(0, s.chunk), s.seats[0].head(0))
			if _, err := p.links[1].Await(0, 0, nil); err == nil || !strings.Contains(err.Error(), "rank 0 (pid ") {
				t.Errorf("error %v, want one that names rank 0", err)
			}
		})
	}
}

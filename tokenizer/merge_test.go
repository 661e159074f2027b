// SPDX-License-Identifier: Apache-2.0

package tokenizer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// naive merges as the definition says: the most urgent pair, of several the first, until there is none.
func naive(b *bpe, ids []int32) []int32 {
	ids = slices.Clone(ids)
	for {
		best, at := merged{rank: noMerge}, 0
		for i := 1; i < len(ids); i++ {
			if to := b.merges.get(ids[i-1], ids[i]); to.rank < best.rank {
				best, at = to, i-1
			}
		}
		if best.rank == noMerge {
			return ids
		}
		ids[at] = best.id
		ids = slices.Delete(ids, at+1, at+2)
	}
}

// Short words and long ones are merged by different algorithms; both do what the definition says.
func TestBothWaysToMergeDoTheSame(t *testing.T) {
	b := &bpe{merges: newPairs(200)}
	r := rand.New(rand.NewPCG(3, 4))
	for rank := range uint32(200) { // of any two ids, to ids that merge on
		b.merges.set(r.Int32N(40), r.Int32N(40), merged{rank, r.Int32N(40)})
	}
	m := &merger{model: b}
	for range 3000 {
		word := make([]int32, 1+r.IntN(90))
		for i := range word {
			word[i] = r.Int32N(40)
		}
		want := naive(b, word)
		m.ids = append(m.ids[:0], word...)
		m.short()
		if !slices.Equal(m.ids, want) {
			t.Fatalf("%v: short gives %v, want %v", word, m.ids, want)
		}
		m.ids = append(m.ids[:0], word...)
		m.long()
		if !slices.Equal(m.ids, want) {
			t.Fatalf("%v: long gives %v, want %v", word, m.ids, want)
		}
	}
}

func TestTheHeapHandsOutTheLowestFirst(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		var h heap
		var want []uint64
		for range r.IntN(50) {
			v := r.Uint64N(30)
			h.push(v)
			want = append(want, v)
		}
		slices.Sort(want)
		for i, w := range want {
			if got := h.pop(); got != w {
				t.Fatalf("number %d is %d, want %d", i, got, w)
			}
		}
	}
}

func TestALaterMergeOfOnePairCounts(t *testing.T) {
	p := newPairs(2)
	p.set(1, 2, merged{0, 3})
	p.set(1, 2, merged{1, 4})
	if got := p.get(1, 2); got != (merged{1, 4}) {
		t.Errorf("%v", got)
	}
	if got := p.get(2, 1); got.rank != noMerge {
		t.Errorf("a pair that was not set: %v", got)
	}
}

// Words that were seen are taken from memory, also after it was full.
func TestTheMemoryOfWordsChangesNothing(t *testing.T) {
	for _, dir := range kinds(t) {
		tok := open(t, dir)
		e, r := tok.NewEncoder(), rand.New(rand.NewPCG(7, 8))
		for range 100 {
			text := randomText(r, r.IntN(40))
			want := tok.NewEncoder().Append(nil, text)
			if got := e.Append(nil, text); !slices.Equal(got, want) {
				t.Fatalf("%s: %q: ids %v, want %v", dir, text, got, want)
			}
		}
	}
	w := newWords()
	for i := range mostWords + 10 {
		w.put(fmt.Sprint(i), []int32{int32(i), 1})
	}
	if ids, ok := w.get(fmt.Sprint(mostWords + 9)); !ok || !slices.Equal(ids, []int32{mostWords + 9, 1}) {
		t.Errorf("the last word has the ids %v", ids)
	}
	if _, ok := w.get("0"); ok || len(w.at) != 10 {
		t.Errorf("%d words after the memory began anew, want 10", len(w.at))
	}
}

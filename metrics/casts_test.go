// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCastsAreALineEach(t *testing.T) {
	path := filepath.Join(t.TempDir(), CastsFileName)
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	sink := NewCasts(file)
	sink.Step(Record{Step: 1})
	sink.Step(Record{Step: 2, Casts: []Cast{
		{Layer: "a", Role: "i", Recipe: "dyn_ten_e4m3", Amax: 1.5, MinScale: 0.5, MaxScale: 2, Saturated: 0.25, Underflowed: 0.125, SQNR: 31},
		{Layer: "b", Role: "go", Recipe: "dyn_ten_e5m2", Amax: math.NaN(), SQNR: math.Inf(1)},
	}})
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	want := `{"step":2,"layer":"a","role":"i","cast":"dyn_ten_e4m3","amax":1.5,"scale_min":0.5,"scale_max":2,"saturated":0.25,"underflowed":0.125,"sqnr_db":31}
{"step":2,"layer":"b","role":"go","cast":"dyn_ten_e5m2","amax":"NaN","scale_min":0,"scale_max":0,"saturated":0,"underflowed":0,"sqnr_db":"Inf"}
`
	if err != nil || string(got) != want {
		t.Errorf("wrote (%v)\n%s\nwant\n%s", err, got, want)
	}
}

// full is a file that takes nothing.
type full struct{ File }

func (full) Write([]byte) (int, error) { return 0, errors.New("no space") }
func (full) Sync() error               { return nil }
func (full) Close() error              { return nil }
func (full) Name() string              { return "x.jsonl" }

func TestCastsThatAreNotWrittenAreAnError(t *testing.T) {
	sink := NewCasts(full{})
	sink.Step(Record{Step: 1, Casts: []Cast{{Layer: "a"}}})
	if err := sink.Close(); err == nil || !strings.Contains(err.Error(), "x.jsonl: no space") {
		t.Errorf("error %v", err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestAValidationHasALineOfItsOwn: torchtitan's, and the bits of a byte where
// tokens are bytes; also after a step that has no line.
func TestAValidationHasALineOfItsOwn(t *testing.T) {
	core, lines := observer.New(zap.InfoLevel)
	c := NewConsole(zap.New(core), ConsoleOptions{LogFreq: 10, MemoryTotal: 16 << 30})
	v := &Validation{Loss: 2.345678, BitsPerByte: 3.384098, Tokens: 1000, MS: 20, TokensPerS: 12345}
	c.Step(Record{Step: 5, RSSMB: 1536, Validation: v})
	c.Step(Record{Step: 6, RSSMB: 1536, Validation: &Validation{Loss: 2.345678, TokensPerS: 12345}})
	want := []string{
		"validate step:  5  loss:  2.3457  memory:  1.50GiB(9.38%)  tps: 12,345  bits/byte: 3.3841",
		"validate step:  6  loss:  2.3457  memory:  1.50GiB(9.38%)  tps: 12,345",
	}
	var got []string
	for _, line := range lines.All() {
		got = append(got, line.Message)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("lines differ (-want +got):\n%s", d)
	}
}

// TestAValidationIsInTheStepsObject, and only there.
func TestAValidationIsInTheStepsObject(t *testing.T) {
	for _, want := range []Record{
		{Step: 3, Loss: 1.25, Validation: &Validation{Loss: 2.1, BitsPerByte: 3.03, Tokens: 77, MS: 1.5, TokensPerS: 9}},
		{Step: 4, Loss: 1.25},
	} {
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if has := strings.Contains(string(text), `"validation_loss":2.1`); has != (want.Validation != nil) {
			t.Errorf("step %d is %s", want.Step, text)
		}
		var got Record
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("read back (-want +got):\n%s", d)
		}
	}
	var r Record
	err := json.Unmarshal([]byte(`{"step":1,"loss":1,"max_loss":1,"grad_norm":1,"lr":1,"tokens":1,"tokens_seen":1,"step_ms":1,"data_ms":0,"tokens_per_s":1,"rss_mb":1,"comm_bytes":1,"validation_loss":1}`), &r)
	if err == nil || !strings.Contains(err.Error(), `key "validation_bits_per_byte" is missing`) {
		t.Errorf("error %v, want one that names the missing key", err)
	}
}

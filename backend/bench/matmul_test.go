// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"strings"
	"testing"

	"octet/backend"
)

func TestMatMulHasARowPerProductAndType(t *testing.T) {
	var out bytes.Buffer
	if err := MatMul(t.Context(), &out, backend.Options{Threads: 1}, []Shape{{48, 32, 64}}, 1); err != nil {
		t.Fatal(err)
	}
	for _, product := range []string{"output", "grad_input", "grad_weight"} {
		for _, typ := range kinds {
			found := false
			for line := range strings.Lines(out.String()) {
				f := strings.Fields(line)
				found = found || len(f) == 8 && strings.Join(f[:4], " ") == "48 32 64 "+product && f[4] == typ.name
			}
			if !found {
				t.Errorf("no row for %s, %s in\n%s", product, typ.name, &out)
			}
		}
	}
}

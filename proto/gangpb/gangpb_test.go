// SPDX-License-Identifier: Apache-2.0

package gangpb

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// TestGeneratedCodeIsUpToDate compares the fields of gang.proto, as text, with
// the descriptor in the generated code.
func TestGeneratedCodeIsUpToDate(t *testing.T) {
	text, err := os.ReadFile("gang.proto")
	if err != nil {
		t.Fatal(err)
	}
	var source []string
	message := ""
	for line := range strings.Lines(string(text)) {
		if m := regexp.MustCompile(`^message (\w+)`).FindStringSubmatch(line); m != nil {
			message = m[1]
		}
		if m := regexp.MustCompile(`^ +(repeated )?(\w+) (\w+) = (\d+);`).FindStringSubmatch(line); m != nil {
			source = append(source, fmt.Sprintf("%s.%s: %s%s = %s", message, m[3], m[1], m[2], m[4]))
		}
	}
	var generated []string
	messages := File_gang_proto.Messages()
	for i := range messages.Len() {
		fields := messages.Get(i).Fields()
		for j := range fields.Len() {
			f := fields.Get(j)
			kind, repeated := f.Kind().String(), ""
			if f.Kind() == protoreflect.MessageKind {
				kind = string(f.Message().Name())
			}
			if f.IsList() {
				repeated = "repeated "
			}
			generated = append(generated, fmt.Sprintf("%s.%s: %s%s = %d", messages.Get(i).Name(), f.Name(), repeated, kind, f.Number()))
		}
	}
	if a, b := strings.Join(source, "\n"), strings.Join(generated, "\n"); a != b {
		t.Errorf("run make generate: gang.proto has\n%s\nthe generated code has\n%s", a, b)
	}
}

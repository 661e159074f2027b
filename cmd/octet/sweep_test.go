// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"octet/config"
)

// TestAbsurdValues: whatever a user types after any key, octet run ends, with the key named where it refuses; nothing
// panics, and no control character comes through.
func TestAbsurdValues(t *testing.T) {
	if testing.Short() {
		t.Skip("seconds long")
	}
	values := []string{"9223372036854775807", "nan", "-1", "\x1b[31m\a", strings.Repeat("long", 1<<12)}
	for _, key := range config.Keys() {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			for _, value := range values {
				if strings.HasPrefix(value, "9") && key == "debug.seed" {
					continue // a seed may be any number
				}
				p := octetProcess(t, append(append([]string{"run", "--nproc-per-node=2", "train"}, tinyFlags(t)...), "--training.steps=1", "--"+key+"="+value)...)
				p.Dir = t.TempDir()
				if err := p.Start(); err != nil {
					t.Fatal(err)
				}
				code, text := p.exitCode(), p.stdout.String()+p.stderr.String()
				named := strings.Contains(text, key) || key == "job.config_file" && strings.Contains(text, "--config")
				if code != 0 && (code != 1 || !named || strings.Contains(text, "[default")) {
					t.Errorf("%.20q: exit code %d, and the key is not named before a rank starts:\n%.2000s", value, code, text)
				}
				if strings.Contains(text, "goroutine ") || code != 0 && strings.ContainsAny(text, "\x1b\a") {
					t.Errorf("%.20q:\n%.2000s", value, text)
				}
			}
		})
	}
}

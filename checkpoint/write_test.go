// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A report that finds no room is not what other ranks wait for: the file makes room for it, and it says why.
func TestAReportThatFindsNoRoomIsMadeRoom(t *testing.T) {
	dir := t.TempDir()
	obstacle, file := filepath.Join(dir, reportName(1)), filepath.Join(dir, fileName(1))
	if err := os.Mkdir(obstacle, 0o700); err != nil {
		t.Fatal(err)
	}
	own := Ranks{Rank: 1, World: 2, Alive: func() {
		if exists(file) {
			t.Error("the file is there when the reason is tried again")
		}
		if err := os.Remove(obstacle); err != nil {
			t.Error(err)
		}
	}}.writeRank(dir, nil, export(""), nil, func(int) {})
	text, err := os.ReadFile(obstacle)
	if err != nil {
		t.Fatal(err)
	}
	var told report
	if err := json.Unmarshal(text, &told); err != nil {
		t.Fatal(err)
	}
	if told.Error == "" || told.Error != own.Error || !strings.Contains(told.Error, reportName(1)) || len(told.Files) > 0 {
		t.Errorf("told %+v, returned %+v, want the failure of the report alone", told, own)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left are %v (%v), want the report alone", left, err)
	}
}

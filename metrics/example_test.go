// SPDX-License-Identifier: Apache-2.0

package metrics_test

import (
	"fmt"
	"os"
	"path/filepath"

	"octet/metrics"
)

// A run that reports to metrics.jsonl in a dump folder of its own; an earlier
// job's file there stays, under another name.
func Example() {
	parent, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(parent)
	say := func(text string) { fmt.Println(text) }
	folder, err := metrics.OpenFolder(filepath.Join(parent, "out"), metrics.Owner{Job: "example", PID: os.Getpid()}, say)
	if err != nil {
		panic(err)
	}
	defer folder.Close()
	file, err := folder.Append(metrics.FileName)
	if err != nil {
		panic(err)
	}
	bar := metrics.NewProgress(os.Stderr, 3, 0) // drawn where stderr is a terminal
	sink := metrics.Tee(metrics.NewJSONL(file, say), bar)
	for step := range 3 {
		sink.Step(metrics.Record{Step: step + 1, Loss: 5.5 - float64(step)})
	}
	if err := sink.Close(); err != nil { // the first error of any step
		panic(err)
	}

	records, err := metrics.Read(folder.Path(metrics.FileName))
	if err != nil {
		panic(err)
	}
	for _, r := range records {
		fmt.Println(r.Step, r.Loss)
	}
	// Output:
	// 1 5.5
	// 2 4.5
	// 3 3.5
}

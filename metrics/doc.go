// SPDX-License-Identifier: Apache-2.0

// Package metrics reports a training run: the line on the console, metrics.jsonl, the progress bar, and the log.
//
// The step loop knows one interface, Sink, and hands it one Record a step; what becomes of it is put together once:
//
//	bar := metrics.NewProgress(os.Stderr, steps, 0) // draws where stderr is a terminal
//	log := metrics.NewLogger(bar, rank)             // log lines go around the bar
//	folder, err := metrics.OpenFolder(dumpFolder, metrics.Owner{Job: id, PID: os.Getpid()}, say)
//	...                                             // held by this process alone; what an earlier job left is renamed
//	defer folder.Close()
//	file, err := folder.Append(metrics.FileName)
//	...
//	sink := metrics.Tee(metrics.NewJSONL(file, say), metrics.NewConsole(log, metrics.ConsoleOptions{LogFreq: 10}), bar)
//	for step := range steps {
//		sink.Step(metrics.Record{Step: step + 1, Loss: loss})
//	}
//	return sink.Close() // the first error of any step
//
// Tee() of nothing is the Sink of a rank that reports nothing. Read gives back what a JSONL wrote, for tests and plots.
package metrics

// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"octet/backend"
	"octet/device"
	"octet/dtensor"
	"octet/dtype"
	"octet/nn"
)

// BenchmarkLoad loads a checkpoint of 384 MiB from the page cache, on one rank, beside cat of the same files, in turns; and saves it.
func BenchmarkLoad(b *testing.B) {
	dev, err := backend.OpenDevice(backend.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer dev.Close()
	s, pool := dev.NewStream("bench"), device.NewPool(dev)
	var tensors []nn.DTensor
	for _, name := range []string{"w", "optim.m.w", "optim.v.w"} {
		t := nn.DTensor{Name: name, Layout: dtensor.Alone(8192, 4096), Local: pool.New(dtype.Float32, 8192, 4096)}
		s.Zero(t.Local)
		tensors = append(tensors, t)
	}
	folder := b.TempDir()
	saver := NewSaver(dev, Options{Folder: folder, Ranks: Ranks{World: 1, Patience: time.Minute}})
	step := 0
	save := func() {
		step++
		if _, err := saver.Save(s, State{Tensors: tensors}, Run{Step: step, Model: []byte("{}")}); err != nil || saver.Wait() != nil {
			b.Fatal(err, saver.Wait())
		}
	}
	save()
	dir := filepath.Join(folder, StepName(1))
	c, err := Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	file := filepath.Join(dir, fileName(0))
	bytes := c.Index.Bytes()
	b.Run("save", func(b *testing.B) {
		b.SetBytes(bytes)
		for b.Loop() {
			save()
			_ = os.RemoveAll(filepath.Join(folder, StepName(step)))
		}
	})
	b.Run("load beside cat", func(b *testing.B) {
		var load, cat time.Duration
		for b.Loop() {
			start := time.Now()
			if err := c.Load(s, tensors, nil); err != nil {
				b.Fatal(err)
			}
			load += time.Since(start)
			start = time.Now()
			if err := exec.Command("cat", file).Run(); err != nil { // to /dev/null
				b.Fatal(err)
			}
			cat += time.Since(start)
		}
		b.ReportMetric(float64(bytes)*float64(b.N)/load.Seconds()/1e9, "load-GB/s")
		b.ReportMetric(float64(bytes)*float64(b.N)/cat.Seconds()/1e9, "cat-GB/s")
	})
}

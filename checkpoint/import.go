// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"fmt"
	"os"

	"octet/device"
	"octet/dtensor"
	"octet/dtype"
	"octet/nn"
	"octet/tensor"
)

// absent is a buffer without memory, for tensors that say what is to be read.
type absent int

func (n absent) Len() int { return int(n) }

// Save makes a checkpoint of the weights alone, in float32, in a folder of checkpoints, as a run of one rank would have saved them. progress
// is called with the bytes of each part.
func (w *Weights) Save(folder string, run Run, progress func(bytes int)) (dir string, err error) {
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return "", err
	}
	run.ModelOnly = true
	var all []nn.DTensor
	for _, p := range w.params {
		all = append(all, nn.DTensor{Name: p.Name, Layout: dtensor.Alone(p.Shape...), Local: tensor.New(absent(4*p.Numel()), dtype.Float32, p.Shape...)})
	}
	var values []float32
	read := func(i int, rows *tensor.Tensor) ([]byte, error) {
		p := w.params[i]
		first := rows.Off / (dtype.Float32.Size() * max(1, p.RowSize()))
		values = append(values[:0], make([]float32, rows.Numel())...)
		err := w.Read(values, i, dtensor.Whole(p.Shape).Rows(first, first+rows.Shape[0]))
		progress(rows.Bytes())
		return device.Float32Bytes(values), err
	}
	s := &Saver{o: Options{Folder: folder, Ranks: Ranks{World: 1}, Job: fmt.Sprint(os.Getpid())}}
	o := s.write(primary(all), "", read, run)
	return o.Dir, o.Err
}

// SPDX-License-Identifier: Apache-2.0

package resume_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"octet/backend"
	"octet/checkpoint"
	"octet/config"
	"octet/models/llama/plan"
	"octet/train/resume"
)

// A run begins where its folder of checkpoints says: in an empty one at step 0.
func ExampleFind() {
	out, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(out)
	cfg, err := config.Load(strings.Fields("--checkpoint.enable --training.steps=9 --job.dump_folder=" + out))
	if err != nil {
		panic(err)
	}
	run, err := plan.Resolve(cfg, 1)
	if err != nil {
		panic(err)
	}
	start, err := resume.Find(run, nil, "")
	fmt.Printf("from %q, after step %d, %v\n", start.Dir, start.Step, err)

	// Someone saves what has nothing of this model.
	dev, err := backend.OpenDevice(backend.Options{})
	if err != nil {
		panic(err)
	}
	defer dev.Close()
	saver := checkpoint.NewSaver(dev, checkpoint.Options{Folder: resume.Folder(cfg), Ranks: checkpoint.Ranks{World: 1}})
	if _, err := saver.Save(dev.NewStream("main"), checkpoint.State{}, checkpoint.Run{Step: 5, Model: resume.Sizes(run)}); err != nil {
		panic(err)
	}
	start, err = resume.Find(run, nil, "")
	fmt.Println("from", filepath.Base(start.Dir), "after step", start.Step)
	fmt.Println(strings.Contains(err.Error(), "is of another model: tok_embeddings.weight [2048 256] is missing"))
	// Output:
	// from "", after step 0, <nil>
	// from step-5 after step 5
	// true
}

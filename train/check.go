// SPDX-License-Identifier: Apache-2.0

package train

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"octet/config"
	"octet/data"
	"octet/models/llama/plan"
	"octet/nn"
)

// Check reports everything that would stop a run of cfg on world ranks, local of
// them on this host, before its first step: the memory it needs and the files it
// reads and writes among it. memory is the bytes that are free for the local ranks
// together, of their host or their devices; 0 is not known. It writes nothing. A launcher calls
// it before any rank starts. Where the hosts have to meet before their ranks can be counted, world is
// config.AnyWorld, and CheckWorld follows.
func Check(cfg *config.Config, world, local int, memory int64) error {
	if err := plan.Check(cfg, world); err != nil {
		return err
	}
	var tooLarge error
	if world != config.AnyWorld {
		tooLarge = checkMemory(cfg, world, local, memory)
	}
	return errors.Join(tooLarge, checkData(cfg), checkWeights(cfg), checkOutput(cfg))
}

// CheckWorld is the part of Check that depends on the number of ranks. It reads
// no files, and is quick.
func CheckWorld(cfg *config.Config, world, local int, memory int64) error {
	if err := cfg.Validate(world); err != nil {
		return err
	}
	return checkMemory(cfg, world, local, memory)
}

// checkOutput asks whether the dump folder, or the folder that it would be made
// in, can be written to.
func checkOutput(cfg *config.Config) error {
	folder := filepath.Clean(cfg.Job.DumpFolder)
	_, err := os.Stat(folder)
	for errors.Is(err, fs.ErrNotExist) && folder != filepath.Dir(folder) {
		folder = filepath.Dir(folder)
		_, err = os.Stat(folder)
	}
	if err == nil {
		err = unix.Access(folder, unix.W_OK|unix.X_OK)
	}
	if err != nil {
		return fmt.Errorf("job.dump_folder = %q: %s: %w; name a folder that can be written to", cfg.Job.DumpFolder, folder, err)
	}
	return nil
}

func checkData(cfg *config.Config) error {
	loader, err := openData(cfg, 0, 1)
	if err != nil {
		return err
	}
	if err := loader.Close(); err != nil || !cfg.Validation.Enable {
		return err
	}
	loader, err = openValidation(cfg, 0, 1)
	if err != nil {
		return err
	}
	return loader.Close()
}

// Scan opens every file of the data and reads what may hold wrong ids, so that
// no run ends at them. It says now and then how far it is. One process on each
// host calls it before any rank starts.
func Scan(cfg *config.Config, say func(string)) error {
	scan := func(key string, c data.Config) error {
		source, err := data.OpenSource(c)
		if err != nil {
			return err
		}
		return source.Scan(every(2*time.Second, func(read, all int64) {
			say(fmt.Sprintf("%s: %s of %s checked", key, gib(int(read)), gib(int(all))))
		}))
	}
	c, err := dataConfig(cfg)
	if err != nil {
		return err
	}
	if err := scan("training.dataset_path", c); err != nil || !cfg.Validation.Enable {
		return err
	}
	return scan("validation.dataset_path", validationConfig(cfg, c))
}

// every is say, but not more often than once in d, nor before d has passed.
func every(d time.Duration, say func(read, all int64)) func(read, all int64) {
	var mu sync.Mutex
	last := time.Now()
	return func(read, all int64) {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(last) >= d {
			say(read, all)
			last = time.Now()
		}
	}
}

// openData opens the rank's part of the data.
func openData(cfg *config.Config, rank, world int) (*data.Loader, error) {
	c, err := dataConfig(cfg)
	if err != nil {
		return nil, err
	}
	c.Rank, c.Ranks = rank, cfg.DataRanks(world)
	return data.Open(c)
}

// openValidation opens the rank's part of the validation data.
func openValidation(cfg *config.Config, rank, world int) (*data.Loader, error) {
	c, err := dataConfig(cfg)
	if err != nil {
		return nil, err
	}
	c = validationConfig(cfg, c)
	c.Rank, c.Ranks = rank, cfg.DataRanks(world)
	return data.Open(c)
}

// validationConfig is the validation data of all ranks, for the same model.
func validationConfig(cfg *config.Config, training data.Config) data.Config {
	v, c := cfg.Validation, training
	c.Dataset, c.Path, c.Validation, c.SeqLen, c.LocalBatch = v.Dataset, v.DatasetPath, true, v.SeqLen, v.LocalBatchSize
	return c
}

// dataConfig is the training data of all ranks.
func dataConfig(cfg *config.Config) (data.Config, error) {
	args, err := plan.Args(cfg)
	c := cfg.Training
	return data.Config{
		Dataset: c.Dataset, Path: c.DatasetPath, SeqLen: c.SeqLen, LocalBatch: c.LocalBatchSize,
		VocabSize: args.Vocab, Seed: uint64(cfg.Debug.Seed),
	}, err
}

func checkWeights(cfg *config.Config) error {
	if cfg.Checkpoint.InitialLoadPath == "" {
		return nil
	}
	model, _, err := plan.Build(cfg)
	if err != nil {
		return err
	}
	var params []*nn.Param
	for _, p := range nn.Parameters(model) {
		params = append(params, p)
	}
	w, err := openWeights(cfg, params)
	if err != nil {
		return err
	}
	return w.set.Close()
}

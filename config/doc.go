// SPDX-License-Identifier: Apache-2.0

// Package config holds everything a training run can be told: one struct tree, with torchtitan's section and field
// names (its last version with TOML files), read from a TOML file and from flags.
//
// The command line wins over the file, the file over the defaults. A field is declared once, in config.go: its Go
// type, its key, its default, its legal values and its documentation stand in one struct tag, and reading, checking,
// `octet train --help` and the printed configuration are all made from that tag. What is not declared there is
// refused with the nearest known name. What torchtitan has beside that is a table, torchtitan.go: a key that would change
// numbers, layout or files is refused by name unless it asks for what octet does anyway, and one that has no effect here is
// told once. Nothing that a user writes is ignored.
//
// Use Load for a command line, Default where a test wants a Config to change, and Validate before any rank starts:
//
//	cfg, err := config.Load([]string{"--config", "configs/debugmodel.toml", "--training.steps=20"})
//	if errors.Is(err, config.ErrHelp) {
//		return config.Help(os.Stdout)
//	}
//	if err != nil {
//		return err // every problem of the file and of the flags, each with its place
//	}
//	if err := cfg.Validate(worldSize); err != nil {
//		return err // every value that cannot work
//	}
//
// After Validate a Config is read-only and may be shared by any number of goroutines.
package config

// SPDX-License-Identifier: Apache-2.0

package config

import "path/filepath"

// checkpoint checks the keys of saving against one another.
func (v *validator) checkpoint() {
	c := v.config.Checkpoint
	if !c.InitialLoadModelOnly && c.InitialLoadPath == "" {
		v.problem("checkpoint.initial_load_model_only", "there is no checkpoint.initial_load_path to go on from; leave it out")
	}
	if !c.InitialLoadModelOnly && c.InitialLoadInHF {
		v.problem("checkpoint.initial_load_model_only", "a Hugging Face model (checkpoint.initial_load_in_hf) has weights only; leave it out")
	}
	if !c.Enable {
		return
	}
	if !filepath.IsLocal(c.Folder) {
		v.problem("checkpoint.folder", "must be a path inside job.dump_folder")
	}
	if c.ExportDType != "float32" && !c.LastSaveModelOnly && !c.LastSaveInHF {
		v.problem("checkpoint.export_dtype", "is the type of weights that are saved alone, but checkpoint.last_save_model_only is false; use \"float32\"")
	}
	if c.CreateSeedCheckpoint && c.LoadOnly {
		v.problem("checkpoint.load_only", "saves nothing, but checkpoint.create_seed_checkpoint asks for it")
	}
}

// SPDX-License-Identifier: Apache-2.0

package config

import (
	"path/filepath"
	"slices"
)

// datasets checks what training and validation read.
func (v *validator) datasets() {
	t, val := v.config.Training, v.config.Validation
	v.dataset("training", t.Dataset, t.DatasetPath)
	all := []string{t.Dataset}
	switch {
	case !val.Enable && val.Fraction != 0:
		v.problem("validation.fraction", "has no effect without validation.enable")
	case !val.Enable:
	case val.Fraction != 0:
		v.fraction()
	default:
		v.dataset("validation", val.Dataset, val.DatasetPath)
		all = append(all, val.Dataset)
	}
	if t.DatasetField == "" {
		v.problem("training.dataset_field", "name the field of jsonl and parquet that is the text")
	}
	for name, of := range map[string][]string{"training.dataset_field": {"jsonl", "parquet"}, "training.dataset_skip_broken": {"jsonl"}} {
		if !v.isDefault(v.fields[name]) && !slices.ContainsFunc(all, func(d string) bool { return slices.Contains(of, d) }) {
			v.problem(name, "has no effect on dataset %s: only %v has it", all[0], of)
		}
	}
	if path := t.DatasetCache; path != "" {
		if info, ok := v.stat("training.dataset_cache", path); ok && !info.IsDir() {
			v.problem("training.dataset_cache", "is a file; name a folder")
		}
	}
}

// dataset checks the dataset and dataset_path of a section.
func (v *validator) dataset(section, dataset, path string) {
	name := section + ".dataset_path"
	if path == "" {
		if slices.Contains([]string{"text", "jsonl", "parquet", "tokens"}, dataset) {
			v.problem(name, "%s.dataset = %q needs the path of a file or folder", section, dataset)
		}
		return
	}
	info, ok := v.exists(name, path)
	if ok && dataset == "tokens" && !info.IsDir() && !slices.Contains([]string{".u16", ".u32"}, filepath.Ext(path)) {
		v.problem(name, "dataset tokens reads .u16 (uint16) and .u32 (uint32) files")
	}
}

// fraction checks that training's data can be divided, and that no other is named.
func (v *validator) fraction() {
	const name = "validation.fraction"
	if dataset := v.config.Training.Dataset; !slices.Contains([]string{"text", "jsonl", "parquet"}, dataset) {
		v.problem(name, "training.dataset = %q has no documents that could be kept; name validation.dataset and validation.dataset_path", dataset)
	}
	for _, other := range []string{"validation.dataset", "validation.dataset_path"} {
		if !v.isDefault(v.fields[other]) {
			v.problem(other, "validation reads validation.fraction of training's data: set one of the two")
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// The operators of bugs in the kernels' text, beside wrongLD and swapped.
const (
	noBarrier = "missing barrier"
	wrongLane = "wrong lane"
	wrongTail = "off by one in a tail"
	noClamp   = "missing clamp"
)

func kernelOperators() []string {
	return []string{noBarrier, wrongLane, wrongTail, wrongLD, swapped, noClamp}
}

func kernelRules() []rule {
	const (
		all  = "device/cuda/kernels/*.cu device/cuda/kernels/warp.h device/cuda/kernels/memory.h"
		cast = "device/cuda/kernels/cast.h device/cuda/kernels/cast.cu device/cuda/kernels/amax.cu device/cuda/kernels/matmul.cu"
	)
	return []rule{
		{noBarrier, all, `(?m)^\t+(SYNC|sync_warp)\(\);`, ";"},
		{wrongLane, all, `part\[THREAD / WARP\]`, "part[0]"},
		{wrongLane, all, `j0 \+ \(i32\)lane`, "j0 + (i32)lane / 2"},
		{wrongLane, all, `weight\[lane\]`, "weight[lane ^ 1]"},
		{wrongLane, all, `\bwarp \* (\d+) \+ lane\b`, "lane * $1 + warp"},
		{wrongLane, all, `\+ e % 2 \* 8`, "+ e / 2 * 8"},
		{wrongLane, all, `\+ t \* 2 \+ e % 2`, "+ t * 2 + 1 - e % 2"},
		{wrongLane, all, `>> k % 4 \* 8`, ">> (3 - k % 4) * 8"},
		{wrongTail, all, `\b(row|col) >= (rows|cols)\b`, "$1 > $2"},
		{wrongTail, all, `\b(row|col) \+ k < (rows|cols)\b`, "$1 + k <= $2"},
		{wrongTail, all, `\b(row|col|i) \+ (8|lane) <= `, "$1 + $2 <= 1 + "},
		{wrongTail, all, `\bi \+ k < end\b`, "i + k <= end"},
		{wrongTail, all, `\bw < T / WARP\b`, "w + 1 < T / WARP"},
		{wrongTail, all, `\bj < n\b`, "j <= n"},
		{wrongTail, all, `\+ (TILE|SIDE|7|255|2047|BAND) - 1\) / `, ") / "},
		{wrongTail, all, `\bcols \+ 7\) / 8`, "cols) / 8"},
		{wrongLD, all, `\* PITCH\b`, "* (PITCH - 8)"},
		{wrongLD, all, `\bk \* ROW\b`, "k * SIDE"},
		{wrongLD, all, `\* TILE_ROW\b`, "* (SIDE - 1)"},
		{wrongLD, all, `\brow \* cols\b`, "row * (cols - 1)"},
		{wrongLD, all, `\bcol \* rows\b`, "col * cols"},
		{wrongLD, all, `\(u64\)kv \* hd`, "(u64)h * hd"},
		{swapped, cast, `\b1 / s\b`, "s"},
		{swapped, cast, `\? row : col\b`, "? col : row"},
		{swapped, cast, `v / by : v \* by`, "v * by : v / by"},
		{swapped, cast, `\ba_inv, row\b`, "b_inv, row"},
		{swapped, cast, `\bcol, b_each\b`, "col, a_each"},
		{noClamp, "device/cuda/kernels/number.h", `min_of\(u & 0x7FFFFFFF, most\)`, "u & 0x7FFFFFFF"},
		{noClamp, "device/cuda/kernels/number.h", `a < least \? least : a`, "a"},
		{noClamp, "device/cuda/kernels/*.h", `> INFINITY_BITS \? NAN_BITS : a`, "> INFINITY_BITS ? a : a"},
		{noClamp, "device/cuda/kernels/loss.cu device/cuda/kernels/attention.cu", `== -infinity\(\) \? 0 : `, "== infinity() ? 0 : "},
	}
}

// kernelWatchers need the kernels compiled for this processor, and no more of the simulated device.
func kernelWatchers(string) []shown {
	return []shown{{folder: "device/cuda", run: "TestKernelsDoNotDependOnTheOrderOfThreads|TestKernelsMoveNoMoreThanTheyMust|TestEmulatedKernelsConform$"}}
}

// shadowed reports whether a file is read by a compiler that the go command does not start.
func shadowed(file string) bool {
	return strings.Contains(filepath.ToSlash(file), "/device/cuda/kernels/")
}

// shadow is the module's folder made of links, but for the file with the bug: what tests compile when they run there.
func (p planned) shadow(dir string) (root string, err error) {
	from, err := os.Getwd()
	if err != nil {
		return "", err
	}
	file, err := filepath.Rel(from, p.file)
	if err != nil {
		return "", err
	}
	root = filepath.Join(dir, "module")
	to := root
	for _, part := range strings.Split(file, string(filepath.Separator)) {
		entries, readErr := os.ReadDir(from)
		err = errors.Join(err, readErr, os.MkdirAll(to, 0o777))
		for _, e := range entries {
			if e.Name() != part {
				err = errors.Join(err, os.Symlink(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())))
			}
		}
		from, to = filepath.Join(from, part), filepath.Join(to, part)
	}
	return root, errors.Join(err, os.WriteFile(to, p.text, 0o666))
}

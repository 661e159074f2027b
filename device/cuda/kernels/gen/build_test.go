// SPDX-License-Identifier: Apache-2.0

//go:build cgo && linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"octet/device/cuda/kernels"
)

// TestImagesAreReproduced compiles every module for every target anew.
func TestImagesAreReproduced(t *testing.T) {
	n, err := openNVRTC()
	if errors.Is(err, errNoNVRTC) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	m, err := kernels.ReadManifest()
	if err != nil {
		t.Fatal(err)
	}
	if want := "NVRTC " + compiler; m.Compiler != want {
		t.Errorf("the images were made by %s, want %s", m.Compiler, want)
	}
	all, err := build(n, kernels.Sources())
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != len(m.Images) {
		t.Fatalf("%d images, the manifest has %d", len(all), len(m.Images))
	}
	for i, c := range all {
		want := m.Images[i]
		if c.Module != want.Module || c.Target != want.Target || c.SHA256 != want.SHA256 || fmt.Sprint(c.Kernels) != fmt.Sprint(want.Kernels) {
			t.Errorf("%s for %s comes out as another image, or its kernels as %v, not %v", want.Module, want.Target, c.Kernels, want.Kernels)
		}
	}
}

// TestTheSimulatedNCCLsKernelIsReproduced: its PTX is compiled anew.
func TestTheSimulatedNCCLsKernelIsReproduced(t *testing.T) {
	n, err := openNVRTC()
	if errors.Is(err, errNoNVRTC) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir("..") // where gen runs
	want, err := literal(n)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(simulatedNCCL, literalName))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not what is compiled from its text (%v): `make images` compiles it", literalName, err)
	}
}

func TestTheAssemblersReport(t *testing.T) {
	const log = `ptxas info    : Compiling entry function 'b' for 'sm_90'
ptxas info    : Function properties for b
    16 bytes stack frame, 24 bytes spill stores, 28 bytes spill loads
ptxas info    : Used 64 registers, used 1 barriers, 16 bytes cumulative stack size, 4608 bytes smem
ptxas info    : Compiling entry function 'a' for 'sm_90'
ptxas info    : Used 30 registers, used 0 barriers
`
	got, err := report(log)
	if want := "[{a 30 0 0 0 0} {b 64 4608 16 24 28}]"; err != nil || fmt.Sprint(got) != want {
		t.Errorf("%v, %v; want %s", got, err, want)
	}
}

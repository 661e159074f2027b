// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func manifest(t *testing.T) Manifest {
	t.Helper()
	m, err := ReadManifest()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestImagesAreOfTheTexts(t *testing.T) {
	if m := manifest(t); m.Digest != Digest() {
		t.Errorf("the images were compiled of other texts than these: run `make images`")
	}
}

func TestEveryTargetHasEveryKernel(t *testing.T) {
	m := manifest(t)
	all := map[string][]string{}
	for _, e := range m.Images {
		for _, k := range e.Kernels {
			all[e.Target] = append(all[e.Target], e.Module+"."+k.Name)
		}
	}
	want := all["sm_90"]
	if len(want) < 40 || len(all) != 7 {
		t.Fatalf("%d targets, %d kernels for sm_90", len(all), len(want))
	}
	for target, names := range all {
		if !slices.Equal(names, want) {
			t.Errorf("%s has %q, sm_90 %q", target, names, want)
		}
	}
}

func TestImagesAreWhatTheManifestSays(t *testing.T) {
	for _, target := range []string{"sm_80", "sm_89", "sm_90", "sm_100", "sm_120", "compute_80", "compute_90"} {
		images, err := Images(target)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range images {
			elf := strings.HasPrefix(string(i.Data), "\x7fELF")
			if elf == strings.HasPrefix(target, "compute_") || !elf && i.Data[len(i.Data)-1] != 0 {
				t.Errorf("%s for %s is no image of its kind", i.Module, target)
			}
		}
	}
}

// TestSpills lists the kernels whose registers do not hold all that they have; another
// that spills is to be looked at, and then written here.
func TestSpills(t *testing.T) {
	want := map[string]bool{"amax_whole": true, "attention": true, "attention_grad_kv": true}
	for _, e := range manifest(t).Images {
		for _, k := range e.Kernels {
			if k.SpillStores+k.SpillLoads > 0 && !want[k.Name] {
				t.Errorf("%s for %s spills %d bytes and reads %d", k.Name, e.Target, k.SpillStores, k.SpillLoads)
			}
		}
	}
}

func TestTheTargetOfAGPU(t *testing.T) {
	m := manifest(t)
	for _, tt := range []struct {
		capability int
		want, ptx  string
	}{{80, "sm_80", "compute_80"}, {86, "sm_80", "compute_80"}, {89, "sm_89", "compute_80"}, {90, "sm_90", "compute_90"}, {103, "sm_100", "compute_90"}, {110, "compute_90", "compute_90"}, {120, "sm_120", "compute_90"}} {
		got, err := m.Target(tt.capability)
		ptx, ptxErr := m.PTX(tt.capability)
		if err != nil || ptxErr != nil || got != tt.want || ptx != tt.ptx {
			t.Errorf("capability %d: %s and %s, %v %v; want %s and %s", tt.capability, got, ptx, err, ptxErr, tt.want, tt.ptx)
		}
	}
	if _, err := m.Target(75); err == nil || err.Error() != "no kernel image for compute capability 7.5; octet supports 8.0 and newer" {
		t.Errorf("capability 7.5: %v", err)
	}
}

func TestAManifestIsReadAsItWasWritten(t *testing.T) {
	m := manifest(t)
	text := m.Append(nil)
	again, err := ParseManifest(text)
	if err != nil || string(again.Append(nil)) != string(text) {
		t.Errorf("it is another after it was read: %v", err)
	}
	for _, bad := range []string{"kernel a 1 2 3 4 5", "image a b", "what"} {
		if _, err := ParseManifest([]byte("compiler c\n" + bad)); err == nil || !strings.Contains(err.Error(), "line 2 of the manifest") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func Example() {
	m, err := ReadManifest()
	if err != nil {
		panic(err)
	}
	for _, capability := range []int{86, 90, 110} {
		fmt.Println(m.Target(capability))
	}
	// Output:
	// sm_80 <nil>
	// sm_90 <nil>
	// compute_90 <nil>
}

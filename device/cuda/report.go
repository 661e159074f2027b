// SPDX-License-Identifier: Apache-2.0

package cuda

import (
	"errors"
	"fmt"
	"io"

	"octet/device/cuda/api"
)

// Report is what Inspect found on this machine.
type Report struct {
	Libraries []LibraryReport
	GPUs      []Info
	Err       error // why there are no GPUs, beside a driver that is not there
}

// LibraryReport is of one library.
type LibraryReport struct {
	Soname, Path, Version string
	Attempts              []api.Attempt
	Features              []string // what the version has, and has not
	Err                   error    // why it cannot be used
}

// Write writes the report as text: a line for each library and each GPU, and below it what was
// tried where a library was not found at once.
func (r Report) Write(w io.Writer) {
	for _, l := range r.Libraries {
		switch {
		case l.Err != nil && l.Path == "":
			fmt.Fprintf(w, "%-20s not found\n", l.Soname)
		case l.Err != nil:
			fmt.Fprintf(w, "%-20s %s: cannot be used\n", l.Soname, l.Path)
		default:
			fmt.Fprintf(w, "%-20s %s at %s\n", l.Soname, l.Version, l.Path)
		}
		for _, a := range l.Attempts {
			if a.Failure != "" {
				fmt.Fprintf(w, "    tried %s: %s\n", a.Path, a.Failure)
			}
		}
		for _, f := range l.Features {
			fmt.Fprintf(w, "    %s\n", f)
		}
		if l.Err != nil {
			fmt.Fprintf(w, "    %v\n", reason(l.Err))
		}
	}
	for i, g := range r.GPUs {
		fmt.Fprintf(w, "GPU %-16d %s, %s, compute capability %s, %.1f GiB, %d processors\n", i, g.Name, g.PCI, capabilityText(g.Capability), float64(g.Memory)/(1<<30), g.Processors)
	}
	if r.Err != nil {
		fmt.Fprintf(w, "GPUs                 %v\n", r.Err)
	}
}

// reason is an error without the attempts, which stand in lines of their own.
func reason(err error) string {
	if e, ok := errors.AsType[*api.NotFound](err); ok {
		return e.Advice()
	}
	return err.Error()
}

// capabilityText is as "9.0" of 90.
func capabilityText(capability int) string { return fmt.Sprintf("%d.%d", capability/10, capability%10) }

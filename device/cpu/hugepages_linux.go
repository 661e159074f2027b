// SPDX-License-Identifier: Apache-2.0

package cpu

import "golang.org/x/sys/unix"

// askForHugePages makes page faults and TLB misses fewer; a refusal costs only speed.
func askForHugePages(mem []byte) { _ = unix.Madvise(mem, unix.MADV_HUGEPAGE) }

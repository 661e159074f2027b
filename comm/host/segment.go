// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// segment maps memory that the given ranks of this host share. The first of
// them makes it, a file without a name, and the others open it through that
// process: memory goes with the last process, whenever and however that ends.
func (n *node) segment(ctx context.Context, name string, members []int, bytes int) (mem []byte, err error) {
	path, problem := "", "" // no path: the maker has the problem
	if members[0] == n.cfg.Rank {
		var f *os.File
		if f, err = makeSegment(bytes); err == nil {
			defer f.Close() // once all have mapped it
			path = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd())
			mem, err = mapFile(f, bytes)
		}
		if err != nil {
			problem = err.Error()
		}
	}
	paths, err := n.Exchange(ctx, name+"/segment", members[:1], []byte(path))
	if err != nil {
		return nil, errors.Join(err, unmap(mem))
	}
	if path = string(paths[0]); mem == nil && path != "" && problem == "" {
		if mem, err = openSegment(path, bytes); err != nil {
			problem = err.Error()
		}
	}
	all, err := n.Exchange(ctx, name+"/mapped", members, []byte(problem))
	for i := 0; err == nil && i < len(all); i++ {
		if len(all[i]) > 0 {
			err = fmt.Errorf("shared memory of group %q: rank %d: %s", name, members[i], all[i])
		}
	}
	if err != nil {
		return nil, errors.Join(err, unmap(mem))
	}
	return mem, nil
}

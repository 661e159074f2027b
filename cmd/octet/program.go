// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"octet/config"
	"octet/launcher/agent"
	"octet/launcher/gang"
	"octet/launcher/torchrun"
)

// chooseProgram sets what the ranks run and what all hosts have to be started with
// alike, so that what the launcher can see is found before a rank starts. Of a
// command of octet's own, which it prepares, that is what the command makes of its
// command line: two hosts may have their files in other places. device is what it
// computes on, if it is octet's own.
func chooseProgram(flags *torchrun.Flags, o *agent.Options) (own bool, device string, err error) {
	argv := flags.Argv
	o.Job.Environ = os.Environ()
	o.Asked = slices.Concat([]gang.Asked{{Key: "the version", Value: version()}}, o.Asked, []gang.Asked{{Key: "the program", Value: argv[0]}})
	var p prepared
	if c := lookup(argv[0]); c != nil && c.help != "" && !flags.NoPython && !flags.Module {
		own = true
		if c.prepare != nil {
			world := o.LocalWorldSize
			if o.Nodes > 1 { // each with as many ranks as it wants
				world = config.AnyWorld
			}
			if p, err = c.prepare(argv[1:], world, o.LocalWorldSize); err != nil {
				return true, "", err
			}
		}
		self, err := os.Executable()
		if err != nil {
			return true, "", fmt.Errorf("run: %w", err)
		}
		o.Job.Argv = append([]string{self}, argv...)
		o.Job.Environ = append(o.Job.Environ, p.environ...)
		o.Check = p.check
		o.Store = agent.NoStore // octet's ranks have one that knows them
	} else if o.Job.Argv, err = flags.Command(); err != nil {
		return false, "", fmt.Errorf("run: %w", err)
	}
	if p.asked == nil {
		o.Asked = append(o.Asked, gang.Asked{Key: "the command line", Value: strings.Join(argv, " ")})
	}
	for _, key := range slices.Sorted(maps.Keys(p.asked)) {
		o.Asked = append(o.Asked, gang.Asked{Key: key, Value: p.asked[key]})
	}
	return own, p.device, nil
}

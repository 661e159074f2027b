// SPDX-License-Identifier: Apache-2.0

package preflight

import (
	"fmt"
	"sync"
	"time"

	"octet/data"
	"octet/internal/pace"
	"octet/models/llama/plan"
)

// Prepare makes the documents of the data into ids, where that was not done
// before, and says now and then how far it is. Processes that call it at once
// wait for the one that does it.
func Prepare(run *plan.Run, say func(string)) error {
	for _, s := range run.Sections() {
		var mu sync.Mutex
		doing := ""
		tell := every(2*time.Second, func(done, all int64) {
			say(fmt.Sprintf("%s.dataset_path: %s of %s %s", s, gib(int(done)), gib(int(all)), doing))
		})
		if err := data.Prepare(run.Data(s), func(what string, done, all int64) {
			mu.Lock()
			defer mu.Unlock()
			doing = what
			tell(done, all)
		}); err != nil {
			return err
		}
	}
	return nil
}

// Scan opens every file of the data and reads what may hold wrong ids, so that
// no run ends at them. It says now and then how far it is. One process on each
// host calls it before any rank starts, after Prepare.
func Scan(run *plan.Run, say func(string)) error { return scan(run, 2*time.Second, say) }

func scan(run *plan.Run, interval time.Duration, say func(string)) error {
	for _, s := range run.Sections() {
		source, err := data.OpenSource(run.Data(s))
		if err != nil {
			return err
		}
		if err := source.Scan(every(interval, func(read, all int64) {
			say(fmt.Sprintf("%s.dataset_path: %s of %s checked", s, gib(int(read)), gib(int(all))))
		})); err != nil {
			return err
		}
	}
	return nil
}

// every is say, but not more often than once in d, nor before d has passed.
func every(d time.Duration, say func(read, all int64)) func(read, all int64) {
	due := pace.Every(d)
	return func(read, all int64) {
		if due() {
			say(read, all)
		}
	}
}

// Contents names what the run reads from files, by fingerprints that are equal
// where the contents are, whatever the paths: the data, and the first weights
// if they are loaded. It reads every byte.
func Contents(run *plan.Run) (map[string]string, error) {
	contents := map[string]string{}
	for _, s := range run.Sections() {
		source, err := data.OpenSource(run.Data(s))
		if err != nil {
			return nil, err
		}
		sum, err := source.Fingerprint()
		if err != nil {
			return nil, err
		}
		contents[fmt.Sprintf("the %s data", s)] = fmt.Sprintf("%d tokens with the fingerprint %s", source.Len(), sum)
	}
	if sum, err := run.FingerprintWeights(); err != nil {
		return nil, err
	} else if sum != "" {
		contents["the initial weights"] = sum
	}
	if run.Config.Model.Flavor == "hf" {
		contents["the model's sizes"] = fmt.Sprintf("%+v", run.Args)
	}
	return contents, nil
}

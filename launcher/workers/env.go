// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"octet/launcher"
	"octet/launcher/gang"
)

// SignalsVar is torchrun's variable with the signals that the launcher passes on, by name.
const SignalsVar = "TORCHELASTIC_SIGNALS_TO_HANDLE"

// env returns the environment of a rank: the launcher's own and the variables
// that torchrun sets, under the same names and with the same meanings.
func env(job Job, w gang.World, local int) []string {
	rank, worldSize := strconv.Itoa(w.FirstRank+local), strconv.Itoa(w.WorldSize)
	set := [][2]string{
		{"RANK", rank},
		{"WORLD_SIZE", worldSize},
		{"LOCAL_RANK", strconv.Itoa(local)},
		{"LOCAL_WORLD_SIZE", strconv.Itoa(w.LocalWorldSize)},
		{"GROUP_RANK", strconv.Itoa(w.GroupRank)},
		{"GROUP_WORLD_SIZE", strconv.Itoa(w.GroupWorldSize)},
		{"ROLE_NAME", job.Role},
		{"ROLE_RANK", rank}, // one role: all ranks have it
		{"ROLE_WORLD_SIZE", worldSize},
		{"MASTER_ADDR", job.MasterAddr},
		{"MASTER_PORT", strconv.Itoa(job.MasterPort)},
		{"TORCHELASTIC_RESTART_COUNT", strconv.Itoa(w.Attempt)},
		{"TORCHELASTIC_MAX_RESTARTS", strconv.Itoa(job.MaxRestarts)},
		{"TORCHELASTIC_RUN_ID", job.RunID},
		{"TORCHELASTIC_USE_AGENT_STORE", "True"},
		{"TORCHELASTIC_ERROR_FILE", job.Logs.errorFile(w.Attempt, local)},
		{SignalsVar, job.Signals},
	}
	if job.Store != "" {
		set = append(set, [2]string{launcher.StoreVar, job.Store})
	}
	if job.LocalAddr != "" {
		set = append(set, [2]string{launcher.LocalAddrVar, job.LocalAddr})
	}
	if !isSet(job.Environ, "TORCH_NCCL_ASYNC_ERROR_HANDLING") {
		set = append(set, [2]string{"TORCH_NCCL_ASYNC_ERROR_HANDLING", "1"})
	}
	if n := Threads(job.Environ, w.LocalWorldSize); n > 0 {
		set = append(set, [2]string{"OMP_NUM_THREADS", strconv.Itoa(n)})
	}
	token, value, _ := strings.Cut(job.Secret.Environ(), "=")
	set = append(set, [2]string{token, value})
	env := slices.DeleteFunc(slices.Clone(job.Environ), func(kv string) bool {
		return slices.ContainsFunc(set, func(s [2]string) bool { return strings.HasPrefix(kv, s[0]+"=") })
	})
	for _, s := range set {
		env = append(env, s[0]+"="+s[1])
	}
	return env
}

// Threads is the OMP_NUM_THREADS that ranks get: the cores of this host divided
// by its ranks (torchrun gives 1). It is 0, to leave the variable alone, where the
// environment sets it or there is one rank.
func Threads(environ []string, local int) int {
	if local == 1 || isSet(environ, "OMP_NUM_THREADS") {
		return 0
	}
	return max(1, runtime.NumCPU()/local)
}

func isSet(environ []string, name string) bool {
	return slices.ContainsFunc(environ, func(kv string) bool { return strings.HasPrefix(kv, name+"=") })
}

// expand replaces ${local_rank} in the arguments, as torchrun does.
func expand(argv []string, local int) []string {
	out := slices.Clone(argv)
	for i := range out[1:] {
		out[i+1] = strings.ReplaceAll(out[i+1], "${local_rank}", fmt.Sprint(local))
	}
	return out
}

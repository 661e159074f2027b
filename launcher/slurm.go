// SPDX-License-Identifier: Apache-2.0

package launcher

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// slurm reads the place of a task that srun started. Slurm chooses no port; all
// tasks derive the same one from the job's id, below the range from which Linux
// gives out ephemeral ports. MASTER_ADDR and MASTER_PORT overrule.
func (v *vars) slurm() Place {
	p := Place{Source: "slurm", RunID: v.getenv("SLURM_JOB_ID")}
	p.WorldSize = v.int("SLURM_NTASKS", 1, maxRanks)
	p.Rank = v.int("SLURM_PROCID", 0, p.WorldSize)
	p.GroupRank = v.intOr("SLURM_NODEID", 0, 0, maxRanks)
	p.LocalWorldSize = v.slurmTasks(p)
	p.LocalRank = v.intOr("SLURM_LOCALID", 0, 0, p.LocalWorldSize)
	p.GroupWorldSize = v.intOr("SLURM_NNODES", max(p.GroupRank+1, (p.WorldSize+p.LocalWorldSize-1)/p.LocalWorldSize), p.GroupRank+1, maxRanks)
	p.Attempt = v.intOr("SLURM_RESTART_COUNT", 0, 0, maxRanks)
	if p.WorldSize == 1 {
		return p
	}
	p.MasterAddr = v.slurmMaster()
	job := v.intOr("SLURM_JOB_ID", 0, 0, 1<<32)
	step := v.intOr("SLURM_STEP_ID", 0, 0, 1<<32)
	p.MasterPort = v.intOr("MASTER_PORT", 20000+(31*job+step)%10000, 1, 1<<16)
	return p
}

// slurmTasks is the number of tasks on this node.
func (v *vars) slurmTasks(p Place) int {
	if list := v.getenv("SLURM_STEP_TASKS_PER_NODE"); list != "" {
		n, err := tasksOfNode(list, p.GroupRank)
		if err != nil || n > p.WorldSize {
			v.fail("SLURM_STEP_TASKS_PER_NODE=%q: no number of tasks for SLURM_NODEID=%d of SLURM_NTASKS=%d", list, p.GroupRank, p.WorldSize)
			return 1
		}
		return n
	}
	if v.getenv("SLURM_NTASKS_PER_NODE") == "" && p.WorldSize > 1 {
		v.fail("neither SLURM_STEP_TASKS_PER_NODE nor SLURM_NTASKS_PER_NODE is set: start ranks with srun --ntasks-per-node")
		return 1
	}
	return v.intOr("SLURM_NTASKS_PER_NODE", 1, 1, p.WorldSize+1)
}

// slurmMaster is the host of rank 0: the first of the step. The launch node is
// only a last resort, for with salloc it is the login node.
func (v *vars) slurmMaster() string {
	if addr := v.getenv("MASTER_ADDR"); addr != "" {
		return addr
	}
	for _, name := range []string{"SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"} {
		if list := v.getenv(name); list != "" {
			return firstHost(list)
		}
	}
	addr := v.getenv("SLURM_LAUNCH_NODE_IPADDR")
	if addr == "" {
		v.fail("none of MASTER_ADDR, SLURM_STEP_NODELIST, SLURM_JOB_NODELIST and SLURM_LAUNCH_NODE_IPADDR is set: rank 0's host is unknown")
	}
	return addr
}

// tasksOfNode reads Slurm's list of counts, "2(x3),1" for 2, 2, 2, 1.
func tasksOfNode(list string, node int) (int, error) {
	for part := range strings.SplitSeq(list, ",") {
		count, times, repeated := strings.Cut(strings.TrimSuffix(part, ")"), "(x")
		n, err := strconv.Atoi(count)
		if err != nil || n < 1 {
			return 0, fmt.Errorf("%q is not a number of tasks", part)
		}
		k := 1
		if repeated {
			if k, err = strconv.Atoi(times); err != nil || k < 1 {
				return 0, fmt.Errorf("%q is not a number of tasks", part)
			}
		}
		if node < k {
			return n, nil
		}
		node -= k
	}
	return 0, fmt.Errorf("%q has no entry for the node", list)
}

// firstHost returns the first name of Slurm's host list: "n[007-009,12],m" has
// n007.
func firstHost(list string) string {
	first := slurmName.FindString(list)
	return slurmRange.ReplaceAllString(first, "$1")
}

// slurmName is a name or a pattern of names, slurmRange one of its brackets.
var (
	slurmName  = regexp.MustCompile(`^(?:[^,[]|\[[^]]*\]?)*`)
	slurmRange = regexp.MustCompile(`\[([^],-]*)[^]]*\]?`)
)

// SPDX-License-Identifier: Apache-2.0

// Package launcher starts the ranks of a job and tells each rank where it
// stands. A rank, however it was started, calls FromEnv for its Place in the
// world and OpenStore for the store in which it meets the others; a rank that
// fails leaves the reason with WriteErrorFile.
//
// The launcher itself is in the packages below: torchrun reads its command line,
// gang is its logic without any I/O, workers starts the processes of one host, agent
// connects the hosts over gRPC. Ranks that are goroutines need none: see backend.Run.
package launcher

import (
	"cmp"
	"fmt"
	"net"
	"strconv"

	"octet/internal/auth"
)

// StoreVar is the environment variable by which octet's launcher tells its ranks
// where their store is. What is at MASTER_ADDR:MASTER_PORT is for PyTorch's ranks.
const StoreVar = "OCTET_STORE"

// LocalAddrVar tells the ranks of a host the address of --local-addr. Torchrun has
// no variable for it.
const LocalAddrVar = "OCTET_LOCAL_ADDR"

// Place is where a process stands in its job.
type Place struct {
	Rank, WorldSize           int // number of this rank, and of ranks in the job
	LocalRank, LocalWorldSize int // the same among the ranks of this host
	GroupRank, GroupWorldSize int // number of this host, and of hosts

	// MasterAddr and MasterPort are where the store is served; empty and 0 for a
	// job of one rank.
	MasterAddr string
	MasterPort int
	// AgentStore says that the launcher serves the store; otherwise rank 0 does.
	AgentStore bool
	// Store is the address of the store of octet's launcher, from OCTET_STORE;
	// empty under other launchers.
	Store string

	// LocalAddr is how other hosts reach this one (--local-addr); empty: not told.
	LocalAddr string
	// Secret is known to the ranks of the job alone, from OCTET_JOB_TOKEN; zero if
	// that is not set.
	Secret auth.Secret

	RunID   string // id of the job, as the launcher names it
	Attempt int    // how many times the ranks were started before
	Source  string // what the place was read from: "torchrun", "slurm" or "alone"
}

// Endpoint is the address of the store.
func (p Place) Endpoint() string {
	return net.JoinHostPort(p.MasterAddr, strconv.Itoa(p.MasterPort))
}

// Job names the job and the attempt, for whatever ranks of another one must not
// be mixed up with.
func (p Place) Job() string { return fmt.Sprintf("%s/%d", p.RunID, p.Attempt) }

// HostAddress is LocalAddr or, where the operator gave none, this host's address
// on its way to the store: hosts that reach that reach this host there. That
// is loopback where the store is; it is empty if a name's way does not leave the
// host, which then does not tell.
func (p Place) HostAddress() string {
	if p.LocalAddr != "" {
		return p.LocalAddr
	}
	store := cmp.Or(p.Store, p.Endpoint())
	if host, _, _ := net.SplitHostPort(store); host == "localhost" || net.ParseIP(host).IsLoopback() {
		return host
	}
	conn, err := net.Dial("udp", store) // chooses a route and sends nothing
	if err != nil {
		return ""
	}
	defer conn.Close()
	ip := conn.LocalAddr().(*net.UDPAddr).IP
	if !ip.IsGlobalUnicast() {
		return ""
	}
	return ip.String()
}

// FromEnv reads the place of this process from torchrun's variables (octet's
// launcher sets the same), else from Slurm's; with neither it is one rank alone.
// Values that contradict each other are errors that name the variable.
func FromEnv(getenv func(string) string) (Place, error) {
	v := vars{getenv: getenv}
	var p Place
	switch {
	case getenv("RANK") != "" || getenv("WORLD_SIZE") != "" || getenv("LOCAL_RANK") != "":
		p = v.torchrun()
	case getenv("SLURM_PROCID") != "" && getenv("SLURM_NTASKS") != "":
		p = v.slurm()
	default: // it has nobody to prove anything to
		return Place{WorldSize: 1, LocalWorldSize: 1, GroupWorldSize: 1, Source: "alone"}, nil
	}
	p.Store = getenv(StoreVar)
	var err error
	if p.Secret, err = auth.ParseSecret(getenv(auth.TokenVar)); err != nil {
		v.fail("%s: %w", auth.TokenVar, err)
	}
	if v.err != nil {
		return Place{}, fmt.Errorf("place of this rank from %s's environment: %w", p.Source, v.err)
	}
	return p, nil
}

// vars reads variables; the first wrong one stays in err.
type vars struct {
	getenv func(string) string
	err    error
}

func (v *vars) fail(format string, args ...any) {
	if v.err == nil {
		v.err = fmt.Errorf(format, args...)
	}
}

// int reads name, which must be lo or more and less than hi.
func (v *vars) int(name string, lo, hi int) int {
	s := v.getenv(name)
	if s == "" {
		v.fail("%s is not set", name)
		return lo
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < lo || n >= hi {
		v.fail("%s=%q: want an integer from %d to %d", name, s, lo, hi-1)
		return lo
	}
	return n
}

// intOr reads name where it is set, else returns def.
func (v *vars) intOr(name string, def, lo, hi int) int {
	if v.getenv(name) == "" {
		return def
	}
	return v.int(name, lo, hi)
}

// maxRanks bounds counts, so that a garbled variable is found here.
const maxRanks = 1 << 20

func (v *vars) torchrun() Place {
	p := Place{Source: "torchrun", RunID: v.getenv("TORCHELASTIC_RUN_ID")}
	p.WorldSize = v.int("WORLD_SIZE", 1, maxRanks)
	p.Rank = v.int("RANK", 0, p.WorldSize)
	p.LocalWorldSize = v.int("LOCAL_WORLD_SIZE", 1, p.WorldSize+1)
	p.LocalRank = v.int("LOCAL_RANK", 0, p.LocalWorldSize)
	if p.LocalRank > p.Rank {
		v.fail("LOCAL_RANK=%d is more than RANK=%d", p.LocalRank, p.Rank)
	}
	p.GroupWorldSize = v.intOr("GROUP_WORLD_SIZE", (p.WorldSize+p.LocalWorldSize-1)/p.LocalWorldSize, 1, p.WorldSize+1)
	p.GroupRank = v.intOr("GROUP_RANK", (p.Rank-p.LocalRank)/p.LocalWorldSize, 0, p.GroupWorldSize)
	p.Attempt = v.intOr("TORCHELASTIC_RESTART_COUNT", 0, 0, maxRanks)
	p.LocalAddr = v.getenv(LocalAddrVar)
	p.AgentStore = v.getenv("TORCHELASTIC_USE_AGENT_STORE") == "True"
	if p.WorldSize > 1 {
		p.MasterPort = v.int("MASTER_PORT", 1, 1<<16)
		if p.MasterAddr = v.getenv("MASTER_ADDR"); p.MasterAddr == "" {
			v.fail("MASTER_ADDR is not set: want the address of rank 0's host")
		}
	}
	return p
}

// SPDX-License-Identifier: Apache-2.0

package torchrun

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strconv"
	"strings"
	"time"

	"octet/device/cuda/topo"
	"octet/internal/auth"
	"octet/launcher/agent"
	"octet/launcher/gang"
)

// maxCount bounds hosts, and ranks on a host.
const maxCount = 65536

// maxSeconds bounds what is given in seconds: thirty years.
const maxSeconds = 1e9

// Options is what the flags ask of this host's agent: where it meets the others, how
// many ranks it starts, what all hosts must be asked for alike. What is ignored of
// the flags is told to say, which the agent is given too. An error names the flag
// or the variable.
//
// It is for the caller to add Host and Signals, to Job the program and where its
// output goes, to Asked what it knows of the program, and to Bind the ranks.
func (f *Flags) Options(say func(text string)) (o agent.Options, err error) {
	o = f.opts
	o.Say, o.ShutdownTimeout = say, time.Duration(f.shutdownTimeout*float64(time.Second))
	o.Job.Linger = o.ShutdownTimeout
	if o.Nodes, err = f.nodes(); err != nil {
		return o, err
	}
	if o.LocalWorldSize, err = f.localWorldSize(); err != nil {
		return o, err
	}
	if err := f.checkBinding(); err != nil {
		return o, err
	}
	switch {
	case o.MaxRestarts < 0:
		return o, fmt.Errorf("--max-restarts %d: want 0 or more", o.MaxRestarts)
	case !(f.shutdownTimeout >= 0 && f.shutdownTimeout <= maxSeconds):
		return o, fmt.Errorf("--shutdown-timeout %v: want 0 to %.0g seconds", f.shutdownTimeout, maxSeconds)
	case f.monitorInterval <= 0:
		return o, fmt.Errorf("--monitor-interval %v: want more than 0 seconds", f.monitorInterval)
	}
	if f.set.Changed("monitor-interval") {
		say("--monitor-interval is ignored: octet notices at once when a rank ends")
	}
	conf, err := f.conf()
	if err != nil {
		return o, err
	}
	o.JoinTimeout, o.BeatEvery, o.BeatTimeout = conf.joinTimeout, conf.beatEvery, time.Duration(conf.beats)*conf.beatEvery
	if f.rdzvBackend == "static" && !f.standalone && f.set.Changed("node-rank") && !f.set.Changed("nnodes") {
		return o, fmt.Errorf("--node-rank %d without --nnodes: this host would be a job of its own", o.NodeRank)
	}
	if err := f.meet(&o, conf); err != nil {
		return o, err
	}
	if o.Secret, err = f.secret(o, conf); err != nil {
		return o, err
	}
	o.Asked = []gang.Asked{
		{Key: "--nnodes", Value: strconv.Itoa(o.Nodes)},
		{Key: "--max-restarts", Value: strconv.Itoa(o.MaxRestarts)},
		{Key: "--role", Value: o.Job.Role},
		{Key: "a host is lost after", Value: o.BeatTimeout.String()},
	}
	err = conf.apply(&o)
	return o, err
}

// meet finds where the hosts meet, and who listens there.
func (f *Flags) meet(o *agent.Options, conf rdzvConf) error {
	fixed := f.set.Changed("master-port") || f.rdzvEndpoint != ""
	switch {
	case f.standalone, f.rdzvBackend == "static" && o.Nodes == 1 && !fixed:
		if o.Nodes != 1 {
			return fmt.Errorf("--standalone is one host, but --nnodes is %s", f.nnodes)
		}
		// A free port, so that two jobs on a host do not meet.
		o.Addr, o.Port, o.Coordinator, o.NodeRank = "localhost", 0, agent.Always, 0
		if f.standalone || !f.set.Changed("rdzv-id") {
			o.RunID = rand.Text()
		}
		return nil
	case f.rdzvBackend == "static":
		return f.static(o)
	case f.rdzvBackend == "c10d":
		return f.c10d(o, conf)
	}
	return fmt.Errorf("--rdzv-backend %q is not supported: use static (with --node-rank on each host) or c10d", f.rdzvBackend)
}

// static: hosts have numbers, host 0 listens.
func (f *Flags) static(o *agent.Options) (err error) {
	if f.rdzvEndpoint != "" {
		if o.Addr, o.Port, err = endpoint(f.rdzvEndpoint, 29500); err != nil {
			return err
		}
	}
	if o.NodeRank < 0 || o.NodeRank >= o.Nodes {
		return fmt.Errorf("--node-rank %d: with --nnodes %d want 0 to %d", o.NodeRank, o.Nodes, o.Nodes-1)
	}
	if o.NodeRank == 0 {
		o.Coordinator = agent.Always
	}
	if o.Port < 0 || o.Port > 65535 || o.Port == 0 && o.Nodes > 1 {
		return fmt.Errorf("--master-port %d: want 1 to 65535", o.Port)
	}
	return nil
}

// c10d: the host that has the endpoint's address listens, and numbers the others.
func (f *Flags) c10d(o *agent.Options, conf rdzvConf) (err error) {
	o.NodeRank = -1
	if o.Addr, o.Port, err = endpoint(f.rdzvEndpoint, 29400); err != nil {
		return err
	}
	if f.set.Changed("node-rank") {
		o.Say("--node-rank is ignored: with --rdzv-backend c10d hosts are numbered by address")
	}
	switch {
	case conf.isHost != nil && !*conf.isHost:
		o.Coordinator = agent.Never
	case conf.isHost != nil || o.Nodes == 1:
		o.Coordinator = agent.Always
	default:
		o.Coordinator = agent.IfLocal
	}
	return nil
}

func endpoint(text string, port int) (string, int, error) {
	if text == "" {
		return "localhost", port, nil
	}
	host, p, err := net.SplitHostPort(text)
	if err != nil { // no port
		return strings.Trim(text, "[]"), port, nil
	}
	port, err = strconv.Atoi(p)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("--rdzv-endpoint %q: %q is not a port", text, p)
	}
	return host, port, nil
}

// secret is what the members of the job prove to each other that they know: from
// a file or OCTET_JOB_TOKEN, or, where all of them come from this process, drawn
// at random.
func (f *Flags) secret(o agent.Options, conf rdzvConf) (auth.Secret, error) {
	if conf.tokenFile != "" {
		s, err := auth.ReadSecret(conf.tokenFile)
		if err != nil {
			err = fmt.Errorf("--rdzv-conf token_file: %w", err)
		}
		return s, err
	}
	s, err := auth.ParseSecret(f.token)
	switch {
	case err != nil:
		return s, fmt.Errorf("%s: %w", auth.TokenVar, err)
	case !s.IsZero():
		return s, nil
	case o.Nodes == 1:
		return auth.NewSecret(), nil
	case !f.insecure && !loopback(o.Addr):
		return s, fmt.Errorf("--nnodes %d at %s: give every host the same token, so that nobody else can join: in %s or --rdzv-conf token_file=FILE "+
			"(`openssl rand -hex 32` makes one); or let anyone on the network join, with --insecure", o.Nodes, o.Addr, auth.TokenVar)
	case f.insecure:
		o.Say("--insecure: anyone who reaches " + o.Addr + " can join, read and stop this job")
	}
	return auth.Public(), nil
}

func loopback(host string) bool { return host == "localhost" || net.ParseIP(host).IsLoopback() }

// nodes reads N or N:N; a range of hosts is elastic, which octet is not yet.
func (f *Flags) nodes() (int, error) {
	lo, hi, ranged := strings.Cut(f.nnodes, ":")
	if !ranged {
		hi = lo
	}
	a, err1 := strconv.Atoi(lo)
	b, err2 := strconv.Atoi(hi)
	if err1 != nil || err2 != nil || a < 1 || a > b || b > maxCount {
		return 0, fmt.Errorf("--nnodes %q: want a number of hosts, 1 to %d", f.nnodes, maxCount)
	}
	if a < b {
		return 0, fmt.Errorf("--nnodes %s: a changing number of hosts is not supported yet: give one number", f.nnodes)
	}
	return a, nil
}

func (f *Flags) localWorldSize() (int, error) {
	switch f.nprocPerNode {
	case "cpu":
		return runtime.NumCPU(), nil
	case "gpu", "auto":
		gpus, err := f.GPUs()
		n := len(gpus)
		switch {
		case f.nprocPerNode == "auto" && (errors.Is(err, topo.ErrNoNVML) || err == nil && n == 0):
			return runtime.NumCPU(), nil
		case err == nil && n == 0:
			err = errors.New("CUDA_VISIBLE_DEVICES shows no GPU of this host")
		}
		if err != nil {
			return 0, fmt.Errorf("--nproc-per-node %s: %w; give a number or cpu", f.nprocPerNode, err)
		}
		f.countedGPUs = true
		return n, nil
	case "xpu":
		return 0, errors.New("--nproc-per-node xpu: octet has no XPU backend: give a number, gpu, cpu or auto")
	}
	n, err := strconv.Atoi(f.nprocPerNode)
	if err != nil || n < 1 || n > maxCount {
		return 0, fmt.Errorf("--nproc-per-node %s: want 1 to %d, gpu, cpu or auto", f.nprocPerNode, maxCount)
	}
	return n, nil
}

func seconds(text string) (time.Duration, error) {
	s, err := strconv.ParseFloat(text, 64)
	if err != nil || !(s >= 1e-3 && s <= maxSeconds/1e6) {
		return 0, fmt.Errorf("want seconds, 0.001 to %.0f", maxSeconds/1e6)
	}
	return time.Duration(s * float64(time.Second)), nil
}

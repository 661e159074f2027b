// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"octet/comm"
	"octet/comm/internal/group"
	"octet/internal/arena"
)

// node is what one process holds for a job.
type node struct {
	cfg    Config
	job    *group.Job
	peers  []peer       // by rank of the world
	locals []int        // ranks of this host, in order, this one included
	page   *page        // nil if this rank is alone on its host
	deaths *deaths      // of the others on this host; nil as page
	maps   []*arena.Map // by rank of the world: memory of the others of this host; nil where messages are copied
	tcp    *listener
	roll   sync.Mutex // one roll call at a time
	answer atomic.Pointer[func() []byte]
	ended  sync.WaitGroup // goroutines
}

// peer is what a rank tells about itself.
type peer struct {
	Host    string // HostID
	Pid     int
	World   int
	Chunk   int
	Address string // host:port, where ranks of other hosts exist

	control *control // on another host
}

var _ group.Net = (*node)(nil)

func newNode(cfg Config) *node {
	n := &node{cfg: cfg, job: group.NewJob(cfg.Timeout)}
	n.job.Look, n.job.Tell = n.look, n.tell
	return n
}

// look finds an abort by another rank of this host.
func (n *node) look() *comm.AbortError {
	if n.page == nil {
		return nil
	}
	return n.page.look()
}

// tell spreads an abort.
func (n *node) tell(e *comm.AbortError) {
	if n.page != nil {
		n.page.tell(e)
	}
	for r := range n.peers {
		if c := n.peers[r].control; c != nil {
			c.tell(e)
		}
	}
}

// everyone is the ranks of the world.
func (n *node) everyone() []int {
	ranks := make([]int, n.cfg.World)
	for r := range ranks {
		ranks[r] = r
	}
	return ranks
}

// join meets the other ranks.
func (n *node) join(ctx context.Context) error {
	if err := n.meet(ctx); err != nil {
		return err
	}
	for r := range n.peers {
		if n.peers[r].Host == n.peers[n.cfg.Rank].Host {
			n.locals = append(n.locals, r)
		}
	}
	if len(n.locals) > 1 {
		if err := n.joinHost(ctx); err != nil {
			return err
		}
	}
	if len(n.locals) < n.cfg.World {
		if err := n.joinHosts(ctx); err != nil {
			return err
		}
	}
	n.watch()
	return nil
}

// Hosts implements group.Net.
func (n *node) Hosts(members []int) (here, across []int) {
	var hosts [][]int // runs of members on one host
	for i, r := range members {
		if i == 0 || n.peers[r].Host != n.peers[members[i-1]].Host {
			hosts = append(hosts, nil)
		}
		last := len(hosts) - 1
		hosts[last] = append(hosts[last], r)
	}
	local := len(hosts[0])
	if len(hosts) == 1 || local == 1 {
		return nil, nil
	}
	seen := map[string]bool{}
	for _, h := range hosts {
		if len(h) != local || seen[n.peers[h[0]].Host] {
			return nil, nil
		}
		seen[n.peers[h[0]].Host] = true
		if slices.Contains(h, n.cfg.Rank) {
			here = h
		}
	}
	place := slices.Index(here, n.cfg.Rank)
	for _, h := range hosts {
		across = append(across, h[place])
	}
	return here, across
}

// RollCall implements group.Net.
func (n *node) RollCall(ranks []int, d time.Duration) (silent []int) {
	n.roll.Lock()
	defer n.roll.Unlock()
	answers := make([]func(time.Time) bool, len(ranks))
	for i, r := range ranks {
		switch {
		case r == n.cfg.Rank:
			answers[i] = func(time.Time) bool { return true }
		case n.remote(r):
			answers[i] = n.peers[r].control.ask()
		default:
			answers[i] = n.page.ring(slices.Index(n.locals, r))
		}
	}
	by := time.Now().Add(d)
	for i, r := range ranks {
		if !answers[i](by) {
			silent = append(silent, r)
		}
	}
	return silent
}

// answerPatience is how long the store may take for an answer.
const answerPatience = time.Second

// answerKey is where rank r's answer is.
func (n *node) answerKey(r int) string { return n.key("answer", r) }

// Answer implements group.Net.
func (n *node) Answer(with func() []byte) { n.answer.Store(&with) }

// publish puts this rank's answer into the store, before it says that it runs.
func (n *node) publish() {
	if with := n.answer.Load(); with != nil {
		ctx, cancel := context.WithTimeout(context.Background(), answerPatience)
		defer cancel()
		_ = n.cfg.Store.Set(ctx, n.answerKey(n.cfg.Rank), (*with)()) // who asks finds no answer
	}
}

// Ask implements group.Net.
func (n *node) Ask(ranks []int, d time.Duration) [][]byte {
	n.publish()
	silent := n.RollCall(ranks, d)
	ctx, cancel := context.WithTimeout(context.Background(), answerPatience)
	defer cancel()
	answers := make([][]byte, len(ranks))
	for i, r := range ranks {
		if !slices.Contains(silent, r) {
			answers[i], _ = n.cfg.Store.Get(ctx, n.answerKey(r))
		}
	}
	return answers
}

// meet exchanges what the ranks are.
func (n *node) meet(ctx context.Context) error {
	id := n.cfg.HostID
	if id == "" {
		var err error
		if id, err = hostID(); err != nil {
			return err
		}
	}
	me := peer{Host: id, Pid: os.Getpid(), World: n.cfg.World, Chunk: n.cfg.ChunkBytes}
	var err error
	n.peers, err = n.share(ctx, "join", me)
	if err != nil {
		return err
	}
	for r, p := range n.peers {
		if p.World != me.World || p.Chunk != me.Chunk {
			return fmt.Errorf("rank %d has world size %d and chunks of %d bytes, this rank %d and %d", r, p.World, p.Chunk, me.World, me.Chunk)
		}
	}
	return nil
}

// share exchanges peers.
func (n *node) share(ctx context.Context, name string, me peer) ([]peer, error) {
	value, err := json.Marshal(me)
	if err != nil {
		return nil, err
	}
	all, err := n.Exchange(ctx, name, n.everyone(), value)
	if err != nil {
		return nil, err
	}
	peers := make([]peer, len(all))
	for r, v := range all {
		if err := json.Unmarshal(v, &peers[r]); err != nil {
			return nil, fmt.Errorf("rank %d: %w", r, err)
		}
	}
	return peers, nil
}

// joinHost maps the page that the ranks of this host share and learns to see
// them die.
func (n *node) joinHost(ctx context.Context) error {
	mem, err := n.segment(ctx, "page", n.locals, pageBytes(len(n.locals)))
	if err != nil {
		return err
	}
	if err := n.mapArenas(ctx); err != nil {
		return errors.Join(err, unmap(mem))
	}
	n.page = newPage(mem, slices.Index(n.locals, n.cfg.Rank), len(n.locals))
	pids := make([]int, len(n.locals)) // this one's stays 0
	for i, r := range n.locals {
		if r != n.cfg.Rank {
			pids[i] = n.peers[r].Pid
		}
	}
	n.deaths, err = watchDeaths(pids)
	return err
}

// joinHosts listens and connects to the ranks of other hosts.
func (n *node) joinHosts(ctx context.Context) error {
	if n.cfg.Secret.IsZero() {
		return errors.New("there are ranks on other hosts, but no secret to know them by")
	}
	me := n.peers[n.cfg.Rank]
	var err error
	if n.tcp, err = listen(n.cfg.Address, n.cfg.RunID, n.cfg.Secret); err != nil {
		return err
	}
	me.Address = n.tcp.address
	known, err := n.share(ctx, "address", me)
	if err != nil {
		return err
	}
	for r := range known {
		n.peers[r].Address = known[r].Address
	}
	for r := range n.peers {
		if n.remote(r) {
			conn, err := n.connect(ctx, "control", r)
			if err != nil {
				return err
			}
			n.peers[r].control = newControl(n, r, conn)
		}
	}
	for r := range n.peers {
		if c := n.peers[r].control; c != nil {
			n.ended.Go(c.receive)
		}
	}
	return nil
}

// remote reports whether rank r is on another host.
func (n *node) remote(r int) bool { return n.peers[r].Host != n.peers[n.cfg.Rank].Host }

// describe names a rank in errors.
func (n *node) describe(r int) string {
	if p := n.peers[r]; p.Address != "" && n.remote(r) {
		return fmt.Sprintf("rank %d (pid %d at %s)", r, p.Pid, p.Address)
	}
	return fmt.Sprintf("rank %d (pid %d)", r, n.peers[r].Pid)
}

// watch aborts the job when another rank of this host has aborted or died.
func (n *node) watch() {
	if n.page == nil {
		return
	}
	n.ended.Go(func() {
		n.page.listen(n.publish)
		_ = n.job.Cause() // looks at the page, where an abort stands unless this rank leaves
	})
	n.ended.Go(func() {
		for {
			i, ok := n.deaths.next()
			if !ok {
				return
			}
			if !n.page.left(i) {
				n.gone(n.locals[i])
			}
		}
	})
}

// gone ends the job because a rank has died.
func (n *node) gone(r int) error {
	return n.job.Abort(n.cfg.Rank, &comm.PeerError{Ranks: []int{r}, Text: n.describe(r) + " is gone"})
}

// hasLeft reports whether rank r has closed its communicator.
func (n *node) hasLeft(r int) bool {
	if n.remote(r) {
		return n.peers[r].control.left()
	}
	return n.page.left(slices.Index(n.locals, r))
}

// check is called by waits for rank r from time to time.
func (n *node) check(r int) error {
	if err := n.job.Cause(); err != nil {
		return err
	}
	if n.hasLeft(r) {
		return fmt.Errorf("%s has closed its communicator", n.describe(r))
	}
	return nil
}

// Close implements group.Net.
func (n *node) Close() error {
	if n.page != nil {
		n.page.hush()
	}
	if n.deaths != nil {
		n.deaths.stop()
	}
	for r := range n.peers {
		if c := n.peers[r].control; c != nil {
			c.leave()
		}
	}
	if n.tcp != nil {
		n.tcp.close()
	}
	n.ended.Wait()
	if n.deaths != nil {
		n.deaths.close()
	}
	err := closeMaps(n.maps)
	if n.page == nil {
		return err
	}
	return errors.Join(err, n.page.close())
}

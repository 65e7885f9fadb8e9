package sim

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/server"
	"github.com/cairnkv/cairn/server/config"
	"github.com/cairnkv/cairn/task"
	"github.com/cairnkv/cairn/transport"
	v3 "github.com/cairnkv/cairn/v3"
	"github.com/cairnkv/cairn/vfs"
)

// member is a machine: a disk, a clock, and a process that runs or does not.
type member struct {
	sim   *Sim
	index int
	name  string
	url   string
	id    cairn.MemberID // 0 until it has begun once
	// existing is set for one that joins a running cluster; initial is what it is told of it.
	existing bool
	initial  string

	mem  *vfs.Mem // as the last life has left it
	life *life    // nil: no process runs
	gone bool     // removed from the cluster for good

	clock   *clock.Manual
	born    time.Duration // when the clock began, simulated
	elapsed time.Duration // on the clock
	rate    float64       // of the clock; 1 is right

	began        bool // it was ready once
	rejoining    bool // somebody asks for it who the members are
	paused       bool // the process is stopped (SIGSTOP)
	waking       bool
	wake         time.Duration // when the next timer fires, simulated
	sleeps       bool          // no timer is set
	startFailure error         // why the last start failed
	lastExit     error         // why the process ended by itself
	starts       int
	// lacks is the kind of commands that the process knows nothing of, as one of an older version;
	// 0: it is of this one.
	lacks command.Kind

	// Of the disk.
	crashIn, failIn, unreadable, misdirect int    // at which operation from now; 0: never
	slowDisk, hangingDisk                  bool   // syncs take long, or for ever
	excused                                bool   // its process may end by what the disk has done
	damaged                                bool   // what is stored is not what was written
	lostPages                              bool   // a sync has failed: who knows what is on disk
	crashNear                              string // near operations on such files
	crashOnVote                            bool   // when it has given a vote
	afterCrash                             func()
}

// life is one run of a member's process.
type life struct {
	*host
	m      *member
	disk   *disk
	server *server.Server // once it has started
	opts   transport.Options
	// handler answers other members, from the moment the member serves them.
	handler http.Handler
	peers   map[uint64]bool
	heard   map[uint64]*contact
	pending []func() // what is to be told to others when the process ends
	ready   time.Duration
	// shown is the revision that the watch inside this life has not shown yet.
	shown int64
	// powerless: its machine has lost power, and nobody is told.
	powerless bool
	// stopping: an operator has asked it to stop.
	stopping bool
}

// contact is what a member has heard of another.
type contact struct{ since, last time.Time }

// epoch is when all clocks begin.
var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func (s *Sim) newMember() *member {
	i := len(s.members)
	m := &member{
		sim: s, index: i, name: fmt.Sprintf("m%d", i),
		url: fmt.Sprintf("http://10.0.0.%d:2380", i+1),
		mem: vfs.NewMem(), clock: clock.NewManual(epoch), born: s.now, rate: 1, sleeps: true,
	}
	if s.opts.Faults.Drift > 0 {
		m.rate = 1 + s.opts.Faults.Drift*(2*s.faultRNG.Float64()-1)
	}
	s.members = append(s.members, m)
	return m
}

// tune sets the clock to what it shows now.
func (m *member) tune() {
	want := time.Duration(float64(m.sim.now-m.born) * m.rate)
	if want > m.elapsed {
		m.clock.Advance(want - m.elapsed)
		m.elapsed = want
	}
}

// nextWake is when the next timer fires.
func (m *member) nextWake() (time.Duration, bool) {
	if m.life == nil || m.paused || m.sleeps {
		return 0, false
	}
	return m.wake, true
}

// touch lets the member's process go on at the present time.
func (m *member) touch() {
	l := m.life
	if l == nil || m.paused || l.running {
		return
	}
	m.tune()
	l.run()
	if m.life != l {
		return
	}
	d, ok := m.clock.Next()
	m.sleeps = !ok
	m.wake = max(m.sim.now+time.Nanosecond, m.sim.now+time.Duration(float64(d)/m.rate)+1)
}

func (l *life) touch() {
	if l.m.life == l {
		l.m.touch()
	}
}

// part says whether the machine is one of the cluster's: set up, and not removed.
func (m *member) part() bool { return !m.gone && m.initial != "" }

// start begins a process.
func (m *member) start() {
	if m.life != nil || !m.part() {
		return
	}
	m.starts++
	m.sim.Stats.Starts++
	m.sim.logf("%s: starts", m.name)
	l := &life{
		host: m.sim.newHost(m.name), m: m,
		peers: map[uint64]bool{}, heard: map[uint64]*contact{},
	}
	l.disk = &disk{l, m.mem}
	m.life, m.paused, m.startFailure = l, false, nil
	l.Go("main", l.main)
	m.sim.after(knockEvery, l.knock)
	m.touch()
}

// main is the process: it starts the member and waits for what ends it.
func (l *life) main() {
	m := l.m
	cfg, err := m.config()
	if err != nil {
		m.sim.fail(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s, err := server.StartIn(ctx, cfg, m.logger(), server.World{
		FS: l.disk, Clock: m.clock, Tasks: l.on(),
		Network: func(o transport.Options) server.Network {
			l.opts = o
			return &endpoint{l: l}
		},
		ServePeers: func(h http.Handler) { l.handler = h },
		WALBytes:   m.sim.opts.WALBytes, RevlogBytes: m.sim.opts.RevlogBytes,
		Lacks: l.lacks(), WatchBytes: m.sim.opts.WatchBytes,
		LeaseCheckpoint: m.sim.opts.LeaseCheckpoint, Divided: !m.sim.opts.Quiet,
	})
	if err != nil {
		m.startFailure = err
		m.sim.after(0, func() { m.exit(l, err) })
		return
	}
	l.server, l.ready, m.began = s, m.sim.now, true
	m.id = s.Machine().Local()
	m.sim.nemesis.failures[m] = 0
	m.sim.logf("%s: is ready, member %x", m.name, m.id)
	m.sim.truth.follow(l)
	err, which := task.Receive(l.on(), s.Failed(), s.Removed())
	if which == 0 {
		err = server.ErrRemoved
	}
	m.sim.after(0, func() { m.exit(l, err) })
}

// backend is the member as its clients see it, nil before it serves them.
func (l *life) backend() v3.Backend {
	if l.server == nil {
		return nil
	}
	return l.server.Backend()
}

// exit is the end of a process by itself.
func (m *member) exit(l *life, err error) {
	if m.life != l {
		return
	}
	m.sim.logf("%s: the process ends: %v", m.name, err)
	m.sim.Stats.Exits++
	m.lastExit = err
	m.stop(m.mem.KillClone())
	if errors.Is(err, server.ErrRemoved) {
		m.gone = true
		return
	}
	if m.lacks != 0 && errors.Is(err, command.ErrVersion) {
		m.sim.nemesis.outdated(m)
		return
	}
	if !m.damaged && (m.id == 0 || m.existing && !m.began) {
		m.sim.nemesis.rejoin(m) // the membership has changed since it was told of it
		return
	}
	if !m.excused && !m.damaged {
		m.sim.fail(fmt.Errorf("%s ended by itself: %w", m.name, err))
		return
	}
	m.sim.nemesis.exited(m, err)
}

// stop ends the process; the next one finds these files.
func (m *member) stop(files *vfs.Mem) {
	l := m.life
	m.mem, m.life, m.paused = files, nil, false
	m.hangingDisk = false
	l.end()
	if then := m.afterCrash; then != nil && m.crashIn == 0 {
		m.afterCrash = nil
		then()
	}
	for _, tell := range l.pending {
		tell()
	}
	l.pending = nil
}

// kill ends the process as SIGKILL does: what it has written is there.
func (m *member) kill() {
	if m.life != nil {
		m.stop(m.mem.KillClone())
	}
}

// powerLoss ends the machine: what was not synced is lost in part.
func (m *member) powerLoss() {
	if m.life != nil {
		m.life.powerless = true
		m.stop(m.mem.CrashClone(m.sim.diskRNG))
	} else {
		m.mem = m.mem.CrashClone(m.sim.diskRNG)
	}
}

// damage notes that what is stored is not what was written.
func (m *member) damage() { m.damaged, m.excused = true, true }

// config is what the process is started with.
func (m *member) config() (*config.Config, error) {
	o := m.sim.opts
	state := "new"
	if m.existing {
		state = "existing"
	}
	args := []string{
		"--name=" + m.name, "--data-dir=data",
		"--initial-advertise-peer-urls=" + m.url, "--listen-peer-urls=" + m.url,
		"--listen-client-urls=" + m.url[:len(m.url)-4] + "2379",
		"--advertise-client-urls=" + m.url[:len(m.url)-4] + "2379",
		"--initial-cluster=" + m.initial, "--initial-cluster-state=" + state,
		fmt.Sprintf("--heartbeat-interval=%d", o.HeartbeatMs),
		fmt.Sprintf("--election-timeout=%d", o.ElectionMs),
		fmt.Sprintf("--snapshot-count=%d", o.SnapshotCount),
		fmt.Sprintf("--snapshot-catchup-entries=%d", o.CatchUpEntries),
		fmt.Sprintf("--compaction-batch-limit=%d", o.CompactionBatch),
		fmt.Sprintf("--corrupt-check-time=%v", o.HashInterval),
		fmt.Sprintf("--strict-reconfig-check=%v", o.StrictReconfig),
		"--max-learners=2", "--watch-progress-notify-interval=500ms",
		fmt.Sprintf("--quota-backend-bytes=%d", o.Quota),
	}
	if o.Retention > 0 {
		args = append(args, "--auto-compaction-mode=periodic",
			fmt.Sprintf("--auto-compaction-retention=%v", o.Retention))
	}
	cfg, _, err := config.Parse("cairn", args, nil)
	if err != nil {
		return nil, fmt.Errorf("the configuration of %s: %w", m.name, err)
	}
	return cfg, nil
}

package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnkv/cairn/bench/h2"
)

const (
	// progressEvery is how often Options.Progress is called.
	progressEvery = 100 * time.Millisecond
	// stallTimeout ends a run in which nothing comes back.
	stallTimeout = 30 * time.Second
	// haltTimeout is how long workers may take to see that a run is over, before their connections
	// are closed.
	haltTimeout = time.Second

	userAgent = "cairn-bench"
)

// ErrStalled is returned when nothing has come back for half a minute.
var ErrStalled = errors.New("nothing came back for " + stallTimeout.String())

// run is one run.
type run struct {
	Options
	plan    plan
	watch   *watchPlan // the plan, if it watches
	gate    func() bool
	began   time.Time // what since counts from
	workers []*worker
	seed    uint64
	token   string // of Options.User

	waiting  atomic.Int64  // clients and watchers that are not prepared
	allReady chan struct{} // closed when waiting has become 0
	running  atomic.Bool   // operations may begin
	halted   atomic.Bool   // workers are to return at once

	from, until atomic.Int64 // what is measured; 0: not known yet
	issued      atomic.Int64 // of Options.Total
	done        atomic.Int64 // operations that were counted
	events      atomic.Int64 // of watches
	received    atomic.Int64 // reads that brought something
}

// Run makes a load and measures it. With an error the Result holds what was measured until then, if
// anything was.
func Run(ctx context.Context, o Options) (*Result, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	r := &run{Options: o, began: time.Now(), allReady: make(chan struct{}), seed: o.Seed}
	if r.seed == 0 {
		r.seed = rand.Uint64()
	}
	var err error
	if r.plan, err = o.Load.build(&r.Options, r.seed); err != nil {
		return nil, fmt.Errorf("%s: %w", o.Load.Verb(), err)
	}
	if w, ok := r.plan.(watcher); ok {
		r.watch = w.watching()
		r.watch.run = r
		r.gate = r.watch.gate()
	}
	defer r.close()
	if err := r.authenticate(ctx); err != nil {
		return nil, err
	}
	if p, ok := r.plan.(interface {
		setup(ctx context.Context, r *run) error
	}); ok {
		if err := p.setup(ctx, r); err != nil {
			return nil, err
		}
	}
	if err := r.connect(ctx); err != nil {
		return nil, err
	}
	result, err := r.measure(ctx)
	return result, errors.Join(err, r.clean(ctx))
}

// since is the run's clock: nanoseconds, from 1 on.
func (r *run) since() int64 { return int64(time.Since(r.began)) + 1 }

// ticket asks whether one more operation may begin, and whether it is one of those that are
// measured by their number.
func (r *run) ticket() (counted, ok bool) {
	switch {
	case r.Duration > 0 || r.from.Load() == 0: // or a warm-up
		return false, true
	case r.watch != nil && r.watch.behind > 0:
		return true, !r.watch.over(r)
	}
	ok = r.issued.Add(1) <= r.Total
	return ok, ok
}

// counts tells whether an operation that ended at a time counts: with a Duration those that end
// while it is measured, else those that had a ticket.
func (r *run) counts(counted bool, at int64) bool {
	if r.Duration == 0 {
		return counted
	}
	from := r.from.Load()
	return from > 0 && at >= from && at <= r.until.Load()
}

// over tells whether a worker that has nothing to do any more may return.
func (r *run) over() bool { return r.watch == nil || r.watch.over(r) }

// prepared counts clients and watchers that have nothing to prepare any more.
func (r *run) prepared(n int64) {
	if r.waiting.Add(-n) == 0 {
		close(r.allReady)
	}
}

func (r *run) kickAll() {
	for _, w := range r.workers {
		w.kick()
	}
}

func (r *run) close() {
	for _, w := range r.workers {
		_ = w.conn.Close() // what was measured has been measured
	}
}

// connect makes all connections and clients.
func (r *run) connect(ctx context.Context) error {
	var fields []h2.Field
	if r.token != "" {
		fields = append(fields, h2.Field{Name: "token", Value: r.token})
	}
	perWorker := (r.Clients + r.Conns - 1) / r.Conns
	used := min(r.Conns, r.Clients)
	if r.watch != nil {
		used = r.Conns
	}
	for i := range used {
		w := &worker{run: r}
		streams := perWorker + r.watch.streamsOf(i, r.Conns)
		if err := w.dial(ctx, r.Endpoints[i%len(r.Endpoints)], streams, fields); err != nil {
			return err
		}
		r.workers = append(r.workers, w)
	}
	for i := range r.Clients {
		w := r.workers[i%len(r.workers)]
		w.clients = append(w.clients, &client{id: i, owner: int32(len(w.clients)),
			rng: rand.New(rand.NewPCG(r.seed, uint64(i)+2))})
	}
	r.waiting.Store(int64(r.Clients))
	for i, w := range r.workers {
		w.idle = newQueue(len(w.clients))
		for j := range w.clients {
			w.idle.push(int32(j))
		}
		w.stats = make([]stats, len(r.plan.series()))
		if r.Rate > 0 && len(w.clients) > 0 {
			share := r.Rate * float64(len(w.clients)) / float64(r.Clients)
			w.step = max(1, int64(float64(time.Second)/share))
		}
		watchers, err := r.watch.open(w, i, r.Conns)
		if err != nil {
			return err
		}
		r.waiting.Add(watchers)
		w.dried = len(w.clients) == 0
	}
	return nil
}

// dial connects a worker and waits for the server's settings.
func (w *worker) dial(ctx context.Context, address string, streams int, fields []h2.Field) error {
	e, err := parseEndpoint(address)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, w.run.DialTimeout)
	defer cancel()
	var d net.Dialer
	w.where = address
	if w.conn, err = d.DialContext(ctx, e.network, e.address); err != nil {
		return fmt.Errorf("connecting to %s: %w", address, err)
	}
	if e.tls {
		if err := w.secure(ctx, e); err != nil {
			return errors.Join(err, w.conn.Close())
		}
	}
	w.session = h2.New(w, h2.Config{Authority: e.authority, UserAgent: userAgent, TLS: e.tls,
		Fields: fields, Streams: streams})
	for i, path := range paths {
		w.methods[i] = w.session.Method(path)
	}
	w.buf = make([]byte, readBuffer)
	stop := context.AfterFunc(ctx, func() { w.kick() })
	defer stop()
	for !w.session.Ready() {
		err := w.flush()
		if err == nil {
			err = w.read()
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return errors.Join(fmt.Errorf("connecting to %s: %w", address, err), w.conn.Close())
		}
	}
	return nil
}

// secure puts TLS on a connection.
func (w *worker) secure(ctx context.Context, e endpoint) error {
	cfg := &tls.Config{}
	if w.run.TLS != nil {
		cfg = w.run.TLS.Clone()
	}
	cfg.NextProtos = []string{"h2"}
	if cfg.ServerName == "" {
		host, _, err := net.SplitHostPort(e.address)
		if err != nil {
			return err
		}
		cfg.ServerName = host
	}
	conn := tls.Client(w.conn, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS with %s: %w", w.where, err)
	}
	if p := conn.ConnectionState().NegotiatedProtocol; p != "h2" {
		return fmt.Errorf("TLS with %s: the server speaks %q, not HTTP/2", w.where, p)
	}
	w.conn = conn
	return nil
}

// measure starts the workers and waits for the end.
func (r *run) measure(ctx context.Context) (*Result, error) {
	var group sync.WaitGroup
	failed := make(chan error, len(r.workers))
	finished := make(chan struct{})
	for _, w := range r.workers {
		group.Go(func() {
			if err := w.loop(); err != nil {
				failed <- err
			}
		})
	}
	go func() {
		group.Wait()
		close(finished)
	}()
	m := newMeter(r.ServerPIDs)
	err := r.conduct(ctx, m, finished, failed)
	if merr := m.stop(); err == nil {
		err = merr
	}
	end := r.since()
	r.halted.Store(true)
	r.kickAll()
	timer := time.NewTimer(haltTimeout)
	defer timer.Stop()
	select {
	case <-finished:
	case <-timer.C:
		r.close()
		<-finished
	}
	select {
	case lost := <-failed:
		err = errors.Join(err, lost)
	default:
	}
	return r.result(m, end), err
}

// conduct says when what begins, and returns when all is measured.
func (r *run) conduct(
	ctx context.Context, m *meter, finished chan struct{}, failed chan error,
) error {
	ticks := time.NewTicker(progressEvery)
	defer ticks.Stop()
	ready := r.allReady
	alarm := time.NewTimer(0) // the end of the warm-up, then that of the measurement
	alarm.Stop()
	defer alarm.Stop()
	last, lastSeen := time.Now(), int64(-1)
	for {
		select {
		case <-ready:
			ready = nil
			if r.Warmup == 0 {
				r.open(m, alarm)
			} else {
				alarm.Reset(r.Warmup)
			}
			r.running.Store(true)
			r.kickAll()
		case <-alarm.C:
			if r.from.Load() != 0 {
				return nil
			}
			r.open(m, alarm)
		case <-finished:
			return nil
		case err := <-failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-ticks.C:
			if seen := r.progress(); seen != lastSeen {
				last, lastSeen = time.Now(), seen
			} else if time.Since(last) > r.patience() {
				return ErrStalled
			}
		}
	}
}

// open begins what is measured.
func (r *run) open(m *meter, alarm *time.Timer) {
	m.start()
	now := r.since()
	if r.Duration > 0 {
		r.until.Store(now + int64(r.Duration))
		alarm.Reset(r.Duration)
	}
	r.from.Store(now)
}

// patience is how long may pass without anything that comes back.
func (r *run) patience() time.Duration {
	if r.Rate > 0 {
		return stallTimeout + time.Duration(float64(time.Second)/r.Rate)
	}
	return stallTimeout
}

// progress tells the caller how far the run is, and returns a number that changes as long as
// something comes back.
func (r *run) progress() int64 {
	done, total := r.done.Load(), r.Total
	if r.watch != nil {
		done, total = r.events.Load(), r.watch.total(r)
	}
	if from := r.from.Load(); r.Duration > 0 {
		done, total = 0, r.Duration.Milliseconds()
		if from > 0 {
			done = min(total, (r.since()-from)/int64(time.Millisecond))
		}
	}
	if r.Progress != nil {
		r.Progress(done, total)
	}
	if r.watch != nil && r.watch.behind > 0 {
		return done // answers to gets are not what is waited for
	}
	return r.received.Load()
}

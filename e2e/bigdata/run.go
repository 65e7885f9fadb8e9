package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairnkv/cairn/e2e"
)

const (
	// sizePoll is how often the data directory is measured, sizeStep by how much the factor must
	// have changed for a line of output.
	sizePoll = 200 * time.Millisecond
	sizeStep = 0.25

	// probePause lies between two puts of the probe; what it adds itself is next to nothing.
	probePause = 10 * time.Millisecond

	// callTimeout bounds one request.
	callTimeout = time.Minute

	mebibyte = 1 << 20
)

// bench is one run.
type bench struct {
	options
	server *e2e.Server
	begin  time.Time
	live   int64 // bytes of the keys and values that a reader can see at the end
	probe  probe
}

// run makes the measurement.
func run(ctx context.Context, o options) error {
	temp, err := os.MkdirTemp(o.dir, "bigdata")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	program := o.server
	if program == "" {
		if program, err = e2e.Build(ctx, ".", temp); err != nil {
			return err
		}
	}
	b := &bench{options: o, begin: time.Now()}
	// The quota is above all that etcd needs, so that it can be measured with the same flags.
	b.server, err = e2e.NewServer(program, temp, "--quota-backend-bytes=17179869184")
	if err != nil {
		return err
	}
	if err := b.server.Start(ctx); err != nil {
		return err
	}
	defer b.server.Close()
	b.live = int64(o.keys) * int64(len(key(0))+o.value)
	b.say("%d keys, values of %d bytes: %d MiB of live data", o.keys, o.value, b.live/mebibyte)
	b.probe.enter("start")
	stopProbe, err := b.startProbe(ctx)
	if err != nil {
		return err
	}
	err = b.work(ctx)
	stopProbe()
	b.probe.report(b.say)
	if err != nil {
		return err
	}
	return b.restarts(ctx)
}

// say prints a line with the time since the start.
func (b *bench) say(format string, args ...any) {
	fmt.Printf("%8.1fs  %s\n", time.Since(b.begin).Seconds(), fmt.Sprintf(format, args...))
}

// key returns the n-th key; all are equally long.
func key(n int) string { return fmt.Sprintf("/bigdata/%09d", n) }

// work loads, overwrites, compacts and waits for the space.
func (b *bench) work(ctx context.Context) error {
	var revision int64
	for round := range b.rounds + 1 {
		b.probe.enter(fmt.Sprintf("load %d", round))
		rev, err := b.load(ctx, round)
		if err != nil {
			return err
		}
		revision = rev
		size, err := e2e.DirSize(b.server.DataDir())
		if err != nil {
			return err
		}
		b.say("load %d of %d done: data directory %d MiB, %.2f times the live data", round,
			b.rounds, size/mebibyte, b.factorOf(size))
	}
	c, err := b.server.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	b.probe.enter("compaction and what follows it")
	begin := time.Now()
	cctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if _, err := c.Compact(cctx, revision); err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	b.say("compaction to revision %d answered after %v", revision,
		time.Since(begin).Round(time.Microsecond))
	return b.awaitSpace(ctx)
}

// factorOf returns a size as a multiple of the live data.
func (b *bench) factorOf(size int64) float64 { return float64(size) / float64(b.live) }

// load puts every key once, in transactions of several clients.
func (b *bench) load(ctx context.Context, round int) (revision int64, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next, newest atomic.Int64
	var loaders sync.WaitGroup
	for range b.clients {
		loaders.Go(func() {
			if err := b.loader(ctx, round, &next, &newest); err != nil {
				cancel(err)
			}
		})
	}
	loaders.Wait()
	if err := context.Cause(ctx); err != nil {
		return 0, err
	}
	return newest.Load(), nil
}

// loader puts batches of keys until there are no more.
func (b *bench) loader(ctx context.Context, round int, next, newest *atomic.Int64) error {
	c, err := b.server.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	value := make([]byte, b.value)
	for ctx.Err() == nil {
		from := int(next.Add(int64(b.batch))) - b.batch
		if from >= b.keys {
			return nil
		}
		var ops []clientv3.Op
		for n := from; n < min(from+b.batch, b.keys); n++ {
			fill(value, uint64(round)<<32|uint64(n))
			ops = append(ops, clientv3.OpPut(key(n), string(value)))
		}
		cctx, cancel := context.WithTimeout(ctx, callTimeout)
		resp, err := c.Txn(cctx).Then(ops...).Commit()
		cancel()
		if err != nil {
			return fmt.Errorf("load %d: %w", round, err)
		}
		for now := newest.Load(); now < resp.Header.Revision; now = newest.Load() {
			newest.CompareAndSwap(now, resp.Header.Revision)
		}
	}
	return nil
}

// fill makes a value that does not compress, from a seed.
func fill(value []byte, seed uint64) {
	for i := range value {
		seed ^= seed << 13
		seed ^= seed >> 7
		seed ^= seed << 17
		value[i] = byte(seed + uint64(i))
	}
}

// awaitSpace watches the data directory until it is below the factor.
func (b *bench) awaitSpace(ctx context.Context) error {
	begin := time.Now()
	tick := time.NewTicker(sizePoll)
	defer tick.Stop()
	shown := 0.0
	for {
		size, err := e2e.DirSize(b.server.DataDir())
		if err != nil {
			return err
		}
		factor := b.factorOf(size)
		if shown == 0 || shown-factor >= sizeStep {
			shown = factor
			b.say("%v after the compaction: data directory %d MiB, %.2f times the live data",
				time.Since(begin).Round(time.Millisecond), size/mebibyte, factor)
		}
		if factor < b.factor {
			b.say("below %.2f times the live data %v after the compaction: %d MiB, %.2f times",
				b.factor, time.Since(begin).Round(time.Millisecond), size/mebibyte, factor)
			return nil
		}
		if time.Since(begin) > b.wait {
			b.say("still %.2f times the live data %v after the compaction", factor, b.wait)
			if b.compare {
				return nil
			}
			return errors.New("the data directory did not shrink by itself")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// restarts measures the start after an orderly end and after a crash.
func (b *bench) restarts(ctx context.Context) error {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if err := b.server.Stop(sig); err != nil {
			return err
		}
		begin := time.Now()
		if err := b.server.Start(ctx); err != nil {
			return err
		}
		ready := time.Since(begin)
		if err := b.count(ctx); err != nil {
			return err
		}
		b.say("start after %v: ready after %v, all keys counted after %v", sig,
			ready.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond))
	}
	return nil
}

// count checks that all keys are there.
func (b *bench) count(ctx context.Context) error {
	c, err := b.server.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := c.Get(ctx, "/bigdata/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return err
	}
	if resp.Count != int64(b.keys) {
		return fmt.Errorf("%d keys after the start, not %d", resp.Count, b.keys)
	}
	return nil
}

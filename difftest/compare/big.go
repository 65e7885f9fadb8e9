package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairnkv/cairn/difftest"
	"github.com/cairnkv/cairn/difftest/compare/report"
)

const (
	// pauseRate is how many puts a second there are while pauses are looked for, pauseClients who
	// make them: enough that nobody waits for anything but the server.
	pauseRate    = 500
	pauseClients = 64
	pauseConns   = 4
	// overwritten is which part of the keys is overwritten, so that there is something to compact.
	overwritten = 10
)

// large is a store with many keys: memory, disk, restarts, and pauses.
func (c *comparison) large(ctx context.Context, server int, dir string) error {
	cl, err := c.start(ctx, server, 1, dir)
	if err != nil {
		return err
	}
	defer cl.Close()
	s := cl.members()[0]
	begin := time.Now()
	if err := c.fill(ctx, cl, c.big); err != nil {
		return err
	}
	c.took(server, "fill", fmt.Sprintf("writing %d keys", c.big), time.Since(begin))
	if err := wait(ctx, time.Duration(c.rest)*time.Second); err != nil {
		return err
	}
	if err := c.weigh(cl, server, "", "large store"); err != nil {
		return err
	}
	if _, err := s.Stop(syscall.SIGTERM); err != nil {
		return err
	}
	if err := c.restart(ctx, s, server, "restart", "restart of a large store"); err != nil {
		return err
	}
	err = c.pauses(ctx, cl, server, "none", "longest put, nothing else going on", nil)
	if err != nil {
		return err
	}
	err = c.pauses(ctx, cl, server, "backup", "longest put during a backup", backup)
	if err != nil {
		return err
	}
	if err := c.overwrite(ctx, cl); err != nil {
		return err
	}
	s.Kill()
	s.Config.Extra = append(s.Config.Extra, fmt.Sprintf("--snapshot-count=%d", c.count))
	if err := c.restart(ctx, s, server, "restart-killed", "restart after SIGKILL"); err != nil {
		return err
	}
	err = c.pauses(ctx, cl, server, "checkpoint", "longest put during checkpoints", nil)
	if err != nil {
		return err
	}
	return c.pauses(ctx, cl, server, "compaction", "longest put during a compaction", compact)
}

// took adds a time to the report.
func (c *comparison) took(server int, key, title string, d time.Duration) {
	c.progress("  %s: %.2f s", title, d.Seconds())
	c.report.AddValue(report.Value{Key: key, Title: title, Unit: "s"}, server, d.Seconds())
}

// restart measures from the start of the process to its first answer.
func (c *comparison) restart(ctx context.Context, s *difftest.Server, server int,
	key, title string) error {
	begin := time.Now()
	if err := s.Start(ctx); err != nil {
		return err
	}
	cli, err := client(s)
	if err != nil {
		return err
	}
	defer cli.Close()
	if _, err := cli.Get(ctx, fmt.Sprintf("%0*d", keyBytes, 1)); err != nil {
		return err
	}
	c.took(server, key, title, time.Since(begin))
	return nil
}

// overwrite puts to a part of the keys once more.
func (c *comparison) overwrite(ctx context.Context, cl *cluster) error {
	_, err := c.bench(ctx, cl, append(keys(c.big), "put", values,
		fmt.Sprintf("--total=%d", c.big/overwritten), fmt.Sprintf("--clients=%d", manyClients),
		fmt.Sprintf("--conns=%d", manyConns))...)
	return err
}

// pauses looks for the longest put at a steady rate while something else is done, if anything is:
// begun a second after the puts.
func (c *comparison) pauses(ctx context.Context, cl *cluster, server int, key, title string,
	do func(context.Context, *difftest.Server) error) error {
	done := make(chan error, 1)
	meanwhile, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		if do == nil {
			done <- nil
			return
		}
		err := wait(meanwhile, time.Second)
		if err == nil {
			err = do(meanwhile, cl.members()[0])
		}
		done <- err
	}()
	r, err := c.bench(ctx, cl, append(keys(c.big), "put", values,
		fmt.Sprintf("--rate=%d", pauseRate), fmt.Sprintf("--duration=%ds", c.pause),
		fmt.Sprintf("--clients=%d", pauseClients), fmt.Sprintf("--conns=%d", pauseConns))...)
	if err != nil {
		return err
	}
	if err := <-done; err != nil {
		return fmt.Errorf("%s: %w", title, err)
	}
	const usPerMs = 1000
	longest := r.Series[0].Latency.Max / usPerMs
	c.progress("  %s: %.1f ms", title, longest)
	c.report.AddValue(report.Value{Key: "pause-" + key, Title: title, Unit: "ms"}, server,
		longest)
	return nil
}

// backup reads a whole backup and drops it.
func backup(ctx context.Context, s *difftest.Server) (err error) {
	cli, err := client(s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cli.Close()) }()
	r, err := cli.Snapshot(ctx)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	return r.Close()
}

// compact compacts all history. It returns when that is decided; the work goes on behind it.
func compact(ctx context.Context, s *difftest.Server) (err error) {
	cli, err := client(s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cli.Close()) }()
	resp, err := cli.Get(ctx, "0", clientv3.WithCountOnly())
	if err != nil {
		return err
	}
	_, err = cli.Compact(ctx, resp.Header.Revision)
	return err
}

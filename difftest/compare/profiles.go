package main

import (
	"context"
	"fmt"

	"github.com/cairnkv/cairn/difftest/compare/costs"
)

// profiles finds out what processor time is spent on, under puts and under ranges of one key.
func (c *comparison) profiles(ctx context.Context, server int, dir string) error {
	cl, err := c.start(ctx, server, 1, dir, "--enable-pprof")
	if err != nil {
		return err
	}
	defer cl.Close()
	if err := c.fill(ctx, cl, c.keys); err != nil {
		return err
	}
	for _, verb := range []string{"put", "range"} {
		args := append(keys(c.keys), verb, fmt.Sprintf("--duration=%ds", c.profile+2),
			fmt.Sprintf("--clients=%d", manyClients), fmt.Sprintf("--conns=%d", manyConns))
		if verb == "put" {
			args = append(args, values)
		}
		if err := c.takeProfile(ctx, cl, server, verb, args); err != nil {
			return err
		}
	}
	return nil
}

// takeProfile takes a profile in the middle of a load.
func (c *comparison) takeProfile(ctx context.Context, cl *cluster, server int, verb string,
	args []string) error {
	type taken struct {
		samples []costs.Sample
		err     error
	}
	done := make(chan taken, 1)
	go func() {
		data, err := get(ctx, fmt.Sprintf("%s/debug/pprof/profile?seconds=%d",
			cl.members()[0].ClientURL(), c.profile))
		if err != nil {
			done <- taken{err: err}
			return
		}
		samples, err := costs.Parse(data)
		done <- taken{samples, err}
	}()
	r, err := c.bench(ctx, cl, args...)
	if err != nil {
		return err
	}
	t := <-done
	if t.err != nil {
		return t.err
	}
	c.report.AddCost(verb, server, r.measurement().CPU, costs.Sum(t.samples))
	return nil
}

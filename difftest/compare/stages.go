package main

import (
	"context"
	"fmt"

	"github.com/cairnkv/cairn/difftest/compare/report"
)

// stageLoad is a load of a stage with a small store.
type stageLoad struct {
	cell report.Cell
	args []string
}

// one is a member alone.
func (c *comparison) one(ctx context.Context, server int, dir string) error {
	if err := c.syncs(server, dir); err != nil {
		return err
	}
	pages := append(keys(c.keys), "--limit=500")
	puts := append(keys(c.keys), values)
	return c.small(ctx, server, 1, dir, []stageLoad{
		{report.Cell{Key: "put-1", Title: "put, 1 client", Per: "put"},
			c.timed("put", 1, 1, puts...)},
		{report.Cell{Key: "put-100", Title: "put, 100 clients", Per: "put"},
			c.timed("put", someClients, manyConns, puts...)},
		{report.Cell{Key: "put-1000", Title: "put, 1000 clients", Per: "put"},
			c.timed("put", manyClients, manyConns, puts...)},
		{report.Cell{Key: "range-100", Title: "range of a key, 100 clients", Per: "range"},
			c.timed("range", someClients, manyConns, keys(c.keys)...)},
		{report.Cell{Key: "range-1000", Title: "range of a key, 1000 clients", Per: "range"},
			c.timed("range", manyClients, manyConns, keys(c.keys)...)},
		{report.Cell{Key: "list", Title: "list of 500 keys, 8 clients", Per: "list"},
			c.timed("list", 8, 8, pages...)},
	})
}

// three and five are clusters; clients talk to all members.
func (c *comparison) three(ctx context.Context, server int, dir string) error {
	return c.several(ctx, server, 3, dir)
}

func (c *comparison) five(ctx context.Context, server int, dir string) error {
	return c.several(ctx, server, 5, dir)
}

func (c *comparison) several(ctx context.Context, server, members int, dir string) error {
	puts := append(keys(c.keys), values)
	name := func(what string) string { return fmt.Sprintf("%d members: %s", members, what) }
	key := func(what string, clients int) string {
		return fmt.Sprintf("%s%d-%d", what, members, clients)
	}
	return c.small(ctx, server, members, dir, []stageLoad{
		{report.Cell{Key: key("put", someClients), Title: name("put, 100 clients"), Per: "put"},
			c.timed("put", someClients, manyConns, puts...)},
		{report.Cell{Key: key("put", manyClients), Title: name("put, 1000 clients"), Per: "put"},
			c.timed("put", manyClients, manyConns, puts...)},
		{report.Cell{Key: key("range", manyClients), Title: name("range, 1000 clients"),
			Per: "range"}, c.timed("range", manyClients, manyConns, keys(c.keys)...)},
	})
}

// small fills a small store and runs loads on it.
func (c *comparison) small(ctx context.Context, server, members int, dir string,
	loads []stageLoad) error {
	cl, err := c.start(ctx, server, members, dir)
	if err != nil {
		return err
	}
	defer cl.Close()
	if err := c.fill(ctx, cl, c.keys); err != nil {
		return err
	}
	for _, l := range loads {
		l.cell.Members = members
		if err := c.cell(ctx, cl, server, l.cell, l.args); err != nil {
			return err
		}
	}
	if cl.Restless(ctx) {
		c.progress("  the leader has changed meanwhile, which nobody asked for")
	}
	when := fmt.Sprintf("%d members, after the loads", members)
	if members == 1 {
		when = "1 member, after the loads"
	}
	return c.weigh(cl, server, fmt.Sprint(members), when)
}

// watchStreams is how many streams the watchers share, on watchConns connections.
const (
	watchConns   = 10
	watchStreams = 100
)

// watch is one writer and many watchers.
func (c *comparison) watch(ctx context.Context, server int, dir string) error {
	cl, err := c.start(ctx, server, 1, dir)
	if err != nil {
		return err
	}
	defer cl.Close()
	for _, n := range c.watchers {
		cell := report.Cell{Key: fmt.Sprintf("%s%d", report.WatchPrefix, n), Members: 1,
			Title: fmt.Sprintf("watch, %d watchers", n), Per: "event and watcher"}
		err := c.cell(ctx, cl, server, cell, []string{"watch-latency",
			fmt.Sprintf("--conns=%d", watchConns), fmt.Sprintf("--streams=%d", watchStreams),
			fmt.Sprintf("--watchers-per-stream=%d", n/watchStreams), "--put-rate=0",
			fmt.Sprintf("--put-total=%d", min(c.events/n, c.maxPuts)),
			fmt.Sprintf("--key-size=%d", keyBytes), values})
		if err != nil {
			return err
		}
	}
	return nil
}

package e2e

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairnkv/cairn/check"
)

// ReadHistory reads the events of the revisions from from up to to.
func ReadHistory(ctx context.Context, c *clientv3.Client, from, to int64) ([]check.Event, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var events []check.Event
	if from > to {
		return nil, nil
	}
	for resp := range c.Watch(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithRev(from)) {
		if err := resp.Err(); err != nil {
			return nil, fmt.Errorf("watch from revision %d: %w", from, err)
		}
		for _, e := range resp.Events {
			if e.Kv.ModRevision <= to {
				events = append(events, EventOf(e))
			}
			if e.Kv.ModRevision > to {
				return events, nil
			}
		}
		// A revision comes whole, so the last one is through with the response that has it.
		if n := len(resp.Events); n > 0 && resp.Events[n-1].Kv.ModRevision == to {
			return events, nil
		}
	}
	return nil, fmt.Errorf("watch from revision %d ended: %w", from, ctx.Err())
}

// EventOf converts an event of the client library.
func EventOf(e *clientv3.Event) check.Event {
	ev := check.Event{
		Change:   check.Change{Key: string(e.Kv.Key), Value: string(e.Kv.Value)},
		Revision: e.Kv.ModRevision,
	}
	ev.Delete = e.Type == clientv3.EventTypeDelete
	if e.PrevKv != nil {
		ev.Previous = &check.Change{Key: string(e.PrevKv.Key), Value: string(e.PrevKv.Value)}
	}
	return ev
}

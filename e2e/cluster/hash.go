package cluster

import (
	"context"
	"errors"
	"fmt"
)

// errDiffer is returned as long as members do not have the same data.
var errDiffer = errors.New("members differ")

// SameHash waits until all members have the same hash of all that they have up to a revision.
// Members that have not applied all of it yet, or not the last compaction, get some time.
func (c *Cluster) SameHash(ctx context.Context, revision int64) error {
	type hash struct {
		value     uint32
		compacted int64
	}
	return Retry(ctx, healthyTimeout, func(ctx context.Context) error {
		var all []string
		hashes := make(map[hash]bool)
		for _, m := range c.Members() {
			resp, err := m.client.HashKV(ctx, m.endpoint, revision)
			if err != nil {
				return fmt.Errorf("%s: %w", m.Name, err)
			}
			hashes[hash{resp.Hash, resp.CompactRevision}] = true
			all = append(all, fmt.Sprintf("%s has %08x, compacted at %d", m.Name, resp.Hash,
				resp.CompactRevision))
		}
		if len(hashes) > 1 {
			return fmt.Errorf("%w at revision %d: %v", errDiffer, revision, all)
		}
		return nil
	})
}

package server

import (
	"slices"
	"testing"

	"github.com/cairnkv/cairn/member"
	"github.com/cairnkv/cairn/peer"
)

func TestDiverged(t *testing.T) {
	for _, c := range []struct {
		name    string
		members int
		hashes  []uint32 // of members 1, 2, ...
		bad     []uint64
		cluster bool
	}{
		{"all equal", 3, []uint32{7, 7, 7}, nil, false},
		{"one answered", 3, []uint32{7}, nil, false},
		{"one of three differs", 3, []uint32{7, 8, 7}, []uint64{2}, false},
		{"the leader differs", 3, []uint32{8, 7, 7}, []uint64{1}, false},
		{"two of five differ", 5, []uint32{7, 8, 7, 9, 7}, []uint64{2, 4}, false},
		{"two that differ", 2, []uint32{7, 8}, nil, true},
		{"no majority of all", 5, []uint32{7, 7, 8}, nil, true},
		{"all differ", 3, []uint32{7, 8, 9}, nil, true},
	} {
		var hashes []peer.HashKV
		for i, h := range c.hashes {
			hashes = append(hashes, peer.HashKV{Member: uint64(i) + 1, Hash: h})
		}
		bad, cluster := diverged(hashes, make([]member.Member, c.members))
		if !slices.Equal(bad, c.bad) || cluster != c.cluster {
			t.Errorf("%s: accused %v, the cluster %v", c.name, bad, cluster)
		}
	}
}

func TestVersions(t *testing.T) {
	for _, c := range []struct {
		a, b  string
		older bool
	}{
		{"3.7.3", "3.7.3", false}, {"3.6.9", "3.7.0", true}, {"3.10.0", "3.9.9", false},
		{"3.7.0-rc.1", "3.7.1", true}, {"", "3.0.0", true}, {"x", "0.0.0", false},
	} {
		if got := olderVersion(c.a, c.b); got != c.older {
			t.Errorf("%q older than %q: %v", c.a, c.b, got)
		}
	}
	if v := clusterVersion("3.7.3"); v != "3.7.0" {
		t.Errorf("cluster version %s", v)
	}
}

package member

import (
	"testing"

	cairn "github.com/cairnkv/cairn"
	"github.com/google/go-cmp/cmp"
)

// The ids are what etcd 3.7 prints for a cluster of one with default settings.
func TestIDs(t *testing.T) {
	id := ID([]string{"http://localhost:2380"}, "etcd-cluster")
	if id != 0x8e9e05c52164694d {
		t.Errorf("member id %x", id)
	}
	if c := ClusterID([]uint64{id}); c != 0xcdf818194e3a8c32 {
		t.Errorf("cluster id %x", c)
	}
}

func TestEncode(t *testing.T) {
	s := NewSet(5, []Member{
		{ID: 9, PeerURLs: []string{"http://b"}}, {ID: 3, PeerURLs: []string{"http://a"}},
	})
	s.SetAttributes(9, "nine", []string{"http://c"})
	s.SetAttributes(77, "nobody", nil)
	s.SetVersion("3.7.0")
	b, err := s.Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	d := cmp.Diff(s.List(), again.List())
	if d != "" || again.Version() != "3.7.0" || again.ClusterID() != 5 {
		t.Fatalf("decoding does not give back what was encoded: %s", d)
	}
	if got := again.List(); got[0].ID != 3 || got[1].Name != "nine" {
		t.Fatalf("members: %+v", got)
	}
	if _, err := Decode([]byte("{")); err == nil {
		t.Fatal("a cut membership was accepted")
	}
}

// TestLastVoter: somebody who votes is left, whoever removes whom.
func TestLastVoter(t *testing.T) {
	s := NewSet(5, []Member{{ID: 1}, {ID: 2}, {ID: 3, IsLearner: true}})
	remove := func(id uint64) error {
		c := &Change{Action: Remove, Member: Member{ID: id}}
		err := s.Check(c)
		if err == nil {
			s.Apply(c)
		}
		return err
	}
	if err := remove(1); err != nil {
		t.Fatal(err)
	}
	if err := remove(2); err != cairn.ErrFewStarted {
		t.Errorf("the last voter: %v", err)
	}
	if err := remove(3); err != nil {
		t.Errorf("a learner: %v", err)
	}
	if err := remove(2); err != cairn.ErrFewStarted {
		t.Errorf("the last member: %v", err)
	}
}

//go:build mutate

package sim

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/cairnkv/cairn/internal/mutate"
)

// aims are the shapes of runs in which a planted bug comes out soonest; the rest needs none.
var aims = map[mutate.Bug]string{
	mutate.VoteUnsynced:      "double-vote",
	mutate.NoteStays:         "install",
	mutate.NoInstallNote:     "install",
	mutate.TruncateEarly:     "install",
	mutate.UnknownUnanswered: "members",
	mutate.LostTermCheck:     "leases",
	mutate.RenewForgotten:    "leases",
	mutate.LeaseShort:        "leases",
	mutate.ReadWithoutQuorum: "etcd-20418",
	mutate.ReadAnyRound:      "late-answers",
	mutate.ReadProofEdge:     "cut-off-leader",
	mutate.ImageLacksRemoved: "members",
	mutate.CompactUnderViews: "etcd-20271",
	mutate.RemainingStays:    "leases",
	mutate.LeaseDenied:       "leases",
	mutate.PassOverUnknown:   "versions",
	mutate.AlarmForgotten:    "versions",
}

// from are the seeds to begin with for bugs that are found seldom: near one that shows them.
var from = map[mutate.Bug]uint64{
	mutate.VoteUnsynced:      20,
	mutate.TruncateEarly:     110,
	mutate.NoInstallNote:     120,
	mutate.NoteStays:         35,
	mutate.InstallKeepsConf:  50,
	mutate.LostTermCheck:     40,
	mutate.UnknownUnanswered: 20,
	mutate.CompactUnderViews: 60,
	mutate.HashComparesAll:   120,
	mutate.RenewalMixed:      180,
	mutate.LeaseDenied:       70,
	mutate.RemainingStays:    30,
}

// TestPlanted plants each bug and demands that it is found within a bounded number of runs; without
// one the same seeds must not fail.
func TestPlanted(t *testing.T) {
	const enough = 400
	defer mutate.Plant(mutate.None)
	for _, bug := range mutate.All() {
		mutate.Plant(bug)
		runs, found := 0, false
		for ; runs < enough && !found; runs++ {
			o := Draw(max(from[bug], 1) + uint64(runs))
			for _, sc := range Scenarios() {
				if sc.Name == aims[bug] {
					sc.Shape(&o)
				}
			}
			r := Run(o, nil)
			if found = r.Failure != nil; !found {
				continue
			}
			t.Logf("%v: found by seed %d: %.150v", bug, o.Seed, r.Failure)
			mutate.Plant(mutate.None)
			if r := Run(o, nil); r.Failure != nil {
				t.Errorf("%v: the run fails without it too: %v", bug, r.Failure)
			}
		}
		if !found {
			t.Errorf("%v (%s): not found in %d runs", bug, bug.Text(), runs)
		}
	}
}

// TestKeptAim plants the bugs again that kept cases have shown: a case that does not fail any more
// has lost its aim to a change of the simulator.
func TestKeptAim(t *testing.T) {
	defer mutate.Plant(mutate.None)
	for name, bug := range map[string]mutate.Bug{
		"installing-comes-back":    mutate.NoteStays,
		"unknown-leader":           mutate.UnknownUnanswered,
		"renewal-before-the-grant": mutate.LeaseDenied,
	} {
		b, err := os.ReadFile("testdata/kept/" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var o Options
		if err := json.Unmarshal(b, &o); err != nil {
			t.Fatal(err)
		}
		mutate.Plant(bug)
		if r := Run(o, nil); r.Failure == nil {
			t.Errorf("%s: %v is not found by it any more", name, bug)
		}
	}
}

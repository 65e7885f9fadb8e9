package sim

import (
	"slices"
	"time"
)

// Scenario is a shape of runs that has found, or would have found, a known bug.
type Scenario struct {
	Name string // "etcd-13766": the issue
	Text string
	// Shape changes drawn options.
	Shape func(o *Options)
}

// faults gives a run these faults alone, at these rates.
func faults(o *Options, rates map[string]float64) { o.Faults = Faults{Rates: rates} }

// Scenarios are the bugs that etcd's robustness tests have reproduced (tests/robustness/README.md),
// as far as Cairn has the thing that broke: each aims at what made it come out.
func Scenarios() []Scenario {
	return slices.Concat(crashScenarios(), snapshotScenarios(), compactionScenarios())
}

func crashScenarios() []Scenario {
	return []Scenario{
		{"etcd-13766", "revisions differ between members after a crash", func(o *Options) {
			o.Members, o.SnapshotCount = 3, 30
			faults(o, map[string]float64{"power failure at an operation": 40, "kill": 10})
		}},
		{"etcd-14370", "a single member loses an acknowledged write", func(o *Options) {
			o.Members = 1
			faults(o, map[string]float64{"power failure at an operation": 30, "power failure": 20})
		}},
		{"double-vote", "a member votes twice in a term, for it has forgotten", func(o *Options) {
			o.Members, o.ElectionMs = pick(stream(o.Seed, 7), []int{3, 3, 5}), 500
			faults(o, map[string]float64{
				"power failure after a vote": 90, "pair cut off": 40, "kill": 20,
			})
		}},
		{"etcd-14685", "a crash while files are rewritten damages them", func(o *Options) {
			o.RevlogBytes, o.CompactEvery, o.SnapshotCount = 4<<10, 500*time.Millisecond, 5
			o.ValueBytes = 1000
			faults(o, map[string]float64{"power failure near a file": 40, "slow disk": 20})
		}},
		{"etcd-15220", "progress is told before the events", func(o *Options) {
			o.Watchers, o.WatchFor, o.ValueBytes = 8, 300*time.Millisecond, 3000
			faults(o, map[string]float64{"slow links": 20, "pause": 10})
		}},
		{"etcd-15271", "a watch goes back in time after a partition", func(o *Options) {
			o.Members, o.Watchers, o.SnapshotCount, o.CatchUpEntries = 3, 6, 30, 1
			faults(o, map[string]float64{"partition": 15, "isolation": 15})
		}},
		{"etcd-17247", "events come twice", func(o *Options) {
			o.Watchers, o.Workers = 8, 6
			faults(o, map[string]float64{"transfer": 20, "kill": 10})
		}},
		{"etcd-17529", "a starved watch loses events", func(o *Options) {
			o.Watchers, o.Workers, o.ValueBytes = 8, 6, 3000
			o.Think = 5 * time.Millisecond
			faults(o, map[string]float64{"slow links": 30, "pause": 10})
		}},
		{"etcd-17780", "revisions go back after a crash in a compaction", func(o *Options) {
			o.CompactEvery, o.CompactionBatch, o.SnapshotCount = 300*time.Millisecond, 1, 5
			faults(o, map[string]float64{"power failure at an operation": 40})
		}},
	}
}

func snapshotScenarios() []Scenario {
	return []Scenario{
		{"install", "power fails while another member's state takes the place of the own one",
			func(o *Options) {
				o.Members, o.SnapshotCount, o.CatchUpEntries = 3, 1000, 1
				o.CompactEvery = 0
				faults(o, map[string]float64{
					"isolation": 25, "power failure near a file": 50, "power failure": 20,
					"transfer": 20,
				})
				o.SnapshotCount = pick(stream(o.Seed, 7), []int{5, 30, 1000})
			}},
		{"members", "members come and go while others are away", func(o *Options) {
			o.Members, o.StrictReconfig = 3, false
			faults(o, map[string]float64{
				"member added": 15, "member removed": 10, "member replaced": 10, "isolation": 15,
				"kill": 15, "transfer": 15,
			})
		}},
		{"grow", "a cluster of one or two grows and shrinks", func(o *Options) {
			o.Members = pick(stream(o.Seed, 8), []int{1, 1, 2})
			faults(o, map[string]float64{
				"member added": 15, "member removed": 8, "member replaced": 8, "isolation": 15,
				"kill": 10, "power failure": 15, "pause": 5, "power failure after a vote": 5,
			})
		}},
		{"versions", "members go back to older versions, alarms are raised, and all start anew",
			func(o *Options) {
				o.Members, o.SnapshotCount = 3, 30
				faults(o, map[string]float64{"older version": 20, "alarm": 30, "kill": 20})
			}},
		{"leases", "leaders that are away decide on leases", func(o *Options) {
			o.Members, o.Tenants, o.Lockers, o.ElectionMs = 3, 4, 2, 500
			o.Leaseholders, o.LeaseCheckpoint = 2, pick(stream(o.Seed, 7), []time.Duration{
				0, time.Second,
			})
			faults(o, map[string]float64{
				"pause": 50, "isolation": 10, "transfer": 10, "slow disk": 15,
			})
		}},
		{"etcd-18055", "two snapshots for one member", func(o *Options) {
			o.Members, o.SnapshotCount, o.CatchUpEntries = 3, 5, 1
			faults(o, map[string]float64{
				"isolation": 20, "slow disk": 15, "hanging disk": 15, "partition": 10,
			})
		}},
		{"etcd-20271", "a state is read for a snapshot while files change", func(o *Options) {
			o.Members, o.SnapshotCount, o.CatchUpEntries = 3, 5, 1
			o.RevlogBytes, o.CompactEvery, o.ValueBytes = 4<<10, 300*time.Millisecond, 3000
			o.Crowded = true
			faults(o, map[string]float64{"member replaced": 10, "isolation": 20})
		}},
		{"cut-off-leader", "a leader that was paused is cut off, and knows of no successor",
			func(o *Options) {
				o.Members, o.Workers, o.Keys, o.Aside, o.ElectionMs = 3, 8, 2, true, 500
				o.Tenants, o.Leaseholders, o.Lockers, o.Scribes = 0, 0, 0, 0
				o.Think = 5 * time.Millisecond
				faults(o, map[string]float64{"pause": 20, "isolation": 50})
			}},
		{"late-answers", "messages come late, twice and out of order", func(o *Options) {
			o.Members, o.Workers, o.Think = 3, 6, 5*time.Millisecond
			faults(o, map[string]float64{"transfer": 10, "slow links": 10})
			o.Faults.Duplicate, o.Faults.Reorder = 0.3, 0.3
		}},
		{"etcd-20418", "a paused leader answers a stale read", func(o *Options) {
			o.Members = 3
			faults(o, map[string]float64{"pause": 50})
		}},
	}
}

func compactionScenarios() []Scenario {
	return []Scenario{
		{"etcd-18089", "a compaction drops the event of a delete", func(o *Options) {
			o.CompactEvery, o.Watchers = 200*time.Millisecond, 8
			o.WatchFor = 300 * time.Millisecond
			faults(o, map[string]float64{"kill": 10, "slow links": 10})
		}},
		{"etcd-18667", "reads of a compacted revision in a transaction differ", func(o *Options) {
			o.CompactEvery, o.CompactionBatch, o.Workers = 200*time.Millisecond, 1, 6
			faults(o, map[string]float64{"pause": 15, "kill": 10})
		}},
		{"etcd-19179", "a watch from the compacted revision lacks its delete", func(o *Options) {
			o.CompactEvery, o.Watchers = 200*time.Millisecond, 6
			o.WatchFor = 300 * time.Millisecond
			faults(o, nil)
		}},
		{"etcd-20221", "a watch of a future revision gets older events, or progress",
			func(o *Options) {
				o.Watchers, o.WatchFor = 6, 300*time.Millisecond
				faults(o, map[string]float64{"isolation": 10, "kill": 10})
			}},
	}
}

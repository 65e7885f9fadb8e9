package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Options are all that a simulation is made from: the same options give the same run, event by
// event.
type Options struct {
	Seed     uint64
	Members  int           // voters that the cluster begins with, 1 to 7
	Duration time.Duration // of load and faults, simulated
	Ops      int           // of the workers, after which clients stop; 0: no limit
	Faults   Faults
	// Scenario names the shape that the run has; "": none in particular.
	Scenario string
	// Skip names planned faults, by number, that are left out.
	Skip map[int]bool
	// Dir is where a picture of a history goes that contradicts itself; "": nowhere.
	Dir string

	// The clients.
	Workers, Watchers, Tenants, Lockers int
	// Keys is how many keys the workers share at a time, 2 at least. Aside has half of the workers
	// only read, and the others keep away from who leads.
	Keys  int
	Aside bool
	// NearPast is how many revisions back reads of the past go most often: further back the keys of
	// the time were not there. 0: anywhere.
	NearPast int64
	// Scribes have keys of their own each. Leaseholders are tenants whose leases have more than one
	// key, some of which leave them.
	Scribes, Leaseholders int
	Think                 time.Duration // of a worker, between requests
	WatchFor              time.Duration // at most, at one member
	CompactEvery          time.Duration // 0: clients do not compact
	ValueBytes            int           // at most

	// The members. Crowded has what they answer each other wait now and then until it can be sent.
	Crowded bool
	// Quiet has a member's raft log writer do all that follows from a little, as on a machine;
	// without it each part is always done by its own task.
	Quiet                         bool
	HeartbeatMs, ElectionMs       int
	SnapshotCount, CatchUpEntries int
	CompactionBatch               int
	// Retention is how long automatic compaction keeps the past; 0: there is none.
	Retention time.Duration
	// LeaseCheckpoint is the time between two checkpoints of a lease, WatchBytes what may be
	// queued for a stream of watches; 0: as on a machine.
	LeaseCheckpoint       time.Duration
	WatchBytes            int
	HashInterval          time.Duration
	StrictReconfig        bool
	Quota                 int64
	WALBytes, RevlogBytes int64
}

// Faults says how likely what is; the zero value is a world in which nothing fails.
type Faults struct {
	// Loss, Duplicate and Reorder are probabilities, for each message between members.
	Loss, Duplicate, Reorder float64
	// Skew is the probability that a request has fields of a later version in all its parts.
	Skew float64
	// Drift is by which part clocks go too fast or too slow at most.
	Drift float64
	// Rates has how often a kind of fault comes in a simulated minute, on average.
	Rates map[string]float64
}

// Draw makes options from a seed: each run has its own shape, and its own choice of faults, for
// what is always there hides what needs its absence.
func Draw(seed uint64) Options {
	rng := stream(seed, streamOptions)
	o := Options{
		Seed:     seed,
		Members:  pick(rng, []int{1, 2, 3, 3, 3, 3, 3, 4, 5, 5, 7}),
		Duration: between(rng, 8*time.Second, 25*time.Second),
		Workers:  2 + rng.IntN(5), Watchers: pick(rng, []int{0, 1, 3, 5, 8}), Tenants: rng.IntN(3),
		Lockers: pick(rng, []int{0, 0, 2, 3}), Think: pick(rng, []time.Duration{
			5 * time.Millisecond, 20 * time.Millisecond, 60 * time.Millisecond,
		}),
		WatchFor: pick(rng, []time.Duration{
			300 * time.Millisecond, 3 * time.Second, time.Minute,
		}),
		CompactEvery: pick(rng, []time.Duration{0, 500 * time.Millisecond, 4 * time.Second}),
		ValueBytes:   pick(rng, []int{0, 0, 100, 3000}),
		HeartbeatMs:  100, ElectionMs: pick(rng, []int{500, 1000, 1000}),
		SnapshotCount:   pick(rng, []int{5, 30, 150, 1000}),
		CatchUpEntries:  pick(rng, []int{1, 10, 50, 5000}),
		CompactionBatch: pick(rng, []int{0, 1, 7}),
		HashInterval:    pick(rng, []time.Duration{0, 2 * time.Second}),
		StrictReconfig:  rng.IntN(2) == 0,
		WALBytes:        pick(rng, []int64{4 << 10, 16 << 10, 64 << 10}),
		RevlogBytes:     pick(rng, []int64{4 << 10, 16 << 10, 64 << 10}),
	}
	o.Faults = drawFaults(rng)
	o.drawBounds(rng)
	if rng.IntN(8) == 0 {
		sc := pick(rng, Scenarios())
		o.Scenario = sc.Name
		sc.Shape(&o)
	}
	o.Quiet = rng.IntN(2) == 0
	return o
}

// drawBounds draws what makes seldom things common: small bounds, short times, more kinds of keys.
func (o *Options) drawBounds(rng *rand.Rand) {
	o.Scribes, o.Leaseholders = pick(rng, []int{0, 1, 2}), pick(rng, []int{0, 1, 3})
	o.Keys, o.NearPast = pick(rng, []int{2, 6, 6}), pick(rng, []int64{0, 150, 150})
	o.Crowded = rng.IntN(4) > 0
	o.WatchBytes = pick(rng, []int{0, 400, 4000})
	o.LeaseCheckpoint = pick(rng, []time.Duration{0, time.Second})
	if rng.IntN(4) == 0 {
		o.Retention = pick(rng, []time.Duration{time.Second, 5 * time.Second})
		if rng.IntN(2) == 0 {
			o.CompactEvery = 0
		}
	}
}

// drawFaults takes some kinds of faults, each with a rate of its own.
func drawFaults(rng *rand.Rand) Faults {
	f := Faults{Rates: map[string]float64{}}
	if rng.IntN(20) == 0 {
		return f
	}
	half := func(p float64) float64 {
		if rng.IntN(2) == 0 {
			return 0
		}
		return p * rng.Float64()
	}
	f.Loss, f.Duplicate, f.Reorder = half(0.05), half(0.05), half(0.1)
	f.Drift, f.Skew = half(0.05), half(0.3)
	for _, k := range kinds {
		if rng.Float64() < k.odds {
			f.Rates[k.name] = k.rate * (0.25 + 1.5*rng.Float64())
		}
	}
	return f
}

// String is the shape of a run in a line.
func (o Options) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %d members, %v, %d workers, %d watchers, %d tenants, %d lockers, "+
		"snapshot-count %d, catch-up %d, loss %.3f, doubles %.3f, reorder %.3f, drift %.3f, "+
		"skew %.2f, %d scribes, %d leaseholders, watch bytes %d, retention %v",
		o.Seed, o.Members, o.Duration.Round(time.Millisecond), o.Workers, o.Watchers, o.Tenants,
		o.Lockers, o.SnapshotCount, o.CatchUpEntries, o.Faults.Loss, o.Faults.Duplicate,
		o.Faults.Reorder, o.Faults.Drift, o.Faults.Skew, o.Scribes, o.Leaseholders, o.WatchBytes,
		o.Retention)
	if o.Quiet {
		b.WriteString(", quiet")
	}
	if o.Scenario != "" {
		fmt.Fprintf(&b, ", shape %s", o.Scenario)
	}
	for _, k := range kinds {
		if r := o.Faults.Rates[k.name]; r > 0 {
			fmt.Fprintf(&b, ", %s %.1f/min", k.name, r)
		}
	}
	if len(o.Skip) > 0 {
		fmt.Fprintf(&b, ", %d faults left out", len(o.Skip))
	}
	return b.String()
}

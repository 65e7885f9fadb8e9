package sim

import (
	"regexp"
	"time"
)

// varying are the parts of a failure's text that differ between runs that fail alike.
var varying = regexp.MustCompile(`[0-9][0-9a-fx.µ]*(ms|m|s|h)?`)

// kindOf is what a failure is about.
func kindOf(err error) string {
	if err == nil {
		return ""
	}
	const enough = 60
	text := varying.ReplaceAllString(err.Error(), "#")
	return text[:min(len(text), enough)]
}

// shrinker looks for smaller options that fail alike.
type shrinker struct {
	best   *Result
	kind   string
	tries  int
	report func(*Result)
}

// Shrink looks for options with less time, fewer clients, fewer operations and fewer faults under
// which the simulation fails as r did, in at most so many runs. Each that is found is reported.
func Shrink(r *Result, tries int, report func(*Result)) *Result {
	s := &shrinker{best: r, kind: kindOf(r.Failure), tries: tries, report: report}
	for before := -1; before != s.tries && s.tries > 0; {
		before = s.tries
		if !s.pass() {
			break
		}
	}
	return s.best
}

// try runs with changed options and says whether it failed alike.
func (s *shrinker) try(change func(*Options)) bool {
	if s.tries <= 0 {
		return false
	}
	s.tries--
	o := s.best.Options
	o.Faults.Rates = map[string]float64{}
	for k, v := range s.best.Options.Faults.Rates {
		o.Faults.Rates[k] = v
	}
	o.Skip = map[int]bool{}
	for k := range s.best.Options.Skip {
		o.Skip[k] = true
	}
	change(&o)
	r := Run(o, nil)
	if r.Failure == nil || kindOf(r.Failure) != s.kind {
		return false
	}
	s.best = r
	s.report(r)
	return true
}

// pass tries everything once and says whether something helped.
func (s *shrinker) pass() (helped bool) {
	note := func(ok bool) { helped = helped || ok }
	for s.best.Options.Duration > time.Second && s.try(func(o *Options) { o.Duration /= 2 }) {
		helped = true
	}
	note(s.best.Options.Duration > time.Second &&
		s.try(func(o *Options) { o.Duration = o.Duration * 3 / 4 }))
	for _, n := range []func(*Options) *int{
		func(o *Options) *int { return &o.Watchers }, func(o *Options) *int { return &o.Tenants },
		func(o *Options) *int { return &o.Lockers }, func(o *Options) *int { return &o.Workers },
		func(o *Options) *int { return &o.Scribes },
		func(o *Options) *int { return &o.Leaseholders },
	} {
		for *n(&s.best.Options) > 0 && (s.try(func(o *Options) { *n(o) = 0 }) ||
			s.try(func(o *Options) { *n(o)-- })) {
			helped = true
		}
	}
	for _, p := range []func(*Options) *float64{
		func(o *Options) *float64 { return &o.Faults.Loss },
		func(o *Options) *float64 { return &o.Faults.Duplicate },
		func(o *Options) *float64 { return &o.Faults.Reorder },
		func(o *Options) *float64 { return &o.Faults.Drift },
	} {
		note(*p(&s.best.Options) > 0 && s.try(func(o *Options) { *p(o) = 0 }))
	}
	note(s.best.Options.CompactEvery > 0 && s.try(func(o *Options) { o.CompactEvery = 0 }))
	note(s.best.Options.Retention > 0 && s.try(func(o *Options) { o.Retention = 0 }))
	note(s.best.Options.ValueBytes > 0 && s.try(func(o *Options) { o.ValueBytes = 0 }))
	return s.skip() || helped
}

// skip leaves out faults: all, then halves, then one at a time.
func (s *shrinker) skip() (helped bool) {
	for size := max(s.best.Planned, 1); size > 0; size /= 2 {
		for from := 0; from < s.best.Planned; from += size {
			fresh := false
			for i := from; i < from+size && i < s.best.Planned; i++ {
				fresh = fresh || !s.best.Options.Skip[i]
			}
			if fresh && s.try(func(o *Options) {
				for i := from; i < from+size && i < s.best.Planned; i++ {
					o.Skip[i] = true
				}
			}) {
				helped = true
			}
		}
	}
	return helped
}

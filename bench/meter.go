package bench

import (
	"errors"
	"maps"
	"slices"
	"time"
)

// meter measures processor time.
type meter struct {
	pids    []int
	started bool
	own     time.Duration
	servers []time.Duration
	err     error
}

func newMeter(pids []int) *meter {
	return &meter{pids: pids, servers: make([]time.Duration, len(pids))}
}

// read adds the times so far, with a sign.
func (m *meter) read(sign time.Duration) {
	m.own += sign * OwnCPU()
	for i, pid := range m.pids {
		t, err := processCPU(pid)
		m.servers[i] += sign * t
		m.err = errors.Join(m.err, err)
	}
}

func (m *meter) start() {
	m.started = true
	m.read(-1)
}

func (m *meter) stop() error {
	if m.started {
		m.read(1)
	}
	return m.err
}

// result adds up what all workers have measured, nil if nothing was. The workers must have ended.
func (r *run) result(m *meter, end int64) *Result {
	from := r.from.Load()
	if from == 0 {
		return nil
	}
	if r.Duration == 0 {
		last := from
		for _, w := range r.workers {
			last = max(last, w.last)
		}
		if last > from {
			end = last
		}
	} else {
		end = min(end, r.until.Load())
	}
	seconds := time.Duration(end - from).Seconds()
	out := &Result{
		Verb: r.Load.Verb(), Endpoints: r.Endpoints, Conns: r.Conns, Clients: r.Clients,
		Seed: r.seed, Seconds: seconds, Wanted: r.Rate, Generator: m.own.Seconds(),
	}
	if seconds > 0 {
		out.Reached = float64(r.done.Load()) / seconds
	}
	for _, t := range m.servers {
		out.Servers = append(out.Servers, t.Seconds())
	}
	for i, name := range r.plan.series() {
		s := Series{Name: name, Seconds: seconds, Latency: &Histogram{}}
		for _, w := range r.workers {
			s.Latency.Add(&w.stats[i].latency)
			for what, n := range w.stats[i].errors {
				if s.Errors == nil {
					s.Errors = make(map[string]int64)
				}
				s.Errors[what] += n
			}
		}
		out.Series = append(out.Series, s)
	}
	for _, w := range r.workers {
		out.BytesIn += w.in
		out.BytesOut += w.out
	}
	if r.watch != nil {
		r.watch.amend(out)
	}
	return out
}

// Operations is how many operations were measured in all series, failed ones included.
func (r *Result) Operations() (n int64) {
	for i := range r.Series {
		n += int64(r.Series[i].Latency.Count()) + r.Series[i].Failed()
	}
	return n
}

// GeneratorPerOperation and ServersPerOperation are the processor time of the generator and of all
// servers together for one operation.
func (r *Result) GeneratorPerOperation() time.Duration { return r.per(r.Generator) }
func (r *Result) ServersPerOperation() time.Duration {
	var sum float64
	for _, s := range r.Servers {
		sum += s
	}
	return r.per(sum)
}

func (r *Result) per(seconds float64) time.Duration {
	n := r.Operations()
	if n == 0 {
		return 0
	}
	return time.Duration(seconds / float64(n) * float64(time.Second))
}

// ErrorsByCount lists the errors of a series, the most frequent first.
func (s *Series) ErrorsByCount() []string {
	return slices.SortedFunc(maps.Keys(s.Errors), func(a, b string) int {
		if d := s.Errors[b] - s.Errors[a]; d != 0 {
			return int(d)
		}
		if a < b {
			return -1
		}
		return 1
	})
}

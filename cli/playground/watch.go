package playground

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cairnkv/cairn/clock"
)

const (
	// pollEvery is the time between two questions to a member; every countEvery-th time its
	// metrics are read too, every listEvery-th time the list of members.
	pollEvery  = 300 * time.Millisecond
	countEvery = 4
	listEvery  = 7
	// pollTimeout bounds each of them.
	pollTimeout = time.Second
	// maxMetrics bounds what is read of a member's metrics, in bytes.
	maxMetrics = 8 << 20
)

// watch begins to ask a member how it is, and to write to it while the load is on. It ends when the
// member is forgotten or the cluster closed.
func (c *cluster) watch(m *member) {
	ctx, cancel := context.WithCancel(c.ctx)
	c.watchers.Go(func() {
		defer cancel()
		select {
		case <-m.quit:
		case <-ctx.Done():
		}
	})
	c.watchers.Go(func() { c.poll(ctx, m) })
	c.watchers.Go(func() { c.load.write(ctx, m) })
}

// stopWatching ends all that watch began.
func (c *cluster) stopWatching() {
	c.cancel()
	c.watchers.Wait()
}

// poll asks one member how it is.
func (c *cluster) poll(ctx context.Context, m *member) {
	timer := clock.Real().NewTimer(pollEvery)
	defer timer.Stop()
	client := &http.Client{Timeout: pollTimeout, Transport: &http.Transport{MaxIdleConns: 1}}
	defer client.CloseIdleConnections()
	for round := 0; ; round++ {
		if m.awake() {
			c.ask(ctx, m)
			if round%countEvery == 0 {
				c.count(ctx, m, client)
			}
			if round%listEvery == 0 {
				c.listMembers(ctx, m)
			}
		}
		// All members are asked at the same moments, so that their answers can be compared.
		now := clock.Real().Now()
		timer.Reset(now.Truncate(pollEvery).Add(pollEvery).Sub(now))
		select {
		case <-ctx.Done():
			return
		case <-timer.C():
		}
	}
}

func (c *cluster) ask(ctx context.Context, m *member) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	s, err := m.client.Status(ctx, m.Ports.endpoint())
	if err != nil {
		if m.awake() {
			c.tell(silent{m.Name})
		}
		return
	}
	var alarms []string
	for _, e := range s.Errors {
		for _, name := range []string{"NOSPACE", "CORRUPT"} {
			if strings.Contains(e, name) {
				alarms = append(alarms, name)
			}
		}
	}
	c.tell(answered{m.Name, status{
		id: s.Header.MemberId, leader: s.Leader, term: s.RaftTerm, index: s.RaftIndex,
		applied: s.RaftAppliedIndex, revision: s.Header.Revision, size: s.DbSize,
		learner: s.IsLearner, alarms: alarms,
	}})
}

// listMembers reads the list of members through one of them.
func (c *cluster) listMembers(ctx context.Context, m *member) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	list, err := m.client.MemberList(ctx) // linearizable: the list as it is now
	if err != nil {
		return // it is asked again
	}
	ids := map[uint64]bool{}
	for _, member := range list.Members {
		ids[member.ID] = true
	}
	c.tell(listed{ids})
}

// count reads a member's metrics.
func (c *cluster) count(ctx context.Context, m *member, client *http.Client) {
	url := "http://" + m.Ports.endpoint() + "/metrics"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return
	}
	resp, err := client.Do(req)
	if err != nil {
		return // it is asked again
	}
	defer resp.Body.Close()
	found := metrics(io.LimitReader(resp.Body, maxMetrics),
		"etcd_debugging_mvcc_keys_total", "etcd_debugging_mvcc_watcher_total")
	c.tell(counted{name: m.Name, keys: found[0], watchers: found[1]})
}

// metrics returns the values of metrics without labels, 0 for those that are not there.
func metrics(r io.Reader, names ...string) []int64 {
	out := make([]int64, len(names))
	for lines := bufio.NewScanner(r); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		for i, want := range names {
			if name == want {
				f, _ := strconv.ParseFloat(value, 64) // what is no number counts as none
				out[i] = int64(f)
			}
		}
	}
	return out
}

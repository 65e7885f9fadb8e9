package cluster

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// maxMetrics bounds the page of metrics that is read, in bytes.
const maxMetrics = 16 << 20

// sentCounters are the counters of bytes of snapshots that a member sends to others, as far as it
// has them: etcd has none.
var sentCounters = []string{"cairn_snapshot_sent_bytes_total"}

// Sent returns how many bytes of snapshots all members that run, and are not paused, have sent
// since their starts.
func (c *Cluster) Sent(ctx context.Context) (bytes int64, err error) {
	for _, m := range c.Members() {
		if !m.Running() || m.Paused {
			continue
		}
		n, err := m.metrics(ctx, sentCounters)
		if err != nil {
			return 0, fmt.Errorf("metrics of %s: %w", m.Name, err)
		}
		bytes += n
	}
	return bytes, nil
}

// metrics returns the sum of some counters over all labels.
func (m *Member) metrics(ctx context.Context, names []string) (sum int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	url := "http://" + m.endpoint + "/metrics"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(io.LimitReader(resp.Body, maxMetrics))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(page)) {
		fields := strings.Fields(line)
		name, _, _ := strings.Cut(line, "{")
		if len(fields) < 2 || !slices.Contains(names, strings.Fields(name)[0]) {
			continue
		}
		value, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", line, err)
		}
		sum += int64(value)
	}
	return sum, nil
}

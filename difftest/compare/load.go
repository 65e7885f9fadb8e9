package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/cairnkv/cairn/difftest/compare/report"
)

// manyClients is how many requests are under way at once when a server is to be busy. Connections
// are as many as 1, 3 and 5 members share evenly.
const (
	manyClients = 1000
	manyConns   = 15
	someClients = 100
)

// result is what the comparison reads of the output of `cairn bench -w json`.
type result struct {
	Generator float64   `json:"generator_cpu_seconds"`
	Servers   []float64 `json:"server_cpu_seconds"`
	Series    []struct {
		Name    string
		Count   int64
		Failed  int64
		Rate    float64
		Errors  map[string]int64
		Latency struct {
			P50  float64
			P99  float64
			P999 float64 `json:"p99.9"`
			Max  float64
		} `json:"latency_us"`
	}
}

// measurement is the first series of a result. Processor time is that of all members, for each of
// its operations.
func (r *result) measurement() report.Measurement {
	s := r.Series[0]
	m := report.Measurement{Count: s.Count, Failed: s.Failed, Rate: s.Rate, P50: s.Latency.P50,
		P99: s.Latency.P99, P999: s.Latency.P999, Max: s.Latency.Max}
	const micro = 1e6
	if n := float64(s.Count + s.Failed); n > 0 {
		for _, seconds := range r.Servers {
			m.CPU += seconds * micro / n
		}
		m.Generator = r.Generator * micro / n
	}
	return m
}

// bench runs a load against all members of a cluster. args is the verb and its flags.
func (c *comparison) bench(ctx context.Context, cl *cluster, args ...string) (*result, error) {
	line := slices.Concat(c.loads, []string{c.generator, "bench"}, args, []string{"-w=json",
		"--seed=" + strconv.Itoa(c.round+1)})
	var endpoints, pids []string
	for _, s := range cl.members() {
		endpoints = append(endpoints, s.Endpoint())
		pids = append(pids, strconv.Itoa(s.Pid()))
	}
	line = append(line, "--endpoints="+strings.Join(endpoints, ","),
		"--server-pid="+strings.Join(pids, ","))
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("cairn bench %s: %w: %s", strings.Join(args, " "), err, &stderr)
	}
	var r result
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		return nil, fmt.Errorf("cairn bench %s: %w", strings.Join(args, " "), err)
	}
	if len(r.Series) == 0 {
		return nil, errors.New("cairn bench has measured nothing")
	}
	return &r, nil
}

// timed are the flags of a load that is measured for the usual time.
func (c *comparison) timed(verb string, clients, conns int, more ...string) []string {
	return append([]string{verb, fmt.Sprintf("--duration=%ds", c.seconds),
		fmt.Sprintf("--warmup=%ds", c.warmup), fmt.Sprintf("--clients=%d", clients),
		fmt.Sprintf("--conns=%d", conns)}, more...)
}

// keys are the flags for keys of a store of so many.
func keys(n int) []string {
	return []string{fmt.Sprintf("--key-size=%d", keyBytes), fmt.Sprintf("--key-space-size=%d", n)}
}

var values = fmt.Sprintf("--val-size=%d", valueBytes)

// fill writes all keys of a store of so many.
func (c *comparison) fill(ctx context.Context, cl *cluster, n int) error {
	r, err := c.bench(ctx, cl, append(keys(n), "put", "--sequential-keys", values,
		fmt.Sprintf("--total=%d", n), fmt.Sprintf("--clients=%d", manyClients),
		fmt.Sprintf("--conns=%d", manyConns))...)
	if err == nil && r.Series[0].Failed > 0 {
		err = fmt.Errorf("filling a store: %v", r.Series[0].Errors)
	}
	return err
}

// cell runs a load and adds what it has measured to the report.
func (c *comparison) cell(ctx context.Context, cl *cluster, server int, cell report.Cell,
	args []string) error {
	r, err := c.bench(ctx, cl, args...)
	if err != nil {
		return err
	}
	m := r.measurement()
	c.progress("  %s: %.0f/s, CPU %.1f us", cell.Title, m.Rate, m.CPU)
	if m.Failed > 0 {
		c.progress("  %d operations failed: %v", m.Failed, r.Series[0].Errors)
	}
	c.report.Add(cell, server, m)
	return nil
}

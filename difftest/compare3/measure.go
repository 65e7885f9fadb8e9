package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cairnkv/cairn/difftest"
)

const (
	members = 3

	// ticksPerSecond is the unit of processor times in /proc, the same on every Linux.
	ticksPerSecond = 100
)

// figures are what was measured in one cell, in all rounds.
type figures struct {
	took      []time.Duration
	seconds   float64
	cpu       time.Duration // of all members
	leaderCPU time.Duration
}

// result is what was measured of one kind of server.
type result struct {
	cells  map[string]*figures
	rss    int64 // bytes of all members at the end of a round, the largest
	disk   int64
	change int // leaders that changed unasked
}

func newResult() *result { return &result{cells: make(map[string]*figures)} }

// measure starts a cluster, runs all cells and adds what it finds to a result.
func measure(ctx context.Context, o options, path, dir string, profiled bool, r *result) (
	err error,
) {
	cfg := difftest.Config{Members: members, DefaultTiming: true}
	if profiled && o.profile != "" {
		cfg.Extra = []string{"--enable-pprof"}
	}
	cluster, err := difftest.NewCluster(path, dir, 0, cfg)
	if err != nil {
		return err
	}
	defer cluster.Close()
	var endpoints []string
	for _, s := range cluster.Sides[:members] {
		s.Server.Prefix = o.prefix
		endpoints = append(endpoints, s.Server.Endpoint())
	}
	if err := cluster.Start(ctx); err != nil {
		return err
	}
	if err := cluster.Settle(ctx, 1); err != nil {
		return err
	}
	clients, err := connect(endpoints)
	if err != nil {
		return err
	}
	defer func() {
		for _, c := range clients {
			_ = c.Close() // nothing is in flight
		}
	}()
	for _, c := range cells {
		w := window{from: time.Now().Add(warmup)}
		w.to = w.from.Add(time.Duration(o.seconds * float64(time.Second)))
		f := r.cells[c.name]
		if f == nil {
			f = &figures{}
			r.cells[c.name] = f
		}
		watched := watch(cluster, w)
		var profiles chan error
		if profiled && o.profile != "" {
			profiles = profile(ctx, o, c, cluster)
		}
		took, err := load(ctx, c, clients, w)
		used := <-watched
		if profiles != nil {
			if perr := <-profiles; err == nil {
				err = perr
			}
		}
		if err == nil {
			err = used.err
		}
		if err != nil {
			return err
		}
		f.took, f.seconds = append(f.took, took...), f.seconds+o.seconds
		f.cpu, f.leaderCPU = f.cpu+used.all, f.leaderCPU+used.leader
	}
	if cluster.Restless(ctx) {
		r.change++
	}
	return r.weigh(cluster)
}

// usage is the processor time of a cluster in a window.
type usage struct {
	all, leader time.Duration
	err         error
}

// watch reads the members' processor times at both ends of a window.
func watch(c *difftest.Cluster, w window) <-chan usage {
	done := make(chan usage, 1)
	go func() {
		var u usage
		for _, at := range []struct {
			time time.Time
			sign time.Duration
		}{{w.from, -1}, {w.to, 1}} {
			<-time.After(time.Until(at.time))
			for i, s := range c.Sides[:members] {
				t, err := processorTime(s.Server.Pid())
				if err != nil {
					u.err = err
				}
				u.all += at.sign * t
				if i == 0 {
					u.leader += at.sign * t
				}
			}
		}
		done <- u
	}()
	return done
}

// processorTime returns the processor time of a process so far.
func processorTime(pid int) (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	const user, system = 11, 12 // behind the name, from 0 on
	if len(fields) <= system {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	var ticks int64
	for _, f := range fields[user : system+1] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}

// weigh measures memory and files of all members.
func (r *result) weigh(c *difftest.Cluster) error {
	var rss, disk int64
	for _, s := range c.Sides[:members] {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.Server.Pid()))
		if err != nil {
			return err
		}
		var size, resident int64
		if _, err := fmt.Sscan(string(data), &size, &resident); err != nil {
			return fmt.Errorf("/proc/%d/statm: %w", s.Server.Pid(), err)
		}
		rss += resident * int64(os.Getpagesize())
		err = filepath.WalkDir(s.Server.DataDir(), func(_ string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if err == nil {
				disk += info.Size()
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	r.rss, r.disk = max(r.rss, rss), max(r.disk, disk)
	return nil
}

// profile takes CPU profiles of the leader and a follower while a cell is measured.
func profile(ctx context.Context, o options, c cell, cluster *difftest.Cluster) chan error {
	done := make(chan error, 1)
	go func() {
		errs := make(chan error)
		for i, role := range []string{"leader", "follower"} {
			go func() {
				name := strings.NewReplacer(", ", "-", " ", "-").Replace(c.name) + "-" + role
				url := fmt.Sprintf("%s/debug/pprof/profile?seconds=%d",
					cluster.Sides[i].Server.ClientURL(), max(1, int(o.seconds)))
				errs <- fetch(ctx, url, filepath.Join(o.profile, name+".pprof"))
			}()
		}
		first, second := <-errs, <-errs
		if first == nil {
			first = second
		}
		done <- first
	}()
	return done
}

// fetch writes the answer to a GET request to a file.
func fetch(ctx context.Context, url, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := io.Copy(file, resp.Body); err != nil {
		return err
	}
	return file.Close()
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/cairnkv/cairn/difftest"
	"github.com/cairnkv/cairn/difftest/compare/report"
)

// timeout bounds requests that this program makes by itself.
const timeout = 2 * time.Minute

// cluster is the members of one of the two.
type cluster struct {
	*difftest.Cluster
	count int
}

// start starts a cluster. The caller closes it.
func (c *comparison) start(ctx context.Context, server, members int, dir string, flags ...string) (
	*cluster, error,
) {
	made, err := difftest.NewCluster(c.programs[server], dir, server, difftest.Config{
		Members: members, DefaultTiming: true, Extra: flags})
	if err != nil {
		return nil, err
	}
	cl := &cluster{made, members}
	for _, s := range cl.members() {
		s.Prefix = c.servers
	}
	if err := cl.Start(ctx); err != nil {
		cl.Close()
		return nil, err
	}
	if err := cl.Settle(ctx, 1); err != nil {
		cl.Close()
		return nil, err
	}
	if err := c.note(ctx, cl.members()[0], server); err != nil {
		cl.Close()
		return nil, err
	}
	return cl, nil
}

// members are the servers, in order.
func (cl *cluster) members() []*difftest.Server {
	var out []*difftest.Server
	for _, s := range cl.Sides[:cl.count] {
		out = append(out, s.Server)
	}
	return out
}

// note notes the version of a server.
func (c *comparison) note(ctx context.Context, s *difftest.Server, server int) error {
	data, err := get(ctx, s.ClientURL()+"/version")
	if err != nil {
		return err
	}
	var versions struct{ Etcdserver, Cairn string }
	if err := json.Unmarshal(data, &versions); err != nil {
		return fmt.Errorf("/version: %w", err)
	}
	if server == 0 {
		c.report.Etcd = versions.Etcdserver
	} else {
		c.report.Cairn = versions.Cairn
	}
	return nil
}

// get fetches a page of a server.
func get(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return data, err
}

// client returns etcd's client of a server. The caller closes it.
func client(s *difftest.Server) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: []string{s.Endpoint()}, DialTimeout: timeout,
		Logger: zap.NewNop()})
}

// weigh adds memory and disk of all members to the report.
func (c *comparison) weigh(cl *cluster, server int, suffix, when string) error {
	var resident, private, disk int64
	for _, s := range cl.members() {
		status := fmt.Sprintf("/proc/%d/status", s.Pid())
		for name, sum := range map[string]*int64{"VmRSS": &resident, "RssAnon": &private} {
			kib, err := strconv.ParseInt(strings.TrimSuffix(lineOf(status, name), " kB"), 10, 64)
			if err != nil {
				return fmt.Errorf("%s in %s: %w", name, status, err)
			}
			*sum += kib << 10
		}
		n, err := dirSize(s.DataDir())
		if err != nil {
			return err
		}
		disk += n
	}
	for _, v := range []struct {
		key, title string
		bytes      int64
	}{
		{"memory", "memory", resident}, {"private", "private memory", private},
		{"disk", "disk", disk},
	} {
		c.report.AddValue(report.Value{Key: v.key + suffix, Title: v.title + ", " + when,
			Unit: "bytes"}, server, float64(v.bytes))
	}
	return nil
}

// dirSize adds up the files under a directory, in bytes; some may go meanwhile.
func dirSize(dir string) (size int64, err error) {
	gone := func(err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return gone(err)
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return gone(err)
	})
	return size, err
}

// wait waits.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

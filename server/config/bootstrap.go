package config

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"
)

// resolveTimeout bounds the lookup of host names of --initial-cluster.
const resolveTimeout = 30 * time.Second

// Members parses --initial-cluster into the peer URLs of each name, sorted. The error is etcd's.
func (c *Config) Members() (map[string]URLs, error) {
	lists := map[string][]string{}
	for _, pair := range strings.Split(c.InitialCluster, ",") {
		if pair == "" {
			continue
		}
		name, u, _ := strings.Cut(pair, "=")
		lists[name] = append(lists[name], u)
	}
	out := make(map[string]URLs, len(lists))
	for _, name := range slices.Sorted(maps.Keys(lists)) {
		urls, err := ParseURLs(lists[name])
		if err != nil {
			return nil, fmt.Errorf("error setting up initial cluster: %w", err)
		}
		out[name] = urls
	}
	return out, nil
}

// VerifyBootstrap checks --initial-cluster against the rest. The caller asks when there is no data
// yet: a restart ignores these options. The texts are etcd's (server/config/config.go).
func (c *Config) VerifyBootstrap() error {
	ctx, cancel := context.WithTimeout(context.Background(), resolveTimeout)
	defer cancel()
	return c.verifyBootstrap(ctx, net.DefaultResolver.LookupHost)
}

// lookup finds the addresses of a host name.
type lookup func(ctx context.Context, host string) ([]string, error)

func (c *Config) verifyBootstrap(ctx context.Context, find lookup) error {
	members, err := c.Members()
	if err != nil {
		return err
	}
	if len(members) == 0 {
		return errors.New("initial cluster unset and no discovery endpoints found")
	}
	own, ok := members[c.Name]
	if !ok {
		return fmt.Errorf("couldn't find local name %q in the initial cluster configuration",
			c.Name)
	}
	if err := c.matchAdvertised(ctx, own, find); err != nil {
		return err
	}
	return c.checkDuplicates(members)
}

func (c *Config) checkDuplicates(members map[string]URLs) error {
	seen := map[string]bool{}
	for _, urls := range members {
		for _, u := range urls.Strings() {
			if seen[u] {
				return fmt.Errorf("initial cluster %s has duplicate url", c.InitialCluster)
			}
			seen[u] = true
		}
	}
	return nil
}

// VerifyJoin checks --initial-cluster of a member that joins a cluster which runs; as
// VerifyBootstrap, but for what it advertises: the cluster knows that already.
func (c *Config) VerifyJoin() error {
	members, err := c.Members()
	if err != nil {
		return err
	}
	if _, ok := members[c.Name]; !ok {
		return fmt.Errorf("couldn't find local name %q in the initial cluster configuration",
			c.Name)
	}
	return c.checkDuplicates(members)
}

// NameOf is the name that --initial-cluster gives to the member with these peer URLs, if need be
// after looking up host names.
func (c *Config) NameOf(peerURLs []string) (string, error) {
	members, err := c.Members()
	if err != nil {
		return "", err
	}
	wanted, err := ParseURLs(peerURLs)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), resolveTimeout)
	defer cancel()
	last := errors.New("no member of --initial-cluster has these URLs")
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if slices.Equal(wanted.Strings(), members[name].Strings()) {
			return name, nil
		}
		same, err := sameAddresses(ctx, wanted, members[name], net.DefaultResolver.LookupHost)
		if same {
			return name, nil
		}
		last = err
	}
	return "", last
}

// matchAdvertised demands that the member advertises what the cluster knows it by, if need be after
// looking up host names.
func (c *Config) matchAdvertised(ctx context.Context, own URLs, find lookup) error {
	advertised := c.AdvertisePeerURLs
	if slices.Equal(own.Strings(), advertised.Strings()) {
		return nil
	}
	same, err := sameAddresses(ctx, own, advertised, find)
	if same {
		return nil
	}
	asText := func(urls []string) string { // name=url,name=url
		out := make([]string, len(urls))
		for i, u := range urls {
			out[i] = c.Name + "=" + u
		}
		return strings.Join(out, ",")
	}
	if missing := difference(own.Strings(), advertised.Strings()); len(missing) > 0 {
		return fmt.Errorf("--initial-cluster has %s but missing from "+
			"--initial-advertise-peer-urls=%s (%w)", asText(missing), advertised, err)
	}
	return fmt.Errorf("--initial-advertise-peer-urls has %s but missing from --initial-cluster=%s",
		strings.Join(difference(advertised.Strings(), own.Strings()), ","), asText(own.Strings()))
}

// difference returns what is in a and not in b.
func difference(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

// sameAddresses compares two lists by what their hosts resolve to. The error says why not.
func sameAddresses(ctx context.Context, a, b URLs, find lookup) (bool, error) {
	if len(a) != len(b) {
		return false, fmt.Errorf("len(%q) != len(%q)", b.Strings(), a.Strings())
	}
	resolvedA, err := resolveAll(ctx, a, find)
	if err != nil {
		return false, err
	}
	resolvedB, err := resolveAll(ctx, b, find)
	if err != nil {
		return false, err
	}
	for i := range resolvedA {
		if resolvedA[i] != resolvedB[i] {
			return false, fmt.Errorf("resolved urls: %q != %q", resolvedB[i], resolvedA[i])
		}
	}
	return true, nil
}

// resolveAll replaces host names by their first address and sorts; localhost stays, as in etcd.
func resolveAll(ctx context.Context, urls URLs, find lookup) ([]string, error) {
	var out []string
	for _, u := range urls {
		host := u.Hostname()
		if (u.Scheme == "http" || u.Scheme == "https") && host != "localhost" &&
			net.ParseIP(host) == nil {
			addrs, err := find(ctx, host)
			if err != nil {
				return nil, fmt.Errorf("failed to resolve %s: %w", u.String(), err)
			}
			u = url.URL{Scheme: u.Scheme, Host: net.JoinHostPort(slices.Min(addrs), u.Port())}
		}
		out = append(out, u.String())
	}
	slices.Sort(out)
	return out, nil
}

package utl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
)

// resolveTimeout bounds the look-up of one host name.
const resolveTimeout = 30 * time.Second

// checkCluster makes sure that a cluster has the member name, that it is reached there by the URLs
// that it advertises, and that no URL stands for two members. The errors are etcd's.
func checkCluster(ctx context.Context, name string, peers types.URLs, cluster types.URLsMap) error {
	own := cluster[name]
	if own == nil {
		return fmt.Errorf("couldn't find local name %q in the initial cluster configuration", name)
	}
	if err := checkAdvertised(ctx, name, peers, own); err != nil {
		return err
	}
	seen := make(map[string]bool)
	for _, urls := range cluster {
		for _, u := range urls {
			if seen[u.String()] {
				return fmt.Errorf("initial cluster %s has duplicate url", cluster)
			}
			seen[u.String()] = true
		}
	}
	return nil
}

// checkAdvertised makes sure that a member advertises the URLs that the cluster knows it by, or
// others that lead to the same addresses.
func checkAdvertised(ctx context.Context, name string, peers, own types.URLs) error {
	err := sameAddresses(ctx, peers, own)
	if err == nil {
		return nil
	}
	if missing := without(own, peers); len(missing) > 0 {
		for i := range missing {
			missing[i] = name + "=" + missing[i]
		}
		return fmt.Errorf("--initial-cluster has %s but missing from "+
			"--initial-advertise-peer-urls=%s (%w)",
			strings.Join(missing, ","), strings.Join(sorted(peers), ","), err)
	}
	if missing := without(peers, own); len(missing) > 0 {
		return fmt.Errorf("--initial-advertise-peer-urls has %s but missing from "+
			"--initial-cluster=%s", strings.Join(missing, ","), types.URLsMap{name: peers})
	}
	return fmt.Errorf("failed to resolve %s to match --initial-cluster=%s (%w)",
		strings.Join(sorted(peers), ","), types.URLsMap{name: own}, err)
}

// sorted returns the URLs as text, in order.
func sorted(urls types.URLs) []string {
	list := urls.StringSlice()
	slices.Sort(list)
	return list
}

// without returns the URLs of a that are not in b, in order.
func without(a, b types.URLs) []string {
	return slices.DeleteFunc(sorted(a), func(u string) bool {
		return slices.Contains(b.StringSlice(), u)
	})
}

// sameAddresses returns nil if both lists hold the same URLs, or ones that resolve to the same.
func sameAddresses(ctx context.Context, a, b types.URLs) error {
	if len(a) != len(b) {
		return fmt.Errorf("len(%q) != len(%q)", sorted(a), sorted(b))
	}
	if slices.Equal(sorted(a), sorted(b)) {
		return nil
	}
	ra, errA := resolveAll(ctx, a)
	rb, errB := resolveAll(ctx, b)
	if err := errors.Join(errA, errB); err != nil {
		return err
	}
	for i := range ra {
		if ra[i] != rb[i] {
			return fmt.Errorf("resolved urls: %q != %q", ra[i], rb[i])
		}
	}
	return nil
}

// resolveAll returns the URLs as text with host names replaced by addresses, in order.
func resolveAll(ctx context.Context, urls types.URLs) ([]string, error) {
	list := make([]string, len(urls))
	for i, u := range urls {
		resolved, err := resolve(ctx, u)
		if err != nil {
			return nil, fmt.Errorf("failed to resolve %q (%w)", u.String(), err)
		}
		list[i] = resolved.String()
	}
	slices.Sort(list)
	return list, nil
}

// resolve replaces the host name of u by its address. Sockets and localhost stay as they are.
func resolve(ctx context.Context, u url.URL) (url.URL, error) {
	host, port := u.Hostname(), u.Port()
	if strings.HasPrefix(u.Scheme, "unix") || host == "localhost" || net.ParseIP(host) != nil {
		return u, nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	ips, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return u, err
	}
	u.Host = net.JoinHostPort(ips[0].String(), port)
	return u, nil
}

package ctl

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// compareOps are the operators of a comparison.
var compareOps = []string{"=", "!=", "<", ">"}

// parseCompare reads one condition of a txn:
//
//	target("key") op "value"
//
// with the targets ver(sion), c(reate), m(od), val(ue) and lease (its id in hexadecimal).
func parseCompare(line string) (clientv3.Cmp, error) {
	target, rest, ok := strings.Cut(line, "(")
	if !ok {
		return clientv3.Cmp{}, fmt.Errorf("malformed comparison: %s", line)
	}
	var key, op, val string
	n, err := fmt.Sscanf(rest, "%q) %s %q", &key, &op, &val)
	if n != 3 {
		return clientv3.Cmp{}, fmt.Errorf("malformed comparison: %s; got %s(%q) %s %q",
			line, target, key, op, val)
	}
	if err != nil {
		return clientv3.Cmp{}, fmt.Errorf("malformed comparison: %s (%w)", line, err)
	}
	if !slices.Contains(compareOps, op) {
		return clientv3.Cmp{}, fmt.Errorf("malformed comparison: %s (unknown operator %s, "+
			"expecting one of %s)", line, op, strings.Join(compareOps, " "))
	}
	number := func(base int, cmp clientv3.Cmp) (clientv3.Cmp, error) {
		v, err := strconv.ParseInt(val, base, 64)
		if err != nil {
			return clientv3.Cmp{}, fmt.Errorf("invalid txn compare request: %s", line)
		}
		return clientv3.Compare(cmp, op, v), nil
	}
	switch target {
	case "ver", "version":
		return number(10, clientv3.Version(key))
	case "c", "create":
		return number(10, clientv3.CreateRevision(key))
	case "m", "mod":
		return number(10, clientv3.ModRevision(key))
	case "lease":
		return number(16, clientv3.LeaseValue(key))
	case "val", "value":
		return clientv3.Compare(clientv3.Value(key), op, val), nil
	}
	return clientv3.Cmp{}, fmt.Errorf("malformed comparison: %s (unknown target %s)", line, target)
}

package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Gate is one of etcd's feature gates.
type Gate struct {
	Name    string
	Stage   string // "ALPHA" or "BETA"
	Default bool
	effect  bool // setting it changes something here
}

// The gates that stand for many.
const (
	allAlpha = "AllAlpha"
	allBeta  = "AllBeta"
)

// gateTable is etcd 3.7's list (server/features). Checkpoints of leases, and that they persist, are
// always on here, and comparisons of the members' data unless they are turned off: the default says
// so.
func gateTable() []Gate {
	return []Gate{
		{allAlpha, "ALPHA", false, true},
		{allBeta, "BETA", false, true},
		{"CompactHashCheck", "ALPHA", true, true},
		{"FastLeaseKeepAlive", "BETA", true, false},
		{"InitialCorruptCheck", "ALPHA", false, true},
		{"LeaseCheckpoint", "ALPHA", true, true},
		{"LeaseCheckpointPersist", "ALPHA", true, true},
		{"PriorityRequest", "ALPHA", false, false},
		{"SetMemberLocalAddr", "ALPHA", false, true},
		{"StopGRPCServiceOnDefrag", "ALPHA", false, false},
		{"TxnModeWriteWithSharedBuffer", "BETA", true, false},
	}
}

// Gates is which features are on. The zero value has the defaults.
type Gates struct {
	given map[string]bool
}

// Enabled says whether the gate is on: as given, else as AllAlpha or AllBeta of its stage were
// given, else its default. A name that is no gate is off.
func (g Gates) Enabled(name string) bool {
	if on, ok := g.given[name]; ok {
		return on
	}
	for _, gate := range gateTable() {
		if gate.Name != name {
			continue
		}
		all := map[string]string{"ALPHA": allAlpha, "BETA": allBeta}[gate.Stage]
		if on, ok := g.given[all]; ok {
			return on
		}
		return gate.Default
	}
	return false
}

// All returns every gate with Default replaced by what is in force, sorted by name.
func (g Gates) All() []Gate {
	out := gateTable()
	for i := range out {
		out[i].Default = g.Enabled(out[i].Name)
	}
	return out
}

// String is what was given, as "A=true,B=false", sorted.
func (g Gates) String() string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(g.given)) {
		out = append(out, fmt.Sprintf("%s=%t", name, g.given[name]))
	}
	return strings.Join(out, ",")
}

// set adds "name=bool,..." to what was given before; the errors are etcd's (pkg/featuregate).
func (g *Gates) set(value string) error {
	given := maps.Clone(g.given)
	if given == nil {
		given = map[string]bool{}
	}
	for _, pair := range strings.Split(value, ",") {
		if pair == "" {
			continue
		}
		name, word, ok := strings.Cut(pair, "=")
		name, word = strings.TrimSpace(name), strings.TrimSpace(word)
		if !ok {
			return fmt.Errorf("missing bool value for %s", name)
		}
		on, err := strconv.ParseBool(word)
		if err != nil {
			return fmt.Errorf("invalid value of %s=%s, err: %w", name, word, err)
		}
		if !slices.ContainsFunc(gateTable(), func(k Gate) bool { return k.Name == name }) {
			return fmt.Errorf("unrecognized feature gate: %s", name)
		}
		given[name] = on
	}
	g.given = given
	return nil
}

// idle returns the gates that were given another value than they have and that change nothing yet.
func (g Gates) idle() []string {
	var out []string
	for _, gate := range gateTable() {
		if on, ok := g.given[gate.Name]; ok && !gate.effect && on != gate.Default {
			out = append(out, gate.Name)
		}
	}
	return out
}

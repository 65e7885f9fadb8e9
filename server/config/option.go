package config

import (
	"strings"
)

// envPrefix begins the name of every variable that belongs to the server.
const envPrefix = "ETCD_"

// effect says what giving an option does.
type effect int

const (
	inEffect effect = iota
	later           // known to etcd, accepted with a warning
	ignored         // etcd itself ignores it since 2.0
	renamed         // an older name of the option in alias; works, with a warning
)

// kind is the type of a value where no field tells it.
type kind int

const (
	text kind = iota
	boolean
	signed
	unsigned
	duration
	addresses // URLs
)

// group is a heading of --help.
type group struct{ title string }

// The headings, in the order of --help.
var (
	memberGroup     = &group{"Member"}
	clusterGroup    = &group{"Clustering"}
	securityGroup   = &group{"Security"}
	authGroup       = &group{"Auth"}
	monitorGroup    = &group{"Profiling and Monitoring"}
	loggingGroup    = &group{"Logging"}
	tracingGroup    = &group{"Distributed tracing"}
	featureGroup    = &group{"Features"}
	unsafeGroup     = &group{"Unsafe feature (may break the guarantees that consensus gives)"}
	otherGroup      = &group{"Other"}
	formerGroup     = &group{"Options of former etcd releases (accepted, without effect)"}
	groupsInOrder   = []*group{memberGroup, clusterGroup, securityGroup, authGroup, monitorGroup}
	groupsInOrderB  = []*group{loggingGroup, tracingGroup, featureGroup, unsafeGroup, otherGroup}
	allGroupsInHelp = append(append(append([]*group{}, groupsInOrder...), groupsInOrderB...),
		formerGroup)
)

// option is one row of the table.
type option struct {
	name    string
	group   *group
	def     string // the default, as one would write it on the command line
	help    string // what it is, with the unit
	example string // a value for --help; every group shows some
	effect  effect
	alias   string            // of renamed: the name to use
	kind    kind              // if field is nil
	valid   []string          // if set: the words that a value may be
	deprec  string            // etcd's own deprecation text, shown in place of ours
	secret  bool              // the value is not logged
	file    string            // the key in the configuration file if it is not the name
	field   func(*Config) any // where the value goes; nil: it is checked and dropped
}

// env is the name of the option's variable.
func (o *option) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(o.name, "-", "_"))
}

// fileKey is the option's key in the configuration file, with dots between levels.
func (o *option) fileKey() string {
	if o.file != "" {
		return o.file
	}
	return o.name
}

// isBool says whether the flag may stand without a value.
func (o *option) isBool() bool {
	if o.effect == ignored {
		return true
	}
	if o.field != nil {
		_, ok := o.field(&Config{}).(*bool)
		return ok
	}
	return o.kind == boolean
}

// table is every option, by name.
type table struct {
	rows   []*option
	byName map[string]*option
}

// newTable assembles the rows; it is built for each Parse, there is no registry.
func newTable() *table {
	t := &table{byName: map[string]*option{}}
	for _, rows := range [][]option{memberOptions(), clusterOptions(), securityOptions(),
		peerOptions(), otherOptions(), laterOptions(), formerOptions()} {
		for i := range rows {
			t.rows = append(t.rows, &rows[i])
			t.byName[rows[i].name] = &rows[i]
		}
	}
	return t
}

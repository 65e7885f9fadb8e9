package lint

import (
	"slices"
	"strings"
)

// layer is one line of the map: packages that know the lines below and not each other.
type layer struct {
	name     string
	packages []string // directories; what is below one belongs to it
	reason   string
}

// layers is the map of the project, from the bottom up. A package imports only from lines below its
// own; siblings never import each other. (The habit is that of Go's go/build/deps_test.go.)
var layers = []layer{
	{"version", []string{"internal/version"},
		"the version strings are constants that anyone may print"},
	{"planted bugs", []string{"internal/mutate"},
		"a test build puts one in its place; in the product they are not there"},
	{"vocabulary", []string{"."},
		"revisions, requests, errors are words that all parts share; they do nothing"},
	{"outside world", []string{"vfs", "clock", "task"},
		"files, time and concurrency have one door each, so that tests can put a false world " +
			"behind it"},
	{"remedy", []string{"internal/remedy"},
		"what errors of damaged data advise is one text for all who find damage"},
	{"process", []string{"internal/process"},
		"what the system lets the process have, for those who show it or keep to it"},
	{"links", []string{"internal/link"},
		"what stands between members in tests and demonstrations knows addresses and time alone"},
	{"wire", []string{"wire"},
		"the codec of hot messages is used by what stores them and by what serves them"},
	{"checkers", []string{"check"},
		"what was seen is held against what was promised, by who simulates and who runs processes"},
	{"files and streams", []string{"revlog", "wal", "checkpoint", "transport"},
		"files and streams know bytes and positions, not what the bytes mean"},
	{"tables", []string{"command", "mvcc", "lease", "alarm", "member"},
		"each holds one kind of replicated data; what crosses them is written once, in state"},
	{"machine", []string{"state"},
		"applying commands is deterministic: it knows neither raft nor clients"},
	{"owners", []string{"node", "watch", "upkeep", "backup", "snapshot"},
		"they drive the machine and hand on its events; doors reach them through interfaces"},
	{"transport of doors", []string{"rpc"},
		"the gRPC server knows methods and bytes, not what they are about"},
	{"doors", []string{"v3", "ops", "peer"},
		"a door declares the backend that it needs and never sees raft, wal or revlog"},
	{"assembly", []string{"server"},
		"the only package that knows everyone"},
	{"simulator", []string{"sim"},
		"a whole cluster in one thread knows how members are assembled, and the checkers"},
	{"load", []string{"bench"},
		"the load generator is a client of its own, for the command line and for programs"},
	{"tools", []string{"cli"},
		"command-line tools are clients"},
	{"main", []string{"cmd"},
		"main picks the verb"},
	{"tests", []string{"e2e", "difftest", "internal/lint", "rpc/conform"},
		"tests of the whole look at everything and nothing looks at them"},
}

// testTrees are directories that hold tests alone; the rules for tests hold in them.
var testTrees = []string{"e2e", "check", "sim", "difftest", "internal/lint", "vfs/vfstest",
	"rpc/conform"}

// closed lists packages below the doors that a package above must not import although they are
// lower: the door's backend stands between.
var closed = []struct {
	from   []string
	to     []string
	reason string
}{
	{[]string{"v3", "ops", "peer"}, []string{"wal", "revlog", "checkpoint", "node", "state"},
		"a door sees the backend that it declares, never raft, wal or revlog"},
	{[]string{"cli", "bench", "cmd"}, []string{"node", "watch", "state", "lease"},
		"tools are clients: they go through the API, or read files with the packages of the files"},
}

// rank returns the line of dir and the entry of the line that holds it, which is the longest that
// does; -1 if it is not on the map.
func rank(dir string) (line int, entry string) {
	line = -1
	for i, l := range layers {
		for _, p := range l.packages {
			if (dir == p || p != "." && strings.HasPrefix(dir, p+"/")) && len(p) > len(entry) {
				line, entry = i, p
			}
		}
	}
	return line, entry
}

// internalDir turns an import path into a directory of this module.
func internalDir(importPath string) (string, bool) {
	if importPath == modulePath {
		return ".", true
	}
	dir, ok := strings.CutPrefix(importPath, modulePath+"/")
	return dir, ok
}

// checkLattice holds the imports of one file against the map. Test files may look at siblings.
func checkLattice(s *source) []Finding {
	from, fromEntry := rank(s.dir)
	if from < 0 {
		return []Finding{s.finding(s.ast.Package, "lattice",
			"package %s is not on the map: give it a line in internal/lint/lattice.go", s.dir)}
	}
	var out []Finding
	for importPath, pos := range importsOf(s) {
		dir, ok := internalDir(importPath)
		if !ok {
			continue
		}
		to, toEntry := rank(dir)
		switch {
		case to < 0:
			out = append(out, s.finding(pos, "lattice", "%s is not on the map", dir))
		case toEntry == fromEntry || s.test && to <= from:
		case to > from:
			out = append(out, s.finding(pos, "lattice", "%s (%s) must not know %s (%s): %s",
				s.dir, layers[from].name, dir, layers[to].name, layers[from].reason))
		case to == from:
			out = append(out, s.finding(pos, "lattice", "%s and %s are siblings: %s",
				s.dir, dir, layers[from].reason))
		}
		for _, c := range closed {
			if !s.test && slices.Contains(c.from, fromEntry) && slices.Contains(c.to, toEntry) {
				out = append(out, s.finding(pos, "lattice", "%s must not import %s: %s",
					s.dir, dir, c.reason))
			}
		}
	}
	return out
}

// module is a third-party dependency: what it is for and who may use it. Tests may use any.
type module struct {
	prefix string // of import paths
	users  []string
	reason string
}

// modules is every dependency that the product may have. Another one needs a line here and a reason
// in ARCHITECTURE.md.
var modules = []module{
	{"go.etcd.io/raft/v3", []string{"wal", "transport", "state", "node", "backup",
		"server"},
		"consensus belongs to node; wal stores its types, transport carries them"},
	{"go.etcd.io/etcd/api/v3", []string{"command", "state", "watch", "v3", "ops", "server", "cli",
		"bench", "lease", "alarm", "member", "backup"},
		"the public API's types, so that the contract is etcd's own"},
	{"go.etcd.io/etcd/client", []string{"cli", "bench"},
		"the client library is for tools and tests"},
	{"go.etcd.io/bbolt", []string{"backup", "cli/utl"},
		"bbolt is the format of backup files and nothing else"},
	{"go.yaml.in/yaml/v3", []string{"server/config", "cli"},
		"configuration files"},
	{"google.golang.org/grpc", []string{"rpc", "v3", "ops", "server", "cli", "bench", "cmd/cairn"},
		"doors and clients speak gRPC; the core does not (cmd: its log)"},
	{"google.golang.org/protobuf", []string{"wire", "command", "state", "mvcc", "watch", "rpc",
		"v3", "ops", "server", "cli", "bench", "node", "lease", "alarm", "member", "wal",
		"backup", "transport"},
		"protowire is how stored records are encoded"},
	{"github.com/prometheus", []string{"ops", "server"},
		"metrics are fed through the fields of ops.Metrics; no other package knows the library"},
	{"github.com/spf13", []string{"cli", "cmd", "bench"},
		"command lines of the tools; the server's flags are table-driven"},
	{"github.com/olekukonko/tablewriter", []string{"cli"},
		"etcdctl's table output"},
	{"go.uber.org/zap", []string{"cli"},
		"the client library logs through zap; nothing else does"},
	{"charm.land/bubbletea/v2", []string{"cli/playground"},
		"the screen of the playground: raw input, resizing, drawing what has changed"},
	{"charm.land/lipgloss/v2", []string{"cli/playground"},
		"colours, and how wide a coloured text is"},
	{"golang.org/x/net", []string{"rpc", "bench"},
		"names of HTTP/2, and its header compression"},
	{"golang.org/x/term", []string{"cli"},
		"asking for a password without showing it"},
	{"simulator", []string{"sim"},
		"a whole cluster in one thread knows how members are assembled, and the checkers"},
	{"golang.org/x/net", []string{"bench"},
		"HTTP/2's constants and header compression; the frames are our own"},
	{"golang.org/x/sys", []string{"vfs", "server", "ops", "cli", "bench"},
		"system calls: files, sockets, limits, terminals, processor time"},
}

// checkModules holds third-party imports against the list. A path is third-party if its first
// element has a dot and it is not ours.
func checkModules(s *source) []Finding {
	if s.test {
		return nil
	}
	var out []Finding
	for importPath, pos := range importsOf(s) {
		first, _, _ := strings.Cut(importPath, "/")
		if _, ours := internalDir(importPath); ours || !strings.Contains(first, ".") {
			continue
		}
		i := slices.IndexFunc(modules, func(m module) bool {
			return importPath == m.prefix || strings.HasPrefix(importPath, m.prefix+"/")
		})
		if i < 0 {
			out = append(out, s.finding(pos, "modules", "%s is no known dependency: "+
				"give the reason in internal/lint/lattice.go and ARCHITECTURE.md", importPath))
		} else if !under(s.dir, modules[i].users) {
			out = append(out, s.finding(pos, "modules", "%s may not use %s: %s",
				s.dir, importPath, modules[i].reason))
		}
	}
	return out
}

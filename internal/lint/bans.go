package lint

import (
	"go/ast"
	"regexp"
	"slices"
	"strings"
)

// importBan forbids an import outside the packages that own it.
type importBan struct {
	paths  []string
	owners []string // trees that may
	tests  bool     // tests may
	reason string
}

var importBans = []importBan{
	{[]string{"net", "net/http", "net/http/pprof", "crypto/tls", "net/rpc", "net/smtp"},
		[]string{"v3", "ops", "peer", "rpc", "server", "transport", "cli", "bench", "cmd",
			"internal/link"}, true,
		"the network belongs to doors, server and transport; the core gets requests and messages"},
	{[]string{"log"}, nil, true,
		"there is no global logger: take a *slog.Logger"},
	{[]string{"expvar", "github.com/prometheus/client_golang/prometheus/promauto"}, nil, false,
		"there are no global registries: metrics are fields of ops.Metrics"},
	{[]string{"math/rand", "math/rand/v2", "crypto/rand"},
		[]string{"node", "v3", "server", "upkeep", "cli", "bench", "cmd", "vfs"}, true,
		"what is replicated is deterministic: what is random is decided before it is proposed"},
	{[]string{"io/ioutil", "os/exec"}, []string{"cli", "bench"}, true,
		"the server starts no program, and ioutil is deprecated"},
	{[]string{"unsafe"}, []string{"mvcc", "vfs", "revlog", "wire", "clock"}, true,
		"unsafe needs an owner who measures what it gains"},
	{[]string{"testing"}, []string{"vfs/vfstest"}, true,
		"the product does not link the test framework"},
}

// callBan forbids functions of a standard package outside the packages that own the thing.
type callBan struct {
	pkg    string // import path
	names  []string
	owners []string // trees that may
	tests  bool     // tests may
	reason string
}

var callBans = []callBan{
	{"time", []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer",
		"NewTicker"}, []string{"clock", "cli", "bench", "cmd"}, true,
		"time has one door: take a clock.Clock, or an instant as an argument"},
	{"os", []string{"Open", "OpenFile", "Create", "CreateTemp", "ReadFile", "WriteFile", "Mkdir",
		"MkdirAll", "MkdirTemp", "Remove", "RemoveAll", "Rename", "ReadDir", "Stat", "Lstat",
		"Truncate", "Link", "Symlink", "Chmod", "Chtimes", "OpenRoot", "DirFS", "CopyFS"},
		[]string{"vfs", "cli", "bench", "cmd"}, true,
		"files have one door: take a vfs.FS"},
	{"os", []string{"Exit", "Getenv", "LookupEnv", "Environ", "Setenv", "Unsetenv"},
		[]string{"cli", "bench", "cmd"}, true,
		"only a program's main ends the process or reads its environment; libraries get values"},
	{"log/slog", []string{"SetDefault", "Default", "Debug", "Info", "Warn", "Error", "Log",
		"DebugContext", "InfoContext", "WarnContext", "ErrorContext", "LogAttrs"}, nil, false,
		"there is no global logger: take a *slog.Logger"},
	{"github.com/prometheus/client_golang/prometheus",
		[]string{"MustRegister", "Register", "Unregister", "DefaultRegisterer", "DefaultGatherer"},
		nil, false, "there is no global registry: use the one of ops.Metrics"},
	{"net/http", []string{"Handle", "HandleFunc", "DefaultServeMux", "ListenAndServe", "Serve"},
		nil, false, "there is no global mux: make a ServeMux and a Server with timeouts"},
	{"google.golang.org/grpc/grpclog", []string{"SetLoggerV2", "SetLogger"},
		[]string{"cli", "cmd", "rpc/conform"}, false,
		"there is no global logger"},
}

// sleepBan holds in tests too: one that sleeps is slow on a fast machine and wrong on a slow one.
var sleepBan = callBan{"time", []string{"Sleep"}, []string{"clock"}, false,
	"no sleeps: ticks for pure cores, testing/synctest for shells, polling with a deadline and a " +
		"ticker for real processes"}

// goOwners may start goroutines: the owners of loops, and programs.
var goOwners = []string{"task", "server", "node", "v3", "rpc", "transport", "wal", "cli", "bench",
	"cmd"}

const goReason = "goroutines belong to owner packages: write a step that an owner calls, so that " +
	"the simulator can call it too"

// skips end a test without a verdict.
var skips = []string{"Skip", "Skipf", "SkipNow"}

// checkImports looks for imports that have an owner.
func checkImports(s *source) []Finding {
	var out []Finding
	for path, pos := range importsOf(s) {
		for _, ban := range importBans {
			if slices.Contains(ban.paths, path) && !under(s.dir, ban.owners) &&
				!(s.test && ban.tests) {
				out = append(out, s.finding(pos, "imports", "%s imports %q: %s",
					s.dir, path, ban.reason))
			}
		}
	}
	return out
}

// checkCalls looks for uses of banned functions (also as values), and for tests that skip.
func checkCalls(s *source) []Finding {
	names := map[string]string{} // the name in this file -> import path
	for _, spec := range s.ast.Imports {
		path := strings.Trim(spec.Path.Value, `"`)
		name := path[strings.LastIndexByte(path, '/')+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = path
	}
	var out []Finding
	ast.Inspect(s.ast, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		base, ok := sel.X.(*ast.Ident)
		if !ok {
			return true
		}
		path := names[base.Name]
		for _, ban := range append([]callBan{sleepBan}, callBans...) {
			if ban.pkg == path && slices.Contains(ban.names, sel.Sel.Name) &&
				!under(s.dir, ban.owners) && !(s.test && ban.tests) {
				out = append(out, s.finding(sel.Pos(), "calls", "%s.%s: %s",
					base.Name, sel.Sel.Name, ban.reason))
				break
			}
		}
		if s.test && path == "" && slices.Contains(skips, sel.Sel.Name) &&
			slices.Contains([]string{"t", "b", "tb", "f"}, base.Name) {
			out = append(out, s.finding(sel.Pos(), "calls",
				"%s.%s: a test that does not run proves nothing", base.Name, sel.Sel.Name))
		}
		return true
	})
	return out
}

// checkGo looks for go statements outside owner packages.
func checkGo(s *source) []Finding {
	if s.test || under(s.dir, goOwners) {
		return nil
	}
	var out []Finding
	ast.Inspect(s.ast, func(n ast.Node) bool {
		if g, ok := n.(*ast.GoStmt); ok {
			out = append(out, s.finding(g.Pos(), "go", "%s", goReason))
		}
		return true
	})
	return out
}

// checkInit forbids init functions: what a package needs is handed to it.
func checkInit(s *source) []Finding {
	var out []Finding
	for _, d := range s.ast.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			out = append(out, s.finding(fn.Pos(), "init",
				"no init functions and no registries: hand things down from server"))
		}
	}
	return out
}

// textBan forbids a pattern in every file of the project.
type textBan struct {
	pattern *regexp.Regexp
	reason  string
}

// textBans are built from pieces, so that this file does not break them.
var textBans = []textBan{
	{regexp.MustCompile(`\b(` + "TO" + "DO|FIX" + "ME|XX" + "X|HA" + `CK)\b`),
		"do it, or open an issue"},
	{regexp.MustCompile(`(^|[\s"'=(` + "`" + `])/(home|root|Users|work)/[A-Za-z0-9_.-]`),
		"no absolute path of a machine"},
	{regexp.MustCompile(`GO` + `PROXY=http|proxy\.golang\` + `.org|https?://[a-z0-9.-]*(regis` +
		`try|arti` + `factory|nex` + `us)[a-z0-9.-]*[:/]`),
		"no registry hosts: the machine's own configuration names them"},
}

// checkText looks for banned patterns, line by line. Sums of modules are not prose.
func checkText(rel string, text []byte) []Finding {
	var out []Finding
	for i, line := range strings.Split(string(text), "\n") {
		for _, ban := range textBans {
			if m := ban.pattern.FindString(line); m != "" {
				out = append(out, Finding{rel, i + 1, "text",
					strings.TrimSpace(m) + ": " + ban.reason})
			}
		}
	}
	return out
}

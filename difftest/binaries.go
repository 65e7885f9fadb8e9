package difftest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// Names of the programs that a Toolbox builds.
const (
	Etcd    = "etcd"
	Etcdctl = "etcdctl"
	Etcdutl = "etcdutl"
	Cairn   = "cairn"
)

// etcdVersion is the release that Cairn is compared with; go.mod pins the same.
const etcdVersion = "3.7.3"

// cacheEnv names the directory for etcd's binaries; the default is the user's cache directory.
const cacheEnv = "DIFFTEST_CACHE"

// cairnEnv names a Cairn binary to use instead of building one.
const cairnEnv = "DIFFTEST_CAIRN"

// packages holds what is built for each name. Cairn's is relative to the parent module.
var packages = map[string]string{
	Etcd:    "go.etcd.io/etcd/server/v3",
	Etcdctl: "go.etcd.io/etcd/etcdctl/v3",
	Etcdutl: "go.etcd.io/etcd/etcdutl/v3",
	Cairn:   "./cmd/cairn",
}

// Toolbox builds programs the first time that they are asked for. Etcd's stay in a cache directory
// between runs; Cairn is built anew for each Toolbox, so that a run never mixes two versions.
// All methods may be called from several goroutines at once.
type Toolbox struct {
	module string // directory of the difftest module
	temp   string // directory for Cairn's binary and links to it; the caller removes it

	mu    sync.Mutex // guards built
	built map[string]string
}

// NewToolbox returns a Toolbox for the difftest module in the directory module, with Cairn's
// binary under temp.
func NewToolbox(module, temp string) *Toolbox {
	return &Toolbox{module: module, temp: temp, built: make(map[string]string)}
}

// Path returns the path of a program, building it if this Toolbox has not done so. A name that is
// not one of the constants above must be the path of an existing program.
func (t *Toolbox) Path(ctx context.Context, name string) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if path, ok := t.built[name]; ok {
		return path, nil
	}
	if path := os.Getenv(cairnEnv); name == Cairn && path != "" {
		return path, isProgram(path)
	}
	pkg, known := packages[name]
	if !known {
		return name, isProgram(name)
	}
	dir, from := t.temp, filepath.Dir(t.module)
	if name != Cairn {
		cache, err := cacheDir()
		if err != nil {
			return "", err
		}
		dir, from = cache, t.module
	}
	path := filepath.Join(dir, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", path, pkg)
	cmd.Dir = from
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s from %s in %s: %w\n%s", name, pkg, from, err, out)
	}
	t.built[name] = path
	return path, nil
}

// Link returns the path of Cairn's binary under another program's name: called as etcdctl it must
// behave as etcdctl.
func (t *Toolbox) Link(ctx context.Context, name string) (string, error) {
	target, err := t.Path(ctx, Cairn)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(t.temp, "links")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	link := filepath.Join(dir, name)
	if err := os.Symlink(target, link); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return link, nil
}

// cacheDir returns the directory for etcd's binaries of this version, made if need be.
func cacheDir() (string, error) {
	root := os.Getenv(cacheEnv)
	if root == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("no cache directory (set %s): %w", cacheEnv, err)
		}
		root = filepath.Join(user, "cairn-difftest")
	}
	dir := filepath.Join(root, etcdVersion)
	return dir, os.MkdirAll(dir, 0o755)
}

// isProgram reports, as an error, that a path is not a file that could be run.
func isProgram(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("%q is neither etcd, cairn nor a program: %w", path, err)
	}
	if info.IsDir() {
		return fmt.Errorf("%q is a directory, not a program", path)
	}
	return nil
}

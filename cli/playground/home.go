package playground

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/cairnkv/cairn/vfs"
)

// Files in the directory of a playground; the data of member m1 is in m1, its log in m1.log.
const (
	recordFile = "playground.json"
	lockFile   = "playground.lock"
	envFile    = "env"
)

// home is the directory of a playground, and what is written there of the cluster.
type home struct {
	dir  string
	kept bool // it stays when the playground ends
	lock io.Closer

	program string // the path of the playground's own program, if a shell has to be told

	mu      sync.Mutex // guards the file
	Token   string     `json:"token"`
	Members []record   `json:"members"`
}

// openHome makes a temporary home, or opens or makes the one that is to be kept.
func openHome(keep string) (*home, error) {
	if keep == "" {
		dir, err := os.MkdirTemp("", "cairn-play-")
		if err != nil {
			return nil, err
		}
		return &home{dir: dir, Token: filepath.Base(dir)}, nil
	}
	dir, err := filepath.Abs(keep)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	h := &home{dir: dir, kept: true, Token: "cairn-playground"}
	h.lock, err = vfs.OS().Lock(filepath.Join(dir, lockFile))
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("another playground runs in %s", dir)
	} else if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(dir, recordFile))
	if errors.Is(err, os.ErrNotExist) {
		return h, nil
	} else if err == nil {
		err = h.decode(text)
	}
	if err != nil {
		return nil, errors.Join(err, h.lock.Close())
	}
	return h, nil
}

// decode reads the record of an earlier run.
func (h *home) decode(text []byte) error {
	err := json.Unmarshal(text, h)
	if err == nil && (len(h.Members) == 0 || len(h.Members) > maxMembers) {
		err = fmt.Errorf("%d members", len(h.Members))
	}
	for _, r := range h.Members {
		digit := strings.TrimPrefix(r.Name, namePrefix)
		if len(digit) != 1 || digit < "1" || digit > "9" {
			err = errors.Join(err, fmt.Errorf("a member of the name %q", r.Name))
		}
	}
	if err != nil {
		return fmt.Errorf("%s is not what a playground has written: %w; name another directory",
			filepath.Join(h.dir, recordFile), err)
	}
	return nil
}

// save writes the record, and what makes a shell ready.
func (h *home) save() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	text, err := json.MarshalIndent(h, "", "  ")
	if err != nil {
		return err
	}
	var endpoints []string
	for _, r := range h.Members {
		endpoints = append(endpoints, r.Ports.endpoint())
	}
	env := ""
	if h.program != "" {
		env = fmt.Sprintf("cairn() { '%s' \"$@\"; }\n",
			strings.ReplaceAll(h.program, "'", `'\''`))
	}
	env += "export ETCDCTL_ENDPOINTS=" + strings.Join(endpoints, ",") + "\n"
	return errors.Join(replace(filepath.Join(h.dir, recordFile), append(text, '\n')),
		replace(h.envPath(), []byte(env)))
}

func (h *home) envPath() string { return filepath.Join(h.dir, envFile) }

// replace writes a file at once or not at all.
func replace(path string, text []byte) error {
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// close gives the directory up, and removes it unless it is to be kept.
func (h *home) close() error {
	if h.kept {
		return h.lock.Close()
	}
	return os.RemoveAll(h.dir)
}

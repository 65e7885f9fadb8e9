package playground

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
)

// process is one running program.
type process interface {
	// kill ends it at once; it works on a paused one too.
	kill() error
	// terminate asks it to end.
	terminate() error
	// pause and resume stop it and let it go on, without its knowing.
	pause() error
	resume() error
	// done is closed when it has ended.
	done() <-chan struct{}
	// how says how it ended, once done is closed.
	how() string
}

// launcher starts programs.
type launcher interface {
	// launch starts a program with arguments; what it writes goes to the end of the file log.
	launch(program string, args []string, log string) (process, error)
	// close gives up what the launcher holds; what it has launched may end with it.
	close()
}

const (
	// tailBytes is how much of a log is searched for its last words.
	tailBytes = 8 << 10
	// wordsBytes is how many of them are shown.
	wordsBytes = 160
)

// systemLauncher starts real processes. It starts them all from one thread: on Linux a process is
// killed when the thread that started it ends, so that none outlives a playground that was killed
// itself.
type systemLauncher struct {
	environ []string
	work    chan func()
	end     sync.Once
}

// newLauncher returns a launcher whose processes get that environment, without etcd's variables:
// what configures the user's server must not configure these.
func newLauncher(environ []string) *systemLauncher {
	l := &systemLauncher{work: make(chan func())}
	for _, kv := range environ {
		if !strings.HasPrefix(kv, "ETCD_") {
			l.environ = append(l.environ, kv)
		}
	}
	go func() {
		runtime.LockOSThread()
		for f := range l.work {
			f()
		}
	}()
	return l
}

func (l *systemLauncher) close() { l.end.Do(func() { close(l.work) }) }

func (l *systemLauncher) launch(program string, args []string, log string) (process, error) {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close() // the process has its own
	cmd := exec.Command(program, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = l.environ, file, file
	cmd.SysProcAttr = attributes()
	started := make(chan error, 1)
	l.work <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	p := &systemProcess{cmd: cmd, log: log, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // the process state tells how it ended
		close(p.ended)
	}()
	return p, nil
}

// systemProcess is a process of the operating system.
type systemProcess struct {
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
}

func (p *systemProcess) done() <-chan struct{} { return p.ended }

func (p *systemProcess) kill() error {
	if err := p.cmd.Process.Kill(); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

func (p *systemProcess) how() string {
	how := p.cmd.ProcessState.String()
	if words := lastWords(p.log); words != "" {
		how += ": " + words
	}
	return how
}

// lastWords returns the message of the last line of a log: of a JSON line its text and error.
func lastWords(log string) string {
	f, err := os.Open(log)
	if err != nil {
		return "" // it adds to what is known; nothing depends on it
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil {
		_, _ = f.Seek(max(0, info.Size()-tailBytes), io.SeekStart)
	}
	tail, _ := io.ReadAll(io.LimitReader(f, tailBytes))
	lines := bytes.Split(bytes.TrimSpace(tail), []byte("\n"))
	var line struct{ Msg, Error string }
	text := string(lines[len(lines)-1])
	if json.Unmarshal(lines[len(lines)-1], &line) == nil && line.Msg != "" {
		text = strings.TrimSuffix(line.Msg+": "+line.Error, ": ")
	}
	if len(text) > wordsBytes {
		text = strings.ToValidUTF8(text[:wordsBytes], "") + "..."
	}
	return text
}

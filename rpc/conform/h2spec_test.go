package conform

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	h2 "github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"
)

// h2specWait is how long h2spec waits for a frame before it takes silence for the answer, which in
// some cases it is.
const h2specWait = 5 * time.Second

// TestH2spec runs all of h2spec, what it calls strict included.
func TestH2spec(t *testing.T) {
	for _, k := range httpKinds {
		for _, secure := range []bool{false, true} {
			name := k.name + "/plain"
			if secure {
				name = k.name + "/tls"
			}
			t.Run(name, func(t *testing.T) { runH2spec(t, k, secure) })
		}
	}
}

func runH2spec(t *testing.T, k httpKind, secure bool) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr)
	if secure {
		server, _ := certificates(t)
		l = newSecured(l, server)
	}
	body := strings.Repeat("some bytes, ", 10)
	k.serve(t, l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// h2spec asks for pages of two kinds: with and without a body of the request.
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		_, _ = io.WriteString(w, body) // the client may have gone
	}))
	c := &config.Config{Host: "127.0.0.1", Port: addr.Port, Path: "/", Timeout: h2specWait,
		MaxHeaderLen: 4000, Strict: true, TLS: secure, Insecure: true}
	n := 0
	t.Run("suite", func(t *testing.T) {
		for _, group := range []*spec.TestGroup{generic.Spec(), h2.Spec(), hpack.Spec()} {
			n += runGroup(t, c, group, k.known)
		}
	})
	const known = 146 // of the version in go.mod
	if n != known {
		t.Errorf("%d cases ran, %d are known", n, known)
	}
}

// deviations are cases that the reference does not pass, with the reason.
var deviations = map[string]string{
	"http2/6.5.3/1": "refuses SETTINGS that name a setting twice",
	"http2/8.1.2.2/1": "answers malformed requests with 400, which RFC 9113 allows (8.1.1) and " +
		"the RFC that h2spec goes by does not",
	"http2/8.1.2.2/2": "the same",
}

// runGroup runs a group and what is below it, and counts the cases.
func runGroup(t *testing.T, c *config.Config, g *spec.TestGroup, known map[string]string) (n int) {
	for i, test := range append(g.Tests[:len(g.Tests):len(g.Tests)], g.StrictTests...) {
		n++
		name := fmt.Sprintf("%s/%d", g.ID(), i+1)
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each has a connection of its own and waits most of the time
			err := runCase(c, test)
			switch reason := known[name]; {
			case errors.Is(err, spec.ErrSkipped):
				t.Logf("skipped by h2spec: %s", test.Desc)
			case err != nil && reason != "":
				t.Logf("a known deviation (%s): %v", reason, err)
			case err != nil:
				t.Errorf("%s\n%s\n%v", test.Desc, test.Requirement, err)
			case reason != "":
				t.Errorf("it %s no more: strike that out", reason)
			}
		})
	}
	for _, below := range g.Groups {
		n += runGroup(t, c, below, known)
	}
	return n
}

// runCase runs one case. h2spec does not see that a connection was closed if that cut off what it
// had sent, or what it was about to send.
func runCase(c *config.Config, test *spec.TestCase) error {
	const attempts = 5
	var err error
	for range attempts {
		conn, dialErr := spec.Dial(c)
		if dialErr != nil {
			return dialErr
		}
		err = test.Run(c, conn)
		_ = conn.Close() // it may be closed
		var result *spec.TestError
		if errors.As(err, &result) {
			if strings.Contains(result.Actual, syscall.ECONNRESET.Error()) &&
				slices.Contains(result.Expected, (spec.ConnectionClosedEvent{}).String()) {
				return nil
			}
			return fmt.Errorf("expected: %s\nactual: %s",
				strings.Join(result.Expected, "\n      or: "), result.Actual)
		}
		if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			break
		}
	}
	return err
}

package peer

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairnkv/cairn/clock"
)

// pipeListener gives one connection in memory.
type pipeListener struct {
	conns chan net.Conn
	ended chan struct{}
}

func (l pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.ended:
		return nil, net.ErrClosed
	}
}

func (l pipeListener) Close() error {
	close(l.ended)
	return nil
}

func (pipeListener) Addr() net.Addr { return &net.UnixAddr{} }

// connect begins a connection to a door, until the test ends. In a bubble.
func connect(t *testing.T, f *fake) net.Conn {
	client, server := net.Pipe()
	l := pipeListener{make(chan net.Conn, 1), make(chan struct{})}
	l.conns <- server
	s := &http.Server{Handler: Handler(f, clock.Real(), slog.New(slog.DiscardHandler)),
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() {
		_ = client.Close()
		_ = s.Close()
	})
	return client
}

const askSnapshot = "POST /cairn/snapshot HTTP/1.1\r\nHost: x\r\nX-Server-From: 1\r\n" +
	"Content-Length: 0\r\n\r\n"

// TestReceiverGone: a receiver that takes nothing any more does not hold what it is sent from; one
// that is slow gets all of it, and its connection serves on.
func TestReceiverGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{snapshot: strings.Repeat("x", 1<<20), sent: make(chan error, 1)}
		began := time.Now()
		conn := connect(t, f)
		if _, err := io.WriteString(conn, askSnapshot); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, conn, 100_000); err != nil {
			t.Fatal(err)
		}
		err := <-f.sent
		if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took > sendStall {
			t.Errorf("after %v: %v", took, err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		f := &fake{snapshot: strings.Repeat("x", 1<<20)}
		conn := connect(t, f)
		slow := bufio.NewReaderSize(conn, 16)
		for range 2 { // once more on the same connection
			if _, err := io.WriteString(conn, askSnapshot); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(slow, nil)
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for b := make([]byte, 32<<10); err == nil; <-time.After(time.Second) {
				var m int
				m, err = io.ReadFull(resp.Body, b)
				n += m
			}
			if n != 1<<20 {
				t.Errorf("%d bytes, %v", n, err)
			}
		}
		<-time.After(2 * sendStall)
		if _, err := io.WriteString(conn, "GET /members HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if resp, err := http.ReadResponse(slow, nil); err != nil || resp.StatusCode != 200 {
			t.Errorf("the next answer: %v, %v", resp, err)
		}
	})
}

// TestBodyGone: a body that does not come holds nothing for long, and one that came does not bound
// how long the answer takes.
func TestBodyGone(t *testing.T) {
	const head = "POST /cairn/leases/renew HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n"
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		conn := connect(t, &fake{})
		if _, err := io.WriteString(conn, head+"1234"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		took := time.Since(began)
		if err != nil || resp.StatusCode != http.StatusBadRequest || took != bodyTimeout {
			t.Errorf("after %v: %v, %v", took, resp, err)
		}
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Errorf("the end of the connection: %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		f := &fake{slow: 3 * bodyTimeout}
		conn := connect(t, f)
		answers := bufio.NewReader(conn)
		for range 2 { // once more on the same connection
			if _, err := io.WriteString(conn, head+"12345678"); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(answers, nil)
			if err != nil || resp.StatusCode != http.StatusOK || f.cause != nil {
				t.Fatalf("%v, %v, %v", resp, err, f.cause)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				t.Fatal(err)
			}
		}
	})
}

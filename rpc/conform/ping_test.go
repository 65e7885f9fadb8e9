package conform

import (
	"errors"
	"io"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/cairnkv/cairn/rpc/conform/raw"
)

// strikes is how often a client may ping too early before it is told to go: grpc-go's number, and
// the first ping, which is never too early.
const strikes = 3

// pingUntil pings, each when the one before was answered, until the server takes leave; it returns
// how many were answered, at most limit.
func pingUntil(r *rig, c *raw.Conn, limit int) int {
	r.t.Helper()
	for n := range limit {
		c.Ping(false, [8]byte{byte(n)})
		r.wait(c, func(s *raw.State) bool { return s.Pongs > n || s.Gone() })
		gone := false
		c.Look(func(s *raw.State) { gone = s.Gone() })
		if gone {
			return n
		}
	}
	return limit
}

// tooMany demands that the server has taken leave in the words that grpc-go's client knows, and
// that it closes the connection.
func tooMany(r *rig, c *raw.Conn) {
	r.t.Helper()
	r.wait(c, func(s *raw.State) bool { return s.Closed != nil })
	c.Look(func(s *raw.State) {
		if len(s.GoAways) == 0 || s.GoAways[0].Code != http2.ErrCodeEnhanceYourCalm ||
			s.GoAways[0].Debug != "too_many_pings" {
			r.t.Errorf("%v", s)
		}
	})
}

// TestTooManyPings: etcd's policy (at most one ping in five seconds, none without a stream) is kept
// as grpc-go's server keeps it.
func TestTooManyPings(t *testing.T) {
	eachRaw(t, func(t *testing.T, k kind) {
		r := start(t, k, options{minTime: 5 * time.Second}, echoes)
		idle := r.raw(raw.Config{})
		if n := pingUntil(r, idle, 20); n < strikes || n > strikes+1 {
			t.Errorf("without a stream: gone after %d pings", n)
		}
		tooMany(r, idle)
		busy := r.raw(raw.Config{})
		busy.Open(raw.Request(streamMethod), false)
		if n := pingUntil(r, busy, 20); n < strikes || n > strikes+1 {
			t.Errorf("with a stream: gone after %d pings", n)
		}
		tooMany(r, busy)
	})
}

// TestPingsAllowed: pings that keep to the policy are answered for ever, and so are those between
// answers of the server, which set the count back.
func TestPingsAllowed(t *testing.T) {
	const often = 20 * time.Millisecond
	eachRaw(t, func(t *testing.T, k kind) {
		r := start(t, k, options{minTime: often}, echoes)
		slow := r.raw(raw.Config{})
		slow.Open(raw.Request(streamMethod), false)
		ticker := time.NewTicker(often + 5*time.Millisecond)
		defer ticker.Stop()
		for n := range 20 {
			<-ticker.C // from the last answer on: not before it was asked
			slow.Ping(false, [8]byte{})
			r.wait(slow, func(s *raw.State) bool { return s.Pongs == n+1 })
			ticker.Reset(often + 5*time.Millisecond)
		}
		slow.Look(func(s *raw.State) {
			if s.Gone() {
				t.Errorf("%v", s)
			}
		})

		r = start(t, k, options{minTime: time.Hour}, echoes)
		c := r.raw(raw.Config{})
		id := c.Open(raw.Request(streamMethod), false)
		for n := range 50 {
			c.Data(id, false, raw.Message(nil))
			r.wait(c, func(s *raw.State) bool { return s.DataBytes == 5*(n+1) })
			c.Ping(false, [8]byte{})
			r.wait(c, func(s *raw.State) bool { return s.Pongs == n+1 })
		}
		c.Look(func(s *raw.State) {
			if s.Gone() {
				t.Errorf("%v", s)
			}
		})
	})
}

// TestServerPings: a server asks clients that say nothing whether they live; those that answer
// stay, those that do not are cut off.
func TestServerPings(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		s, begun, over := waiting()
		r := start(t, k, options{interval: time.Second, lastCall: 2 * time.Second}, s)
		dead := r.raw(raw.Config{NoPong: true})
		live := r.raw(raw.Config{})
		dead.Open(raw.Request(streamMethod), false)
		<-begun
		r.wait(live, func(s *raw.State) bool { return s.Pings >= 1 })
		r.wait(dead, func(s *raw.State) bool { return s.Closed != nil })
		<-over
		r.wait(live, func(s *raw.State) bool { return s.Pings >= 3 })
		id := live.Open(raw.Request(unaryMethod), false)
		live.Data(id, true, raw.Message(nil))
		if s := r.stream(live, id); s.Field("grpc-status") != "0" {
			t.Errorf("%v", &s)
		}
		dead.Look(func(s *raw.State) {
			if s.Pings == 0 || !errors.Is(s.Closed, io.EOF) {
				t.Logf("the dead one: %v, closed by %v", s, s.Closed)
			}
		})
		live.Look(func(s *raw.State) {
			if s.Gone() {
				t.Errorf("the live one: %v", s)
			}
		})
	})
}

// TestPingData: the answer to a ping carries its bytes; settings are acknowledged once each.
func TestPingData(t *testing.T) {
	eachRaw(t, func(t *testing.T, k kind) {
		r := start(t, k, options{minTime: time.Nanosecond}, echoes)
		conn := r.dial()
		s := r.both(r.within(), conn)
		for range 3 {
			if err := s.SendMsg(wrapperspb.Bytes(nil)); err != nil {
				t.Fatal(err)
			}
			r.recv(s)
		}
		c := r.raw(raw.Config{})
		for range 5 {
			c.Settings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 5000},
				http2.Setting{ID: 0xff, Val: 1})
		}
		r.wait(c, func(s *raw.State) bool { return s.SettingsAcks == 6 })
		r.pong(c)
		c.Look(func(s *raw.State) {
			if s.SettingsAcks != 6 || s.LastPong != [8]byte{1} {
				t.Errorf("%v, the last pong with %v", s, s.LastPong)
			}
		})
	})
}

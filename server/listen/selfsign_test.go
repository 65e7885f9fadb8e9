package listen

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/server/config"
	"github.com/cairnkv/cairn/vfs"
)

func autoConfig() *config.Config {
	return &config.Config{
		DataDir: "data", SelfSignedYears: 3,
		ClientTLS: config.TLS{Auto: true, MinVersion: "TLS1.3", TrustedCAFile: "ca"},
		PeerTLS:   config.TLS{Auto: true, AllowedCNs: []string{"x"}},
		ListenClientURLs: config.URLs{{Scheme: "https", Host: "10.0.0.1:2379"},
			{Scheme: "https", Host: "localhost:2379"}},
		ListenClientHTTPURLs: config.URLs{{Scheme: "https", Host: "[fd00::1]:1"}},
		ListenPeerURLs: config.URLs{{Scheme: "https", Host: "10.0.0.2:2380"},
			{Scheme: "unixs", Path: "/run/peer"}},
	}
}

// load reads a pair as a listener does.
func load(t *testing.T, fs vfs.FS, p pair) tls.Certificate {
	t.Helper()
	k, err := newKeeper(TLS{CertFile: p.cert, KeyFile: p.key}, fs, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return *k.cert
}

// TestAutoTLS: a certificate for the URLs is made once, and what was said about others is dropped.
func TestAutoTLS(t *testing.T) {
	fs, log := vfs.NewMem(), &logBuffer{}
	logger := slog.New(slog.NewTextHandler(log, nil))
	manual := clock.NewManual(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	client, err := ClientTLS(autoConfig(), fs, manual, logger)
	if err != nil {
		t.Fatal(err)
	}
	peer, err := PeerTLS(autoConfig(), fs, manual, logger)
	if err != nil {
		t.Fatal(err)
	}
	if client.CertFile != "data/fixtures/client/cert.pem" ||
		client.MinVersion != tls.VersionTLS13 ||
		client.KeyFile != "data/fixtures/client/key.pem" || client.TrustedCAFile != "" ||
		peer.CertFile != "data/fixtures/peer/cert.pem" || len(peer.AllowedCNs) != 0 ||
		!client.SelfSigned || !peer.SelfSigned {
		t.Errorf("%+v, %+v", client, peer)
	}
	own := load(t, fs, pair{client.CertFile, client.KeyFile}).Leaf
	if len(own.IPAddresses) != 2 || own.IPAddresses[0].String() != "10.0.0.1" ||
		own.IPAddresses[1].String() != "fd00::1" ||
		!slices.Equal(own.DNSNames, []string{"localhost"}) ||
		!own.NotBefore.Equal(manual.Now().Truncate(time.Second)) ||
		own.NotAfter.Sub(own.NotBefore) != 3*365*24*time.Hour {
		t.Errorf("%v %v, %v to %v", own.IPAddresses, own.DNSNames, own.NotBefore, own.NotAfter)
	}
	other := load(t, fs, pair{peer.CertFile, peer.KeyFile}).Leaf
	if len(other.IPAddresses) != 1 || len(other.DNSNames) != 0 ||
		other.SerialNumber.Cmp(own.SerialNumber) == 0 {
		t.Errorf("%v %v", other.IPAddresses, other.DNSNames)
	}
	if got := log.String(); strings.Count(got, "automatically generate certificates") != 2 ||
		strings.Count(got, "created key file") != 2 {
		t.Errorf("log: %s", got)
	}
	manual.Advance(time.Hour)
	again, err := ClientTLS(autoConfig(), fs, manual, logger)
	if err != nil || again.CertFile != client.CertFile {
		t.Fatal(again, err)
	}
	if got := load(t, fs, pair{again.CertFile, again.KeyFile}).Leaf; !got.Equal(own) {
		t.Error("made anew although it was there")
	}
	if err := fs.Remove(client.KeyFile); err != nil {
		t.Fatal(err)
	}
	if _, err := ClientTLS(autoConfig(), fs, manual, logger); err != nil {
		t.Fatal(err)
	}
	if got := load(t, fs, pair{again.CertFile, again.KeyFile}).Leaf; got.Equal(own) {
		t.Error("the certificate of a key that is gone is still there")
	}
}

// TestAutoTLSCrash: whatever fails or is lost on the way, the next start has a pair that fits;
// also if a certificate without its key was there.
func TestAutoTLSCrash(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	logger := slog.New(slog.DiscardHandler)
	begin := func() *vfs.Mem {
		disk := vfs.NewMem()
		if _, err := ClientTLS(autoConfig(), disk, clock.Real(), logger); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(disk.Remove("data/fixtures/client/key.pem"),
			disk.SyncDir("data/fixtures/client")); err != nil {
			t.Fatal(err)
		}
		return disk
	}
	counted := vfs.NewFaulty(begin())
	if _, err := ClientTLS(autoConfig(), counted, clock.Real(), logger); err != nil {
		t.Fatal(err)
	}
	if counted.Ops() < 8 {
		t.Fatalf("%d operations", counted.Ops())
	}
	for n := int64(1); n <= counted.Ops(); n++ {
		for _, after := range []bool{false, true} {
			disk := begin()
			faulty := vfs.NewFaulty(disk)
			faulty.Inject(vfs.Fault{Nth: n, After: after})
			_, err := ClientTLS(autoConfig(), faulty, clock.Real(), logger)
			if !errors.Is(err, vfs.ErrInjected) {
				t.Fatalf("operation %d failed: %v", n, err)
			}
			disks := []*vfs.Mem{disk.KillClone(), disk.CrashClone(nil)}
			for range 3 {
				disks = append(disks, disk.CrashClone(rnd))
			}
			for i, d := range disks {
				files, err := ClientTLS(autoConfig(), d, clock.Real(), logger)
				if err != nil {
					t.Fatalf("operation %d, disk %d: %v", n, i, err)
				}
				load(t, d, pair{files.CertFile, files.KeyFile})
			}
		}
	}
}

// TestAutoTLSRefused: the error says where and what to do.
func TestAutoTLSRefused(t *testing.T) {
	faulty := vfs.NewFaulty(vfs.NewMem())
	faulty.Inject(vfs.Fault{Forever: true})
	_, err := PeerTLS(autoConfig(), faulty, clock.Real(), slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "data/fixtures/peer") ||
		!strings.Contains(err.Error(), "or give certificates by flags") {
		t.Error(err)
	}
}

package cluster

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairnkv/cairn/e2e"
)

var (
	flagServer = flag.String("server-binary", "", "server to test instead of Cairn, built here; "+
		"any with etcd's flags")
	flagMembers  = flag.Int("members", 3, "members of a cluster, 3 or 5")
	flagDuration = flag.Duration("duration", 12*time.Second, "for how long faults come; the last "+
		"one is seen through, and the checks come after it")
	flagSeed   = flag.Uint64("seed", 0, "seed of faults and load; 0 for one that is printed")
	flagOnly   = flag.String("fault", "", "only faults with this in their names")
	flagKeep   = flag.Bool("keep", false, "keep data and logs of tests that pass, too")
	flagWrites = flag.Int("writes", 5_000, "writes that a member misses, in the catch-up test")
	flagSkew   = flag.Float64("skew", 0, "by which part the members' clocks run too fast or too "+
		"slow at most; needs a -server-binary that was built with -tags faults")
	flagRounds = flag.Int("rounds", 1, "how many times the default rounds the scenarios of "+
		"TestKnown have")
	flagGrown = flag.Int("grown", 3, "members to grow to, in the test of changes of membership")
)

// clientLogEnv sets from which level on etcd's client logs to standard error.
const clientLogEnv = "ETCD_CLIENT_DEBUG"

// built is where the server was built, once for all tests.
var built struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// TestMain silences clients and removes what was built.
func TestMain(m *testing.M) {
	flag.Parse()
	// The clients' complaints about each fault help nobody.
	if err := os.Setenv(clientLogEnv, "fatal"); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if *flagSkew > 0 {
		if err := os.Setenv("CAIRN_CLOCK_SKEW", fmt.Sprint(*flagSkew)); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	code := m.Run()
	if err := os.RemoveAll(built.dir); built.dir != "" && err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// program returns the server to test.
func program(t *testing.T) string {
	t.Helper()
	if *flagServer != "" {
		path, err := filepath.Abs(*flagServer)
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	return cairn(t)
}

// cairn returns Cairn's program, built here.
func cairn(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "cairn-cluster-"); built.err == nil {
			built.path, built.err = e2e.Build(context.Background(), "../..", built.dir)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// newCluster returns a running cluster that ends with the test. Its directory is kept, and named,
// if the test fails.
func newCluster(t *testing.T, n int, args ...string) *Cluster {
	t.Helper()
	c := emptyCluster(t, args...)
	if err := c.Start(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	return c
}

// emptyCluster returns a cluster without members that ends with the test.
func emptyCluster(t *testing.T, args ...string) *Cluster {
	t.Helper()
	dir, err := os.MkdirTemp("", "cairn-"+strings.ReplaceAll(t.Name(), "/", "-")+"-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() || *flagKeep {
			t.Logf("data and logs are kept in %s", dir)
		} else if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	c := New(program(t), dir, args...)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// newRandom returns the source of a test's random numbers, with its seed printed.
func newRandom(t *testing.T) (*rand.Rand, uint64) {
	seed := *flagSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0)), seed
}

package difftest

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"

	"google.golang.org/grpc"
)

var (
	flagRef = flag.String("ref", Etcd, "program of side A, the reference: etcd, cairn or a "+
		"path")
	flagSut     = flag.String("sut", Cairn, "program of side B: etcd, cairn or a path")
	flagSeed    = flag.Uint64("seed", 1, "first seed")
	flagOps     = flag.Int("ops", 20_000, "random operations in all, spread over the seeds")
	flagPerOps  = flag.Int("ops-per-seed", 2_500, "operations of one seed")
	flagCluster = flag.Int("cluster-ops", 300, "random operations of one seed on clusters")
	flagReplay  = flag.String("replay", "", "file with a script to run instead of random ones")
	flagFails   = flag.String("failures", "", "directory for scripts that fail (default: the "+
		"system's temporary directory)")
	flagStrict = flag.Bool("strict-watch", false, "compare also how events are spread over "+
		"responses of a watch")
	flagHashes = flag.Bool("compaction-hashes", false, "compare HashKV also at revisions that "+
		"were compacted since the last start")
	flagGoOn   = flag.Bool("keep-going", false, "go on after a difference to show all of a script")
	flagShrink = flag.Bool("shrink", true, "cut a failing script down")
)

// parallelTests is how many tests run at once unless -parallel says otherwise, on any number of
// processors: they mostly wait, for disks and for servers to start.
const parallelTests = "4"

// tools is shared by all tests of this package.
var tools *Toolbox

func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", parallelTests); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	flag.Parse()
	os.Exit(run(m))
}

// run makes the Toolbox and removes what it leaves behind.
func run(m *testing.M) int {
	temp, err := os.MkdirTemp("", "difftest")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(temp)
	module, err := os.Getwd()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	tools = NewToolbox(module, temp)
	return m.Run()
}

// program returns the path of a program and fails the test if it cannot be built.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := tools.Path(context.Background(), name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// chosen returns the pair of the flags -a and -b, built.
func chosen(t *testing.T) *Pair {
	t.Helper()
	for _, name := range []string{*flagRef, *flagSut, Etcdutl} {
		program(t, name)
	}
	return &Pair{
		Tools: tools, Programs: [2]string{*flagRef, *flagSut}, Options: [2][]grpc.DialOption{},
		CompactionHashes: *flagHashes, StrictWatch: *flagStrict, KeepGoing: *flagGoOn,
	}
}

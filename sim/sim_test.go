package sim

import (
	"bytes"
	"flag"
	"io"
	"os"
	"testing"
	"time"
)

var (
	seedFlag = flag.Uint64("seed", 0, "the first seed")
	runsFlag = flag.Int("runs", 1, "how many seeds")
	verbose  = flag.Bool("log", false, "print the event log")
	quiet    = flag.Bool("quiet", false, "no faults")
)

func TestDev(t *testing.T) {
	var total Stats
	began := time.Now()
	bad := 0
	for i := range *runsFlag {
		o := Draw(*seedFlag + uint64(i))
		if *quiet {
			o.Faults = Faults{}
		}
		var log io.Writer
		if *verbose {
			log = os.Stdout
		}
		r := Run(o, log)
		total.Add(&r.Stats)
		if r.Failure != nil {
			bad++
			t.Errorf("%v\n%v", o, r.Failure)
		}
	}
	t.Logf("%v, %d failed in %v", &total, bad, time.Since(began))
	_ = bytes.Clone
}

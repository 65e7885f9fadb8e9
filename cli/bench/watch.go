package bench

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	load "github.com/cairnkv/cairn/bench"
)

func (a *app) watchCommand() *cobra.Command {
	var l load.Watch
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Benchmark watches: creating them, and events",
		Long: `Benchmark watches: --streams streams of --watch-per-stream watchers each are
created; they watch --watched-key-total keys in turn. Then the clients put to these
keys. Measured are the creations, and the time from a put to each of its events.`,
		Example: `  $0 watch --streams=10 --watch-per-stream=100 --put-total=1000
  $0 watch --conns=10 --streams=1000 --watched-key-total=1000 --put-rate=500`,
		Args: cobra.NoArgs,
	}
	fs := cmd.Flags()
	watchFlags(fs, &l, "watch-per-stream")
	fs.IntVar(&l.Keys.Space, "watched-key-total", 1, "how many keys are watched")
	fs.IntVar(&l.Keys.Size, "key-size", 32, "size of keys in bytes")
	fs.Int64Var(&a.options.Total, "put-total", 1000, "number of puts")
	a.rateFlag(fs, "put-rate", "puts")
	return a.verb(cmd, func([]string) (load.Load, error) {
		l.Keys.Sequential = true
		return l, nil
	})
}

// watchFlags declares the flags that the loads of watches share.
func watchFlags(fs *pflag.FlagSet, l *load.Watch, watchers string) {
	fs.IntVar(&l.Streams, "streams", 10, "number of watch streams")
	fs.IntVar(&l.Watchers, watchers, 100, "number of watchers of each stream")
	fs.IntVar(&l.ValueSize, "val-size", 32, "size of values in bytes, at least 16")
	fs.BoolVar(&l.PrevKV, "prevkv", false, "ask for the previous value in each event")
}

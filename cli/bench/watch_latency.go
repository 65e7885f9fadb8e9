package bench

import (
	"github.com/spf13/cobra"

	load "github.com/cairnkv/cairn/bench"
)

func (a *app) watchLatencyCommand() *cobra.Command {
	l := load.Watch{Steps: true, Keys: load.Keys{Space: 1}}
	cmd := &cobra.Command{
		Use:   "watch-latency",
		Short: "Benchmark the time from a put to its events",
		Long: `Benchmark the time from a put to its events: all watchers watch one key, one
client puts to it, and the next put waits until all watchers have had the event.`,
		Example: `  $0 watch-latency --streams=10 --watchers-per-stream=100 --put-rate=100
  $0 watch-latency --conns=10 --streams=100 --put-rate=0   # as fast as it goes`,
		Args: cobra.NoArgs,
	}
	fs := cmd.Flags()
	watchFlags(fs, &l, "watchers-per-stream")
	fs.IntVar(&l.Keys.Size, "key-size", 32, "size of the key in bytes")
	fs.Int64Var(&a.options.Total, "put-total", 1000, "number of puts")
	a.rateFlag(fs, "put-rate", "puts")
	return a.verb(cmd, func([]string) (load.Load, error) { return l, nil })
}

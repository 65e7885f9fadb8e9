package bench

import (
	"github.com/spf13/cobra"

	load "github.com/cairnkv/cairn/bench"
)

func (a *app) watchGetCommand() *cobra.Command {
	var l load.WatchGet
	cmd := &cobra.Command{
		Use:   "watch-get",
		Short: "Benchmark gets while many watchers catch up",
		Long: `Benchmark serializable gets while many watchers catch up with the past. The load
ends when all watchers have had all events.`,
		Example: "  $0 watch-get --watchers=10000 --streams=10 --events=8",
		Args:    cobra.NoArgs,
	}
	fs := cmd.Flags()
	fs.IntVar(&l.Watchers, "watchers", 10000, "total number of watchers")
	fs.IntVar(&l.Streams, "streams", 1, "total number of watch streams")
	fs.IntVar(&l.Events, "events", 8, "number of events of each watcher")
	return a.verb(cmd, func([]string) (load.Load, error) { return l, nil })
}

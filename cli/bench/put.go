package bench

import (
	"github.com/spf13/cobra"

	load "github.com/cairnkv/cairn/bench"
)

func (a *app) putCommand() *cobra.Command {
	var l load.Put
	cmd := &cobra.Command{
		Use:   "put",
		Short: "Benchmark put",
		Example: `  $0 put --conns=100 --clients=1000 --key-space-size=100000 --val-size=256
  $0 put --sequential-keys --key-space-size=100000 --total=100000   # fills a store`,
		Args: cobra.NoArgs,
	}
	a.totalFlags(cmd.Flags(), "puts")
	keyFlags(cmd.Flags(), &l.Keys)
	valueFlag(cmd.Flags(), &l.ValueSize)
	return a.verb(cmd, func([]string) (load.Load, error) { return l, nil })
}

package bench

import (
	"github.com/spf13/cobra"

	load "github.com/cairnkv/cairn/bench"
)

func (a *app) listCommand() *cobra.Command {
	var l load.List
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Benchmark pages of many keys",
		Long: `Benchmark reading pages of --limit neighbouring keys of the key space, as put has
written them, as those do who list everything.`,
		Example: "  $0 list --limit=500 --key-space-size=100000 --conns=4 --clients=8",
		Args:    cobra.NoArgs,
	}
	fs := cmd.Flags()
	a.totalFlags(fs, "pages")
	keyFlags(fs, &l.Keys)
	serializable := consistencyFlag(fs)
	fs.Int64Var(&l.Limit, "limit", 500, "keys of a page")
	fs.BoolVar(&l.KeysOnly, "keys-only", false, "ask for the keys alone")
	return a.verb(cmd, func([]string) (_ load.Load, err error) {
		l.Serializable, err = serializable()
		return l, err
	})
}

package ctl

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// optionsCommand makes the verb "options", which lists the flags of root that every verb takes.
func (a *app) optionsCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:     "options",
		Short:   "Show the global command-line flags",
		Example: a.example("  $0 options"),
		RunE: func(*cobra.Command, []string) error {
			shown := pflag.NewFlagSet("global", pflag.ContinueOnError)
			root.PersistentFlags().VisitAll(func(f *pflag.Flag) {
				visible := *f
				visible.Hidden = false
				shown.AddFlag(&visible)
			})
			return a.write(fmt.Append(nil,
				"The following options can be passed to any command:\n\n", shown.FlagUsages()))
		},
	}
}

package utl

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cairnkv/cairn/cli/internal/terminal"
)

// defragCommand makes the verb "defrag".
func (a *app) defragCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:     "defrag",
		Short:   "Defragments the storage of the etcd",
		Example: "  " + a.cfg.Name + " defrag --data-dir default.cairn",
		RunE:    func(*cobra.Command, []string) error { return a.defrag(dir) },
	}
	cmd.Flags().StringVar(&dir, "data-dir", "",
		"Required. Defragments a data directory not in use by etcd.")
	for _, err := range []error{
		cmd.MarkFlagRequired("data-dir"), cmd.MarkFlagDirname("data-dir"),
	} {
		if err != nil {
			panic(err) // the flag was declared a line above
		}
	}
	return cmd
}

// defrag has nothing to do: Cairn gives space back by itself while it runs. It says so on stderr,
// and makes sure that there is a directory that this is true of.
func (a *app) defrag(dir string) error {
	info, err := a.cfg.FS.Stat(dir)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a directory", dir)
	}
	if err == nil {
		err = a.refuseEtcdDir(dir)
	}
	if err != nil {
		return terminal.Failf(terminal.ExitError,
			"Failed to defragment etcd data[%s] (%w)", dir, err)
	}
	fmt.Fprintf(a.cfg.Stderr, "%s needs no defragmentation: compacted space is given back while "+
		"the server runs.\n", dir)
	return nil
}

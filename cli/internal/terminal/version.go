package terminal

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	etcdversion "go.etcd.io/etcd/api/v3/version"
)

// Version makes the verb "version". The first two lines are those of etcd's program face ("etcdctl",
// "etcdutl"), which scripts read; when the program was not called by that name, Cairn's own version
// stands on a third.
func Version(name, face, own string, stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Prints the version of " + name,
		Example: "  " + name + " version",
		RunE: func(*cobra.Command, []string) error {
			var b strings.Builder
			fmt.Fprintf(&b, "%s version: %s\n", face, etcdversion.Version)
			fmt.Fprintf(&b, "API version: %s\n", etcdversion.APIVersion)
			if own != "" && name != face {
				fmt.Fprintf(&b, "Cairn version: %s\n", own)
			}
			if _, err := io.WriteString(stdout, b.String()); err != nil {
				return Fail(ExitIO, err)
			}
			return nil
		},
	}
}

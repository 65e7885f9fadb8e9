package terminal

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairnkv/cairn/internal/version"
)

// Version makes the verb "version". The first two lines are those of etcd's program face
// ("etcdctl", "etcdutl"), which scripts read; when the program was not called by that name, Cairn's
// own version stands on a third.
func Version(name, face string, stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Prints the version of " + name,
		Example: "  " + name + " version",
		RunE: func(*cobra.Command, []string) error {
			var b strings.Builder
			fmt.Fprintf(&b, "%s version: %s\n", face, version.Etcd)
			fmt.Fprintf(&b, "API version: %s\n", version.API)
			if name != face {
				fmt.Fprintf(&b, "Cairn version: %s\n", version.Cairn)
			}
			if _, err := io.WriteString(stdout, b.String()); err != nil {
				return Fail(ExitIO, err)
			}
			return nil
		},
	}
}

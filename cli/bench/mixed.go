package bench

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	load "github.com/cairnkv/cairn/bench"
)

func (a *app) mixedCommand() *cobra.Command {
	var l load.Mixed
	cmd := &cobra.Command{
		Use:     "mixed",
		Short:   "Benchmark a mix of puts, ranges and deletes of one key",
		Example: "  $0 mixed --ratio=20:75:5 --key-space-size=100000 --clients=100 --duration=30s",
		Args:    cobra.NoArgs,
	}
	fs := cmd.Flags()
	a.totalFlags(fs, "operations")
	keyFlags(fs, &l.Keys)
	valueFlag(fs, &l.ValueSize)
	serializable := consistencyFlag(fs)
	ratio := fs.String("ratio", "1:1:0", "weights of puts, ranges and deletes")
	return a.verb(cmd, func([]string) (_ load.Load, err error) {
		if l.Puts, l.Gets, l.Deletes, err = weights(*ratio); err != nil {
			return nil, err
		}
		l.Serializable, err = serializable()
		return l, err
	})
}

// weights reads three numbers with colons between.
func weights(s string) (puts, gets, deletes int, err error) {
	var n [3]int
	parts := strings.Split(s, ":")
	ok := len(parts) == len(n)
	sum := 0
	for i := 0; ok && i < len(n); i++ {
		n[i], err = strconv.Atoi(parts[i])
		ok = err == nil && n[i] >= 0
		sum += n[i]
	}
	if !ok || sum == 0 {
		return 0, 0, 0, fmt.Errorf("--ratio=%s: three numbers such as 50:45:5 are possible", s)
	}
	return n[0], n[1], n[2], nil
}

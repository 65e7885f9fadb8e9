package terminal

import (
	"fmt"
	"math"
)

// siStep is the factor between two SI units.
const siStep = 1000

// Bytes writes a size the way etcd's programs do: SI units, one decimal below ten ("25 kB",
// "2.1 GB"), plain bytes without one ("7 B").
func Bytes(n uint64) string {
	units := [...]string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}
	if n < 10 {
		return fmt.Sprintf("%d B", n)
	}
	// As etcd rounds: the unit is chosen before the rounding ("1000 kB" for 999,999).
	exp := math.Floor(math.Log(float64(n)) / math.Log(siStep))
	val := math.Floor(float64(n)/math.Pow(siStep, exp)*10+0.5) / 10
	if val < 10 {
		return fmt.Sprintf("%.1f %s", val, units[int(exp)])
	}
	return fmt.Sprintf("%.0f %s", val, units[int(exp)])
}

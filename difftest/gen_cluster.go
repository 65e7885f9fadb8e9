package difftest

import "math/rand/v2"

const (
	// clusterMembers is how many members the clusters of random scripts have.
	clusterMembers = 3

	// clusterRestarts is how many restarts such a script has at most: each takes seconds.
	clusterRestarts = 2
)

// GenerateCluster returns the script of a seed for clusters: that of Generate, with every operation
// sent to a random member.
func GenerateCluster(seed uint64, n int) *Script {
	rng := rand.New(rand.NewPCG(seed, 0xca173))
	s := Generate(seed, n)
	s.Config.Members, s.Config.DefaultTiming = clusterMembers, true
	ops, restarts := s.Ops, 0
	s.Ops = nil
	for _, op := range ops {
		op.Member = 1 + rng.IntN(clusterMembers)
		if op.Kind == kindRestart {
			if restarts++; restarts > clusterRestarts {
				continue
			}
		}
		s.Ops = append(s.Ops, op)
	}
	return s
}

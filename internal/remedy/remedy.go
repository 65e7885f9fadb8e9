// Package remedy has what error texts advise when a member cannot go on with its data: the same
// words wherever it shows.
package remedy

// Replace is how to get a member back whose data is damaged. One that has forgotten what it was
// must not go on under its old id: it may have promised votes, and made entries durable that others
// count on. So it is removed first, and comes back as a new one.
const Replace = "in a cluster, remove this member (member remove), add it again (member add) " +
	"and start it with an empty --data-dir and --initial-cluster-state=existing; restore a " +
	"backup only if no majority of members is left, or there is but this one"

// Package peer is what members ask of each other besides raft's messages, both sides of it: the
// door that answers on the peer port, and the client that asks.
//
//	GET  /members                   the members, as etcd's peer port lists them
//	GET  /version                   versions of the server and the cluster
//	POST /members/promote/<id>      the leader promotes a learner; answers with the members
//	POST /members/hashkv            HashKV of this member, JSON both ways
//	POST /cairn/leases/renew        the leader renews leases: ids in, times to live out
//	POST /cairn/leases/ttl          the leader tells of a lease, JSON both ways
//	POST /cairn/leader/transfer/<id>  the leader hands over, 0: to whom it likes
//	POST /cairn/snapshot            the state, as far as the caller lacks it (package snapshot)
//
// Errors of the API travel as status 409 with the error's code in the header X-Cairn-Code and its
// text as the body, so that the client's caller meets the same error as if it had asked at home.
// The header X-Etcd-Cluster-ID is in every answer; a request that names another cluster is refused.
// Bodies are bounded; raft's streams have handlers of their own (package transport).
package peer

// Package cairn is the vocabulary that all parts share: revisions, key-value pairs, requests as
// decoded from the wire, and the errors of the API with etcd's codes and texts. It imports the
// standard library alone and does nothing by itself.
//
// # The model
//
// The store is one ordered map from keys to values and all its past. Every change (a put, a delete,
// a transaction with writes, a lease's end) takes the next main revision; changes of one
// transaction are told apart by the sub revision. An empty store is at revision 1.
package cairn

// LeaseID names a lease. Zero is "no lease".
type LeaseID = int64

// MemberID names a member of the cluster; zero is "no member".
type MemberID = uint64

// Revision is a point in the store's history: Main counts transactions, Sub the changes within
// one, from 0. Revisions are ordered by Main, then Sub.
type Revision struct {
	Main int64
	Sub  int64
}

// Less says whether r is before o.
func (r Revision) Less(o Revision) bool {
	return r.Main < o.Main || r.Main == o.Main && r.Sub < o.Sub
}

// KeyValue is one version of a key, as etcd's mvccpb.KeyValue. Slices alias the bytes that it was
// decoded from.
type KeyValue struct {
	Key            []byte
	Value          []byte
	CreateRevision int64 // main revision of the put that created the key
	ModRevision    int64 // main revision of this version
	Version        int64 // 1 for the put that created the key; 0 in a tombstone
	Lease          LeaseID
}

// Header is what every response says of the member and the moment that answered.
type Header struct {
	ClusterID uint64
	MemberID  MemberID
	Revision  int64 // main revision of the store, 0 where a response carries none
	RaftTerm  uint64
}

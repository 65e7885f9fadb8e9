package state

import (
	"errors"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/internal/mutate"
	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/wire"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

func (m *Machine) applyPut(dst, request []byte) ([]byte, error) {
	p := &m.put
	if err := wire.DecodePut(request, p); err != nil {
		return dst, err
	}
	if err := m.checkLease(p); err != nil {
		return dst, err
	}
	tx := m.store.Begin()
	defer tx.End()
	prev, had := tx.Get(p.Key)
	if !had && (p.IgnoreValue || p.IgnoreLease) {
		return dst, cairn.ErrKeyNotFound
	}
	prevKV, replyErr, err := m.putInto(tx, p, prev, had)
	if err != nil {
		return dst, err
	}
	if replyErr != nil {
		return dst, replyErr
	}
	h := m.header(tx.Rev())
	return wire.AppendPutResponse(dst, &h, prevKV), nil
}

func (m *Machine) checkLease(p *cairn.PutRequest) error {
	if p.Lease == 0 {
		return nil
	}
	if _, ok := m.leases.Lookup(p.Lease); !ok {
		return cairn.ErrLeaseNotFound
	}
	return nil
}

// putInto executes a put that was checked; prev is the key's version before it. replyErr concerns
// the reply alone: the put has happened. err is fatal.
func (m *Machine) putInto(
	tx *mvcc.Tx, p *cairn.PutRequest, prev mvcc.Version, had bool,
) (prevKV []byte, replyErr, err error) {
	value, leaseID := p.Value, p.Lease
	if had && p.IgnoreLease {
		leaseID = prev.Lease
	}
	if had && (p.PrevKV || p.IgnoreValue) {
		prevKV, replyErr = tx.KV(prev)
		if p.IgnoreValue {
			if replyErr != nil {
				return nil, nil, replyErr // the new value is not known
			}
			var kv cairn.KeyValue
			if err := wire.DecodeKeyValue(prevKV, &kv); err != nil {
				return nil, nil, err
			}
			value = kv.Value
		}
		if !p.PrevKV {
			prevKV = nil
		}
	}
	if _, _, err := tx.Put(p.Key, value, leaseID); err != nil {
		return nil, nil, err
	}
	m.counts.Puts++
	m.counts.PutBytes += int64(len(p.Key) + len(value))
	if had && prev.Lease != leaseID && !mutate.On(mutate.LeaseStays) {
		m.leases.Detach(prev.Lease, p.Key)
	}
	m.leases.Attach(leaseID, p.Key)
	return prevKV, damaged(replyErr), nil
}

func (m *Machine) applyDeleteRange(dst, request []byte) ([]byte, error) {
	d := &m.del
	if err := wire.DecodeDeleteRange(request, d); err != nil {
		return dst, err
	}
	if mutate.On(mutate.SkipDelete) && m.local%2 == 0 && m.index%16 == 0 {
		d.Key = append([]byte("no/"), d.Key...)
	}
	tx := m.store.Begin()
	defer tx.End()
	deleted, prevs, replyErr, err := m.deleteInto(tx, d)
	if err := errors.Join(err, replyErr); err != nil {
		return dst, err
	}
	h := m.header(tx.Rev())
	return wire.AppendDeleteRangeResponse(dst, &h, deleted, prevs), nil
}

// deleteInto deletes a range. replyErr concerns the reply alone: the deletion has happened.
func (m *Machine) deleteInto(
	tx *mvcc.Tx, d *cairn.DeleteRangeRequest,
) (deleted int64, prevs [][]byte, replyErr, err error) {
	m.counts.Deletes++
	type victim struct {
		key   []byte
		lease cairn.LeaseID
	}
	var victims []victim
	var arena []byte
	visit := func(key []byte, v mvcc.Version) bool {
		from := len(arena)
		arena = append(arena, key...)
		victims = append(victims, victim{arena[from:len(arena):len(arena)], v.Lease})
		if d.PrevKV {
			kv, err := tx.KV(v)
			replyErr = errors.Join(replyErr, err)
			prevs = append(prevs, kv)
		}
		return true
	}
	if len(d.End) == 0 {
		if v, ok := tx.Get(d.Key); ok {
			visit(d.Key, v)
		}
	} else {
		tx.Ascend(d.Key, d.End, visit)
	}
	for _, v := range victims {
		if _, _, err := tx.Delete(v.key); err != nil {
			return 0, nil, nil, err
		}
		m.leases.Detach(v.lease, v.key)
	}
	return int64(len(victims)), prevs, damaged(replyErr), nil
}

func (m *Machine) applyCompact(dst, request []byte) ([]byte, error) {
	var c cairn.CompactRequest
	if err := wire.DecodeCompact(request, &c); err != nil {
		return dst, err
	}
	if err := m.store.Compact(c.Revision); err != nil {
		return dst, err
	}
	return m.appendReply(dst, &etcdserverpb.CompactionResponse{Header: m.protoHeader()})
}

// protoHeader is a header for the cold responses, which are built of the generated types.
func (m *Machine) protoHeader() *etcdserverpb.ResponseHeader {
	h := m.header(m.store.AppliedRev())
	return &etcdserverpb.ResponseHeader{
		ClusterId: h.ClusterID, MemberId: h.MemberID, Revision: h.Revision, RaftTerm: h.RaftTerm,
	}
}

func (m *Machine) appendReply(dst []byte, reply proto.Message) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.MarshalAppend(dst, reply)
}

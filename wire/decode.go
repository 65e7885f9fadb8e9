package wire

import "github.com/cairnkv/cairn"

// DecodeRange decodes an etcdserverpb.RangeRequest.
func DecodeRange(b []byte, r *cairn.RangeRequest) error {
	*r = cairn.RangeRequest{}
	return mergeRange(b, r)
}

func mergeRange(b []byte, r *cairn.RangeRequest) (err error) {
	var f field
	for len(b) > 0 {
		if b, err = f.next(b); err != nil {
			return err
		}
		switch f.tag {
		case 1<<3 | typeBytes:
			r.Key = f.data
		case 2<<3 | typeBytes:
			r.End = f.data
		case 3<<3 | typeVarint:
			r.Limit = int64(f.num)
		case 4<<3 | typeVarint:
			r.Revision = int64(f.num)
		case 5<<3 | typeVarint:
			r.SortOrder = cairn.SortOrder(int32(f.num))
		case 6<<3 | typeVarint:
			r.SortTarget = cairn.SortTarget(int32(f.num))
		case 7<<3 | typeVarint:
			r.Serializable = f.num != 0
		case 8<<3 | typeVarint:
			r.KeysOnly = f.num != 0
		case 9<<3 | typeVarint:
			r.CountOnly = f.num != 0
		case 10<<3 | typeVarint:
			r.MinModRevision = int64(f.num)
		case 11<<3 | typeVarint:
			r.MaxModRevision = int64(f.num)
		case 12<<3 | typeVarint:
			r.MinCreateRevision = int64(f.num)
		case 13<<3 | typeVarint:
			r.MaxCreateRevision = int64(f.num)
		}
	}
	return nil
}

// DecodePut decodes an etcdserverpb.PutRequest.
func DecodePut(b []byte, r *cairn.PutRequest) error {
	*r = cairn.PutRequest{}
	return mergePut(b, r)
}

func mergePut(b []byte, r *cairn.PutRequest) (err error) {
	var f field
	for len(b) > 0 {
		if b, err = f.next(b); err != nil {
			return err
		}
		switch f.tag {
		case 1<<3 | typeBytes:
			r.Key = f.data
		case 2<<3 | typeBytes:
			r.Value = f.data
		case 3<<3 | typeVarint:
			r.Lease = cairn.LeaseID(f.num)
		case 4<<3 | typeVarint:
			r.PrevKV = f.num != 0
		case 5<<3 | typeVarint:
			r.IgnoreValue = f.num != 0
		case 6<<3 | typeVarint:
			r.IgnoreLease = f.num != 0
		}
	}
	return nil
}

// DecodeDeleteRange decodes an etcdserverpb.DeleteRangeRequest.
func DecodeDeleteRange(b []byte, r *cairn.DeleteRangeRequest) error {
	*r = cairn.DeleteRangeRequest{}
	return mergeDeleteRange(b, r)
}

func mergeDeleteRange(b []byte, r *cairn.DeleteRangeRequest) (err error) {
	var f field
	for len(b) > 0 {
		if b, err = f.next(b); err != nil {
			return err
		}
		switch f.tag {
		case 1<<3 | typeBytes:
			r.Key = f.data
		case 2<<3 | typeBytes:
			r.End = f.data
		case 3<<3 | typeVarint:
			r.PrevKV = f.num != 0
		}
	}
	return nil
}

// DecodeCompact decodes an etcdserverpb.CompactionRequest.
func DecodeCompact(b []byte, r *cairn.CompactRequest) (err error) {
	*r = cairn.CompactRequest{}
	var f field
	for len(b) > 0 {
		if b, err = f.next(b); err != nil {
			return err
		}
		switch f.tag {
		case 1<<3 | typeVarint:
			r.Revision = int64(f.num)
		case 2<<3 | typeVarint:
			r.Physical = f.num != 0
		}
	}
	return nil
}

// DecodeLeaseKeepAlive decodes an etcdserverpb.LeaseKeepAliveRequest.
func DecodeLeaseKeepAlive(b []byte, id *cairn.LeaseID) (err error) {
	*id = 0
	var f field
	for len(b) > 0 {
		if b, err = f.next(b); err != nil {
			return err
		}
		if f.tag == 1<<3|typeVarint {
			*id = cairn.LeaseID(f.num)
		}
	}
	return nil
}

// DecodeKeyValue decodes an mvccpb.KeyValue.
func DecodeKeyValue(b []byte, kv *cairn.KeyValue) (err error) {
	*kv = cairn.KeyValue{}
	var f field
	for len(b) > 0 {
		if b, err = f.next(b); err != nil {
			return err
		}
		switch f.tag {
		case 1<<3 | typeBytes:
			kv.Key = f.data
		case 2<<3 | typeVarint:
			kv.CreateRevision = int64(f.num)
		case 3<<3 | typeVarint:
			kv.ModRevision = int64(f.num)
		case 4<<3 | typeVarint:
			kv.Version = int64(f.num)
		case 5<<3 | typeBytes:
			kv.Value = f.data
		case 6<<3 | typeVarint:
			kv.Lease = cairn.LeaseID(f.num)
		}
	}
	return nil
}

// DecodeHeader decodes an etcdserverpb.ResponseHeader.
func DecodeHeader(b []byte, h *cairn.Header) (err error) {
	*h = cairn.Header{}
	var f field
	for len(b) > 0 {
		if b, err = f.next(b); err != nil {
			return err
		}
		switch f.tag {
		case 1<<3 | typeVarint:
			h.ClusterID = f.num
		case 2<<3 | typeVarint:
			h.MemberID = f.num
		case 3<<3 | typeVarint:
			h.Revision = int64(f.num)
		case 4<<3 | typeVarint:
			h.RaftTerm = f.num
		}
	}
	return nil
}

package v3

import (
	"errors"
	"testing"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/mvcc/index"
)

// TestLongKey: a key that the index cannot hold is refused before it is proposed, at any depth:
// committed, no member could apply it.
func TestLongKey(t *testing.T) {
	put := func(n int) *cairn.PutRequest { return &cairn.PutRequest{Key: make([]byte, n)} }
	txn := func(n int) *cairn.TxnRequest {
		inner := &cairn.TxnRequest{Success: []cairn.Op{{Kind: cairn.OpPut, Put: put(n)}}}
		return &cairn.TxnRequest{Failure: []cairn.Op{{Kind: cairn.OpTxn, Txn: inner}}}
	}
	const most = index.MaxKeyBytes
	if err := errors.Join(checkPut(put(most)), checkTxn(txn(most), 10)); err != nil {
		t.Errorf("a key of %d bytes: %v", most, err)
	}
	for _, err := range []error{checkPut(put(most + 1)), checkTxn(txn(most+1), 10)} {
		if !errors.Is(err, cairn.ErrRequestTooLarge) {
			t.Errorf("a key of %d bytes: %v", most+1, err)
		}
	}
}

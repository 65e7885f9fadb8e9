package snapshot

import (
	"errors"
	"fmt"
)

// Errors of sending.
var (
	// ErrBehind says that the sender has not come as far as the receiver: another must send.
	ErrBehind = errors.New("snapshot: this member is behind the receiver; ask another one")
)

// Errors of receiving. What was staged before is kept, unless said.
var (
	// ErrOlder says that the sender's state is older than what is staged: ask another, or later.
	ErrOlder = errors.New("snapshot: older than what is staged; ask another sender, or later")
	// ErrFormat says that what came is no such stream, or not the one that was asked for.
	ErrFormat = errors.New("snapshot: not a stream of snapshots that continues what is here")
	// ErrVersion says that a newer release sent it.
	ErrVersion = errors.New("snapshot: sent by a newer release; upgrade this member")
	// ErrTooLarge says that Options.MaxBytes is too little for it; the staging was dropped.
	ErrTooLarge = errors.New("snapshot: larger than the limit for staging")
)

// Errors of grafting.
var (
	// ErrIncomplete says that nothing complete is staged.
	ErrIncomplete = errors.New("snapshot: not complete; receive the rest")
	// ErrDamaged says that the staging file is not what was written to it. What is whole of it
	// was kept; nothing else was changed.
	ErrDamaged = errors.New("snapshot: the staging file is damaged; receive the rest again")
)

// DonorError says that a donor does not have what the sender left out. Have does not name the
// interval again.
type DonorError struct {
	First, Last int64 // revisions to ask the sender for
	Err         error
}

func (e *DonorError) Error() string {
	return fmt.Sprintf("snapshot: no donor for revisions %d to %d, ask for them again: %v",
		e.First, e.Last, e.Err)
}

// Unwrap returns the cause.
func (e *DonorError) Unwrap() error { return e.Err }

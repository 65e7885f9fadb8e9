// Package alarm is the replicated set of alarms: which member raised what. While NOSPACE is raised,
// writes that need room are refused; while CORRUPT is raised, all that changes anything is.
package alarm

import (
	"encoding/binary"
	"errors"
	"slices"
	"sync"

	cairn "github.com/cairnkv/cairn"
)

// Type is the API's AlarmType.
type Type int32

// The types of the API; None asks for every type where a request names one.
const (
	None    Type = 0
	NoSpace Type = 1
	Corrupt Type = 2
)

// Alarm is one raised alarm.
type Alarm struct {
	Member cairn.MemberID
	Type   Type
}

// Set holds the raised alarms. The applier alone changes it; all methods may be called at once.
type Set struct {
	mu     sync.RWMutex
	alarms []Alarm // sorted by type, then member
}

func compare(a, b Alarm) int {
	switch {
	case a == b:
		return 0
	case a.Type < b.Type || a.Type == b.Type && a.Member < b.Member:
		return -1
	}
	return 1
}

// Raise adds an alarm and says whether it is new.
func (s *Set) Raise(a Alarm) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, found := slices.BinarySearchFunc(s.alarms, a, compare)
	if !found {
		s.alarms = slices.Insert(s.alarms, i, a)
	}
	return !found
}

// Clear takes an alarm away and says whether it was raised.
func (s *Set) Clear(a Alarm) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, found := slices.BinarySearchFunc(s.alarms, a, compare)
	if found {
		s.alarms = slices.Delete(s.alarms, i, i+1)
	}
	return found
}

// Replace makes the set what other is, which a snapshot brought. The applier's.
func (s *Set) Replace(other *Set) {
	alarms := other.List(None)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alarms = alarms
}

// Active says whether any member raised the type.
func (s *Set) Active(t Type) bool { return len(s.List(t)) > 0 }

// List returns the alarms of a type, of all types for None, sorted by type and member.
func (s *Set) List(t Type) []Alarm {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []Alarm
	for _, a := range s.alarms {
		if t == None || a.Type == t {
			list = append(list, a)
		}
	}
	return list
}

// ErrMalformed says that Decode was given something that Encode did not write.
var ErrMalformed = errors.New("alarm: malformed set")

const encodedBytes = 8 + 4

// Encode appends the set to dst for a checkpoint.
func (s *Set) Encode(dst []byte) []byte {
	for _, a := range s.List(None) {
		dst = binary.LittleEndian.AppendUint64(dst, a.Member)
		dst = binary.LittleEndian.AppendUint32(dst, uint32(a.Type))
	}
	return dst
}

// Decode adds what Encode wrote.
func (s *Set) Decode(b []byte) error {
	if len(b)%encodedBytes != 0 {
		return ErrMalformed
	}
	for ; len(b) > 0; b = b[encodedBytes:] {
		s.Raise(Alarm{
			Member: binary.LittleEndian.Uint64(b),
			Type:   Type(binary.LittleEndian.Uint32(b[8:])),
		})
	}
	return nil
}

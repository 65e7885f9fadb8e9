package link

import (
	"bytes"
	"strconv"
)

// senderHeader is how a member names itself on requests to others, in lower case: headers know
// no case.
const senderHeader = "\r\nx-server-from:"

// carryBytes holds the whole header, an id of 16 digits and the line's end, and some blanks.
const carryBytes = 64

// sniffer finds the sender's id in a stream of HTTP/1.1 requests. A connection that clients keep
// for several requests may begin with some that have no such header, so it looks on until then.
type sniffer struct {
	carry []byte // the end of what was seen before, lower case, at most carryBytes
}

// find looks at the next piece of the stream.
func (s *sniffer) find(data []byte) (id uint64, ok bool) {
	text := append(s.carry, bytes.ToLower(data)...)
	from := 0
	for {
		i := bytes.Index(text[from:], []byte(senderHeader))
		if i < 0 {
			break
		}
		from += i
		value := text[from+len(senderHeader):]
		end := bytes.IndexByte(value, '\r')
		if end < 0 {
			break // the rest of the line is still to come
		}
		id, err := strconv.ParseUint(string(bytes.TrimSpace(value[:end])), 16, 64)
		if err == nil && id != 0 {
			s.carry = nil
			return id, true
		}
		from += len(senderHeader)
	}
	s.carry = bytes.Clone(text[max(0, len(text)-carryBytes):])
	return 0, false
}

package logging

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// encoder appends attributes as JSON members, each with a comma before it.
type encoder struct {
	spaced bool // a blank after commas and colons, as zap's console has it
}

func (e encoder) comma() string {
	if e.spaced {
		return ", "
	}
	return ","
}

// key appends a comma (but not after an opening brace) and the name with its colon.
func (e encoder) key(dst []byte, name string) []byte {
	if len(dst) == 0 || dst[len(dst)-1] != '{' {
		dst = append(dst, e.comma()...)
	}
	dst = append(appendString(dst, name), ':')
	if e.spaced {
		dst = append(dst, ' ')
	}
	return dst
}

// attr appends one attribute. Empty ones and empty groups are left out, as slog demands; a group
// without a name is spread.
func (e encoder) attr(dst []byte, a slog.Attr) []byte {
	v := a.Value.Resolve()
	if a.Key == "" && v.Kind() == slog.KindAny && v.Any() == nil {
		return dst
	}
	if v.Kind() == slog.KindGroup {
		group := v.Group()
		if len(group) == 0 {
			return dst
		}
		if a.Key != "" {
			dst = append(e.key(dst, a.Key), '{')
		}
		for _, g := range group {
			dst = e.attr(dst, g)
		}
		if a.Key != "" {
			dst = append(dst, '}')
		}
		return dst
	}
	return e.value(e.key(dst, a.Key), v)
}

func (e encoder) value(dst []byte, v slog.Value) []byte {
	switch v.Kind() {
	case slog.KindString:
		return appendString(dst, v.String())
	case slog.KindInt64:
		return strconv.AppendInt(dst, v.Int64(), 10)
	case slog.KindUint64:
		return strconv.AppendUint(dst, v.Uint64(), 10)
	case slog.KindFloat64:
		return appendFloat(dst, v.Float64())
	case slog.KindBool:
		return strconv.AppendBool(dst, v.Bool())
	case slog.KindDuration:
		return appendString(dst, v.Duration().String())
	case slog.KindTime:
		return appendString(dst, v.Time().Format(timeLayout))
	default:
		return e.any(dst, v.Any())
	}
}

// any appends a value that slog has no kind for. What panics or cannot be encoded becomes a text
// that says so: a log line never takes the server down.
func (e encoder) any(dst []byte, v any) (out []byte) {
	defer func() {
		if r := recover(); r != nil {
			out = appendString(dst, fmt.Sprintf("panic while logging %T: %v", v, r))
		}
	}()
	switch x := v.(type) {
	case nil:
		return append(dst, "null"...)
	case error:
		return appendString(dst, x.Error())
	case []string:
		dst = append(dst, '[')
		for i, s := range x {
			if i > 0 {
				dst = append(dst, e.comma()...)
			}
			dst = appendString(dst, s)
		}
		return append(dst, ']')
	case []byte:
		return appendString(dst, base64.StdEncoding.EncodeToString(x))
	case time.Duration:
		return appendString(dst, x.String())
	case json.Marshaler:
	case fmt.Stringer:
		return appendString(dst, x.String())
	}
	text, err := json.Marshal(v)
	if err != nil {
		return appendString(dst, fmt.Sprintf("cannot log %T: %v", v, err))
	}
	return append(dst, text...)
}

// appendFloat writes what JSON has no number for as text.
func appendFloat(dst []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(dst, `"+Inf"`...)
	case math.IsInf(f, -1):
		return append(dst, `"-Inf"`...)
	}
	return strconv.AppendFloat(dst, f, 'f', -1, 64)
}

const hexDigits = "0123456789abcdef"

// appendString appends s quoted as zap does: control characters, quotes and backslashes escaped,
// the rest as it is; bytes that are no UTF-8 become U+FFFD.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(dst, `\ufffd`...)
			} else {
				dst = append(dst, s[i:i+size]...)
			}
			i += size
			continue
		}
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c == '\t':
			dst = append(dst, '\\', 't')
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
		default:
			dst = append(dst, c)
		}
		i++
	}
	return append(dst, '"')
}

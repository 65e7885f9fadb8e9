package difftest

import (
	"fmt"
	"regexp"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A request in a script may hold symbols in its integer fields. In memory a symbol is a number in
// one of the windows below; in a file it is a word. They are replaced when the request is sent:
//
//	$rev-3      the newest revision minus three
//	$compact+1  the compacted revision plus one
//	$lease2     the id that the server picked for the grant with var=2
//	$self       the id of the member that is asked
//	$m2         the id of member 2: one of the first, by number, or of the memberadd with var=2
//
// In lists of peer URLs $peer2 stands for the URL of member 2, which need not exist yet.
const (
	revSymbol     = int64(1) << 60
	compactSymbol = revSymbol + 1<<40
	leaseSymbol   = int64(1) << 61
	selfSymbol    = int64(1) << 62

	// symbolSpan is how far a symbol's number reaches from the middle of its window.
	symbolSpan = int64(1) << 20
)

// Rev returns the symbol for the newest revision plus d.
func Rev(d int64) int64 { return revSymbol + d }

// Compacted returns the symbol for the compacted revision plus d.
func Compacted(d int64) int64 { return compactSymbol + d }

// LeaseVar returns the symbol for the lease of variable n.
func LeaseVar(n int) int64 { return leaseSymbol + int64(n) }

// MemberVar returns the symbol for the id of member n, from 1 on.
func MemberVar(n int) int64 { return selfSymbol + int64(n) }

// within reports whether v is a symbol of the window around middle.
func within(v, middle int64) bool { return v > middle-symbolSpan && v < middle+symbolSpan }

// mapInts returns a copy of m with f applied to every 64-bit integer in it, however deep.
func mapInts(m proto.Message, f func(int64) int64) proto.Message {
	if m == nil {
		return nil
	}
	m = proto.Clone(m)
	walk(m.ProtoReflect(), func(m protoreflect.Message, fd protoreflect.FieldDescriptor) {
		if fd.IsList() || fd.IsMap() {
			return
		}
		switch fd.Kind() {
		case protoreflect.Int64Kind:
			m.Set(fd, protoreflect.ValueOfInt64(f(m.Get(fd).Int())))
		case protoreflect.Uint64Kind:
			m.Set(fd, protoreflect.ValueOfUint64(uint64(f(int64(m.Get(fd).Uint())))))
		}
	})
	return m
}

// walk calls f for each field that is set in m and in the messages below it; parents come last.
func walk(m protoreflect.Message, f func(protoreflect.Message, protoreflect.FieldDescriptor)) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if fd.Message() != nil && !fd.IsMap() {
			if fd.IsList() {
				for i := range v.List().Len() {
					walk(v.List().Get(i).Message(), f)
				}
			} else {
				walk(v.Message(), f)
			}
		}
		f(m, fd)
		return true
	})
}

// numberInText and wordInText find symbols in the text form of a request. Keys and values in
// scripts are free of '$' and of numbers that long.
var (
	numberInText = regexp.MustCompile(`\b[0-9]{19}\b`)
	wordInText   = regexp.MustCompile(`\$(rev|compact|lease|self|m)([+-]?[0-9]+)?`)
)

// symbolsToWords replaces the numbers of symbols in text by their words.
func symbolsToWords(text string) string {
	return numberInText.ReplaceAllStringFunc(text, func(s string) string {
		v, err := strconv.ParseInt(s, 10, 64)
		switch {
		case err != nil:
			return s
		case within(v, revSymbol):
			return offset("$rev", v-revSymbol)
		case within(v, compactSymbol):
			return offset("$compact", v-compactSymbol)
		case within(v, leaseSymbol):
			return fmt.Sprintf("$lease%d", v-leaseSymbol)
		case v == selfSymbol:
			return "$self"
		case within(v, selfSymbol):
			return fmt.Sprintf("$m%d", v-selfSymbol)
		}
		return s
	})
}

// offset returns name, with d behind it unless it is 0.
func offset(name string, d int64) string {
	if d == 0 {
		return name
	}
	return fmt.Sprintf("%s%+d", name, d)
}

// wordsToSymbols undoes symbolsToWords.
func wordsToSymbols(text string) string {
	return wordInText.ReplaceAllStringFunc(text, func(s string) string {
		parts := wordInText.FindStringSubmatch(s)
		d, _ := strconv.ParseInt(parts[2], 10, 64) // the pattern allows only numbers, or nothing
		switch parts[1] {
		case "rev":
			return strconv.FormatInt(Rev(d), 10)
		case "compact":
			return strconv.FormatInt(Compacted(d), 10)
		case "lease":
			return strconv.FormatInt(LeaseVar(int(d)), 10)
		case "m":
			return strconv.FormatInt(MemberVar(int(d)), 10)
		}
		return strconv.FormatInt(selfSymbol, 10)
	})
}

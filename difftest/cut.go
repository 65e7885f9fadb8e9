package difftest

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// cut returns a copy of a request without its k-th part, and whether there is such a part: an
// element of a list or a field that is set, of the request or of a message in it. Larger parts come
// before those that they hold.
func cut(m proto.Message, k int) (proto.Message, bool) {
	if m == nil {
		return nil, false
	}
	m = proto.Clone(m)
	return m, cutIn(m.ProtoReflect(), &k)
}

// cutIn removes part *k of m in place. It counts *k down by the parts that it passes.
func cutIn(m protoreflect.Message, k *int) bool {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if !m.Has(fd) {
			continue
		}
		if fd.IsList() {
			if cutInList(m.Mutable(fd).List(), fd.Message() != nil, k) {
				return true
			}
			continue
		}
		if *k == 0 {
			m.Clear(fd)
			return true
		}
		*k--
		if fd.Message() != nil && cutIn(m.Mutable(fd).Message(), k) {
			return true
		}
	}
	return false
}

// cutInList is cutIn for the elements of a list.
func cutInList(l protoreflect.List, messages bool, k *int) bool {
	for i := range l.Len() {
		if *k == 0 {
			for j := i + 1; j < l.Len(); j++ {
				l.Set(j-1, l.Get(j))
			}
			l.Truncate(l.Len() - 1)
			return true
		}
		*k--
		if messages && cutIn(l.Get(i).Message(), k) {
			return true
		}
	}
	return false
}

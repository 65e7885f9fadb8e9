package revlog

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/cairnkv/cairn"
)

// tableEntry is a place where a search by revision may start.
type tableEntry struct {
	main int64 // of the record at off
	off  int64
}

// trailer is the last block of a sealed file. Together with the table before it, it is the footer.
type trailer struct {
	recordsEnd  int64 // where the table begins
	records     int64
	puts, tombs int64 // bytes of records of either kind
	first, last cairn.Revision
	clean       int64 // see file.clean
}

// strideOf is the distance of table entries in a file of that many bytes.
func strideOf(fileBytes int64) int64 {
	const entries, least, most = 1 << 10, 256, 64 << 10
	return min(max(fileBytes/entries, least), most)
}

// footerRoom is the most that the footer of a file of that many bytes takes.
func footerRoom(fileBytes int64) int64 {
	return (fileBytes/strideOf(fileBytes)+1)*tableEntryBytes + trailerBytes
}

// appendFooter appends table and trailer.
func appendFooter(dst []byte, seed uint32, table []tableEntry, t trailer) []byte {
	start := len(dst)
	for _, e := range table {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(e.main))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(e.off))
	}
	dst = binary.LittleEndian.AppendUint32(dst, uint32(t.recordsEnd))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(table)))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(t.records))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(t.puts))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(t.tombs))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(t.first.Main))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(t.last.Main))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(t.first.Sub))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(t.last.Sub))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(t.clean))
	dst = binary.LittleEndian.AppendUint64(dst, 0)
	crc := crc32.Update(seed, castagnoli, dst[start:])
	dst = binary.LittleEndian.AppendUint32(dst, crc)
	return binary.LittleEndian.AppendUint32(dst, trailerMagic)
}

// decodeFooter reads the footer of a whole file. ok is false, with a reason, if it has none that is
// right.
func decodeFooter(b []byte, seed uint32) (t trailer, table []tableEntry, reason string) {
	if len(b) < headerBytes+trailerBytes {
		return t, nil, "no footer"
	}
	tr := b[len(b)-trailerBytes:]
	if binary.LittleEndian.Uint32(tr[76:]) != trailerMagic {
		return t, nil, "no footer"
	}
	t.recordsEnd = int64(binary.LittleEndian.Uint32(tr))
	n := int64(binary.LittleEndian.Uint32(tr[4:]))
	if t.recordsEnd < headerBytes || n > maxTableEntries ||
		t.recordsEnd+n*tableEntryBytes+trailerBytes != int64(len(b)) {
		return t, nil, "footer does not fit the file's size"
	}
	footer := b[t.recordsEnd : int64(len(b))-8]
	if crc32.Update(seed, castagnoli, footer) != binary.LittleEndian.Uint32(tr[72:]) {
		return t, nil, "footer checksum"
	}
	t.records = int64(binary.LittleEndian.Uint64(tr[8:]))
	t.puts = int64(binary.LittleEndian.Uint64(tr[16:]))
	t.tombs = int64(binary.LittleEndian.Uint64(tr[24:]))
	t.first.Main = int64(binary.LittleEndian.Uint64(tr[32:]))
	t.last.Main = int64(binary.LittleEndian.Uint64(tr[40:]))
	t.first.Sub = int64(binary.LittleEndian.Uint32(tr[48:]))
	t.last.Sub = int64(binary.LittleEndian.Uint32(tr[52:]))
	t.clean = int64(binary.LittleEndian.Uint64(tr[56:]))
	table = make([]tableEntry, n)
	for i := range table {
		e := b[t.recordsEnd+int64(i)*tableEntryBytes:]
		table[i].main = int64(binary.LittleEndian.Uint64(e))
		table[i].off = int64(binary.LittleEndian.Uint64(e[8:]))
	}
	return t, table, t.check(table)
}

// check says what in a footer contradicts itself.
func (t trailer) check(table []tableEntry) (reason string) {
	if t.puts < 0 || t.tombs < 0 || t.puts+t.tombs != t.recordsEnd-headerBytes ||
		t.records < 0 || (t.records == 0) != (t.recordsEnd == headerBytes) ||
		t.last.Less(t.first) {
		return "footer counts contradict each other"
	}
	if (t.records == 0) != (len(table) == 0) {
		return "footer table does not fit its counts"
	}
	for i, e := range table {
		if i == 0 && (e.off != headerBytes || e.main != t.first.Main) ||
			i > 0 && (e.off <= table[i-1].off || e.main < table[i-1].main) ||
			e.off >= t.recordsEnd || e.off%recordAlign != 0 || e.main > t.last.Main {
			return "footer table is out of order"
		}
	}
	return ""
}

package process

import (
	"os"
	"runtime"
	"testing"
)

// TestOpenFiles: one more file is one more.
func TestOpenFiles(t *testing.T) {
	before := OpenFiles()
	f, err := os.Open("process.go")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	after, limit := OpenFiles(), FileLimit()
	if runtime.GOOS == "linux" && (after != before+1 || uint64(after) > limit) {
		t.Errorf("%d files, then %d, of %d", before, after, limit)
	}
}

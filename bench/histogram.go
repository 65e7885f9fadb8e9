package bench

import (
	"math"
	"math/bits"
	"time"
)

// A Histogram counts durations in buckets whose width grows with the value: 128 for each doubling,
// so that a percentile is less than 0.8 % too high and never too low. Recording costs some
// nanoseconds and allocates nothing after the largest value. (The idea is that of HdrHistogram.)
// Its methods belong to one goroutine.
//
//	value in ns     0..127   128..255   256..511   512..1023   ...
//	bucket width       1          1          2          4      ...
type Histogram struct {
	counts []uint64
	count  uint64
	sum    float64 // of seconds
	square float64 // sum of squares
	min    time.Duration
	max    time.Duration
}

const (
	subBits = 7
	subSize = 1 << subBits
)

// bucket returns the number of a value's bucket.
func bucket(ns uint64) int {
	if ns < subSize {
		return int(ns)
	}
	shift := bits.Len64(ns) - subBits - 1
	return (shift+1)<<subBits + int(ns>>shift) - subSize
}

// upper returns the largest value in a bucket, in nanoseconds.
func upper(bucket int) uint64 {
	if bucket < subSize {
		return uint64(bucket)
	}
	shift := bucket>>subBits - 1
	return (uint64(bucket&(subSize-1))+subSize+1)<<shift - 1
}

// Record counts a duration; a negative one counts as none.
func (h *Histogram) Record(d time.Duration) {
	d = max(d, 0)
	i := bucket(uint64(d))
	if i >= len(h.counts) {
		counts := make([]uint64, max(i+1, 24*subSize)) // 24: up to a second without growing much
		copy(counts, h.counts)
		h.counts = counts
	}
	h.counts[i]++
	if h.count == 0 || d < h.min {
		h.min = d
	}
	h.count++
	s := d.Seconds()
	h.sum += s
	h.square += s * s
	h.max = max(h.max, d)
}

// Add counts what o has counted, too.
func (h *Histogram) Add(o *Histogram) {
	if o.count == 0 {
		return
	}
	if len(o.counts) > len(h.counts) {
		counts := make([]uint64, len(o.counts))
		copy(counts, h.counts)
		h.counts = counts
	}
	for i, n := range o.counts {
		h.counts[i] += n
	}
	if h.count == 0 || o.min < h.min {
		h.min = o.min
	}
	h.count += o.count
	h.sum += o.sum
	h.square += o.square
	h.max = max(h.max, o.max)
}

// Count returns how many durations were recorded.
func (h *Histogram) Count() uint64 { return h.count }

// Mean returns the average, 0 of nothing.
func (h *Histogram) Mean() time.Duration {
	if h.count == 0 {
		return 0
	}
	return time.Duration(h.sum / float64(h.count) * float64(time.Second))
}

// Deviation returns the standard deviation.
func (h *Histogram) Deviation() time.Duration {
	if h.count == 0 {
		return 0
	}
	mean := h.sum / float64(h.count)
	return time.Duration(math.Sqrt(max(0, h.square/float64(h.count)-mean*mean)) *
		float64(time.Second))
}

// Min and Max return the smallest and the largest duration, exactly.
func (h *Histogram) Min() time.Duration { return h.min }
func (h *Histogram) Max() time.Duration { return h.max }

// Percentile returns a value that a share (of 0..1) of the durations does not exceed: the smallest
// such value, rounded up to its bucket's end. Of nothing it is 0.
func (h *Histogram) Percentile(share float64) time.Duration {
	if h.count == 0 {
		return 0
	}
	rank := max(1, uint64(math.Ceil(share*float64(h.count))))
	var seen uint64
	for i, n := range h.counts {
		if seen += n; seen >= rank {
			return min(time.Duration(upper(i)), h.max)
		}
	}
	return h.max
}

// Bucket is a bar of a picture: how many durations are at most Upto, and more than the bar before.
type Bucket struct {
	Upto  time.Duration
	Count uint64
}

// Bars returns the whole as at most n bars of equal width between the smallest and the largest
// value; the last bar ends with the largest.
func (h *Histogram) Bars(n int) []Bucket {
	if h.count == 0 || n < 1 {
		return nil
	}
	width := (h.max - h.min + time.Duration(n) - 1) / time.Duration(n)
	if width == 0 {
		return []Bucket{{h.max, h.count}}
	}
	n = int((h.max - h.min + width - 1) / width) // of a few nanoseconds there are fewer
	bars := make([]Bucket, n)
	for i := range bars {
		bars[i].Upto = h.min + time.Duration(i+1)*width
	}
	bars[n-1].Upto = h.max
	for i, count := range h.counts {
		if count > 0 {
			at := (time.Duration(upper(i)) - h.min - 1) / width
			bars[min(max(int(at), 0), n-1)].Count += count
		}
	}
	return bars
}

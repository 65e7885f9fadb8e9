package revlog

// Interval is the main revisions from First to Last, both included.
type Interval struct{ First, Last int64 }

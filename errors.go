package cairn

// Code is a gRPC status code (the numbers of google.golang.org/grpc/codes).
type Code uint32

// The codes that the API's errors use.
const (
	CodeCanceled           Code = 1
	CodeUnknown            Code = 2
	CodeInvalidArgument    Code = 3
	CodeDeadlineExceeded   Code = 4
	CodeNotFound           Code = 5
	CodePermissionDenied   Code = 7
	CodeResourceExhausted  Code = 8
	CodeFailedPrecondition Code = 9
	CodeOutOfRange         Code = 11
	CodeUnimplemented      Code = 12
	CodeInternal           Code = 13
	CodeUnavailable        Code = 14
	CodeDataLoss           Code = 15
	CodeUnauthenticated    Code = 16
)

// Error is an error of the API: what a client sees, code and text exactly as etcd's
// (etcd api/v3/v3rpc/rpctypes/error.go, and server v3rpc/util.go for the codes on the wire).
// The values below are compared by identity; doors turn them into a status.
type Error struct {
	Code Code
	Text string
}

// Error is the text alone, as etcd's error strings are compared literally.
func (e *Error) Error() string { return e.Text }

func apiError(code Code, text string) *Error { return &Error{Code: code, Text: text} }

func invalid(text string) *Error { return apiError(CodeInvalidArgument, text) }
func precondition(text string) *Error {
	return apiError(CodeFailedPrecondition, text)
}
func outOfRange(text string) *Error { return apiError(CodeOutOfRange, text) }

// Errors of requests that are wrong in themselves, found before they are proposed.
var (
	ErrEmptyKey          = invalid("etcdserver: key is not provided")
	ErrKeyNotFound       = invalid("etcdserver: key not found")
	ErrValueProvided     = invalid("etcdserver: value is provided")
	ErrLeaseProvided     = invalid("etcdserver: lease is provided")
	ErrTooManyOps        = invalid("etcdserver: too many operations in txn request")
	ErrDuplicateKey      = invalid("etcdserver: duplicate key given in txn request")
	ErrInvalidSortOption = invalid("etcdserver: invalid sort option")
	ErrRequestTooLarge   = invalid("etcdserver: request is too large")
	ErrInvalidClientAPI  = invalid("etcdserver: invalid client api version")
	ErrBadMemberURLs     = invalid("etcdserver: given member URLs are invalid")
)

// Errors of requests that do not fit the store's state.
var (
	ErrCompacted     = outOfRange("etcdserver: mvcc: required revision has been compacted")
	ErrFutureRev     = outOfRange("etcdserver: mvcc: required revision is a future revision")
	ErrNoSpace       = apiError(CodeResourceExhausted, "etcdserver: mvcc: database space exceeded")
	ErrLeaseNotFound = apiError(CodeNotFound, "etcdserver: requested lease not found")
	ErrLeaseExists   = apiError(CodeFailedPrecondition, "etcdserver: lease already exists")
	ErrLeaseTTL      = outOfRange("etcdserver: too large lease TTL")
	ErrCorrupt       = apiError(CodeDataLoss, "etcdserver: corrupt cluster")
	ErrWatchCanceled = apiError(CodeCanceled, "etcdserver: watch canceled")
)

// Errors of the membership and of the roles in it.
var (
	ErrMemberNotFound = apiError(CodeNotFound, "etcdserver: member not found")
	ErrMemberExists   = precondition("etcdserver: member ID already exist")
	ErrPeerURLExists  = precondition("etcdserver: Peer URLs already exists")
	// ErrFewStarted has the code that etcd's server sends.
	ErrFewStarted = apiError(CodeUnknown,
		"etcdserver: re-configuration failed due to not enough started members")
	ErrMemberNotLearner = precondition("etcdserver: can only promote a learner member")
	ErrLearnerNotReady  = precondition(
		"etcdserver: can only promote a learner member which is in sync with leader")
	ErrTooManyLearners = precondition(
		"etcdserver: too many learner members in cluster")
	ErrNotForLearner = precondition("etcdserver: rpc not supported for learner")
	ErrNotLeader     = precondition("etcdserver: not leader")
	ErrBadTransferee = precondition("etcdserver: bad leader transferee")
	ErrUnhealthy     = apiError(CodeUnavailable, "etcdserver: unhealthy cluster")
)

// Errors of the moment: no leader, too much to do, the end of the process.
var (
	ErrNoLeader      = apiError(CodeUnavailable, "etcdserver: no leader")
	ErrLeaderChanged = apiError(CodeUnavailable, "etcdserver: leader changed")
	ErrStopped       = apiError(CodeUnavailable, "etcdserver: server stopped")
	ErrTimeout       = apiError(CodeUnavailable, "etcdserver: request timed out")
	// ErrTimeoutLeaderFailed answers a request that was under way when the leader failed: it may
	// still take effect.
	ErrTimeoutLeaderFailed = apiError(CodeUnavailable,
		"etcdserver: request timed out, possibly due to previous leader failure")
	// ErrTimeoutTransfer says that no new leader was known in time.
	ErrTimeoutTransfer = apiError(CodeUnknown,
		"etcdserver: request timed out, leader transfer took too long")
	ErrTooManyRequests = apiError(CodeUnknown, "etcdserver: too many requests")
	ErrCanceled        = apiError(CodeCanceled, "etcdserver: request canceled")
	// ErrDamaged answers a request that met a record whose checksum does not match; the log
	// of the server names the file and the offset.
	ErrDamaged = apiError(CodeDataLoss, "etcdserver: stored data is damaged; see the server's log")
)

// forwarded are the errors that members answer each other with.
var forwarded = []*Error{
	ErrLeaseNotFound, ErrCorrupt, ErrCompacted, ErrFutureRev, ErrMemberNotFound, ErrFewStarted,
	ErrMemberNotLearner, ErrLearnerNotReady, ErrNotLeader, ErrBadTransferee, ErrUnhealthy,
	ErrNoLeader, ErrLeaderChanged, ErrStopped, ErrTimeout, ErrTimeoutLeaderFailed,
	ErrTooManyRequests, ErrCanceled, ErrDamaged,
}

// ErrorOf returns the error of that code and text that another member answered: one of the values
// above if it is one that members send each other.
func ErrorOf(code Code, text string) *Error {
	for _, e := range forwarded {
		if e.Code == code && e.Text == text {
			return e
		}
	}
	return &Error{Code: code, Text: text}
}

package rpc

import "time"

// Limits of a connection, whatever its client says.
const (
	// maxFrameBytes is the largest payload that the server takes (SETTINGS_MAX_FRAME_SIZE).
	maxFrameBytes = 16 << 10
	// readBytes is the buffer that the reader reads into. It holds any frame.
	readBytes = 32 << 10

	// streamWindow is how many bytes of a request may come before they were looked at.
	streamWindow = 1 << 20
	// connWindow is the same for all requests of a connection together.
	connWindow = 16 << 20
	// maxBuffered bounds what a connection keeps of requests that are not complete or not read.
	maxBuffered = 64 << 20

	// maxOut ends reading: while so much waits to be written, the client is not listened to.
	maxOut = 1 << 20
	// maxQueued bounds what waits for the client's windows. An answer beyond it is replaced by an
	// error.
	maxQueued = 32 << 20

	// maxBlockBytes and maxContinuations bound the header block of a request, maxListBytes the
	// headers that come out of it (SETTINGS_MAX_HEADER_LIST_SIZE).
	maxBlockBytes    = 256 << 10
	maxContinuations = 64
	maxListBytes     = 256 << 10
	// maxStreams is how many streams a connection may have open, if the options allow more.
	maxStreams = 1 << 17
	// maxLong is how many calls of a connection run on goroutines of their own (Call.Go) at once;
	// further ones wait.
	maxLong = 16

	// nuisances is how many frames that bring nothing on (resets of what was just asked, settings,
	// priorities, empty data) a client may send in a row; they are forgiven at nuisanceRate per
	// second, one for each request that it lets the server answer, and messageForgives for each
	// message that is sent to it: a client may give the two windows of each back at once.
	nuisances       = 10_000
	nuisanceRate    = 200
	messageForgives = 2
	// streamsPerNuisance is how many streams new windows may touch for one more of them.
	streamsPerNuisance = 1000

	// maxPingStrikes is how many pings may come too early (grpc-go's keepalive enforcement).
	maxPingStrikes = 2
	// maxExcuses is how many pings may come for what was sent earlier.
	maxExcuses = 1 << 12
)

// Times.
const (
	// prefaceTime is how long a connection may take to show that it speaks HTTP/2.
	prefaceTime = 10 * time.Second
	// stallTime is how long a write may make no progress before the connection is given up; no
	// longer than a client may take to answer a ping.
	stallTime = 2 * time.Minute
	// leastRate is how many bytes per second a client takes of an answer that is written piece by
	// piece, all in all and after the first stallTime; what is slower is given up.
	leastRate = 64 << 10
	// lookTime for each stream of a connection is the least time between two looks at the deadlines
	// of all; a look takes less than a tenth of it.
	lookTime = time.Microsecond
	// closeTime is how long the last bytes of a connection that ends may take.
	closeTime = time.Second

	// graceTime and a part of the timeout (graceShare) are added to the deadline of a call. Clients
	// keep their deadlines themselves; etcd's sends a put again when a server says that time is
	// over and its own clock does not yet, so it must be over for both.
	graceTime  = 50 * time.Millisecond
	graceShare = 8

	// The defaults are grpc-go's.
	defaultKeepaliveMinTime  = 5 * time.Minute
	defaultKeepaliveInterval = 2 * time.Hour
	defaultKeepaliveTimeout  = 20 * time.Second
	// idlePingTime is the least time between pings of a client without a stream, if it may ping
	// without one at all.
	idlePingTime = 2 * time.Hour
)

// smallBytes is the least that a WINDOW_UPDATE has to be worth, and data of a stream that has ended
// has to bring, to be no nuisance.
const smallBytes = 256

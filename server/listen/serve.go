package listen

import (
	"log/slog"
	"math"
	"net/http"
	"time"
)

// Limits of the HTTP server.
const (
	headerTimeout = 30 * time.Second // to send the head of a request
	idleTimeout   = 5 * time.Minute  // between requests of a connection
	maxHeadBytes  = 1 << 20
)

// HTTPServer returns a server for Group.HTTP. maxStreams bounds the streams of an HTTP/2
// connection.
func HTTPServer(handler http.Handler, maxStreams uint32, log *slog.Logger) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           handler,
		Protocols:         &protocols,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeadBytes,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: int(min(maxStreams, math.MaxInt32)),
		},
		// What clients do wrong is no news.
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

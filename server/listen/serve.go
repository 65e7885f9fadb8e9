package listen

import (
	"context"
	"crypto/tls"
	"log/slog"
	"math"
	"net"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Limits of the HTTP server.
const (
	headerTimeout = 30 * time.Second // to send the head of a request
	idleTimeout   = 5 * time.Minute  // between requests of a connection
	maxHeadBytes  = 1 << 20
)

// HTTPServer returns a server for Group.HTTP. HTTP/2 requests whose content is gRPC go to grpc (a
// *grpc.Server; nil: nowhere special), all else to handler. maxStreams bounds the streams of an
// HTTP/2 connection.
func HTTPServer(handler, grpc http.Handler, maxStreams uint32, log *slog.Logger) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           route(handler, grpc),
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

func route(handler, grpc http.Handler) http.Handler {
	if grpc == nil {
		return handler
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind := r.Header.Get("Content-Type")
		if r.ProtoMajor == 2 && strings.HasPrefix(kind, "application/grpc") {
			grpc.ServeHTTP(w, r)
			return
		}
		handler.ServeHTTP(w, r)
	})
}

// Credentials are the transport credentials for a gRPC server on Group.GRPC: the handshake is done
// already, they only tell the server what came of it.
func Credentials() credentials.TransportCredentials { return done{insecure.NewCredentials()} }

// done answers handshakes with what the connection is.
type done struct {
	credentials.TransportCredentials
}

// ServerHandshake tells the state of TLS, or that there is none.
func (d done) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, ok := conn.(*tls.Conn)
	if !ok {
		return d.TransportCredentials.ServerHandshake(conn)
	}
	return conn, credentials.TLSInfo{
		State: secured.ConnectionState(),
		CommonAuthInfo: credentials.CommonAuthInfo{
			SecurityLevel: credentials.PrivacyAndIntegrity,
		},
	}, nil
}

// ClientHandshake is not for servers.
func (d done) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (
	net.Conn, credentials.AuthInfo, error,
) {
	return d.TransportCredentials.ClientHandshake(ctx, authority, conn)
}

// Clone returns d: it has no state.
func (d done) Clone() credentials.TransportCredentials { return d }

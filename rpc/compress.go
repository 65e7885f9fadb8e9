package rpc

import (
	"bytes"
	"encoding/base64"
	"io"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip" // the one coding that clients of etcd use
	"google.golang.org/grpc/status"
)

const (
	acceptEncoding = "gzip"
	cancelCode     = http2.ErrCodeCancel
	internalCode   = http2.ErrCodeInternal
)

// compressor finds a coding by its name.
func compressor(name string) encoding.Compressor { return encoding.GetCompressor(name) }

// expand undoes the coding of a message. What comes out is as bounded as one that was not coded.
func (s *Server) expand(coding string, msg []byte) ([]byte, *status.Status) {
	if coding == "" {
		return nil, status.New(codes.Internal,
			"grpc: compressed flag set with identity or empty encoding")
	}
	broken := func(err error) ([]byte, *status.Status) {
		return nil, status.Newf(codes.Internal,
			"grpc: failed to decompress the received message: %v", err)
	}
	r, err := compressor(coding).Decompress(bytes.NewReader(msg))
	if err != nil {
		return broken(err)
	}
	out, err := io.ReadAll(io.LimitReader(r, int64(s.opts.MaxRecvBytes)+1))
	if err != nil {
		return broken(err)
	}
	if len(out) > s.opts.MaxRecvBytes {
		return nil, status.Newf(codes.ResourceExhausted,
			"grpc: received message after decompression larger than max %d", s.opts.MaxRecvBytes)
	}
	return out, nil
}

// compressed codes a message, or returns it with a zero flag if it does not become shorter.
func compressed(coding string, msg []byte) (out []byte, flag byte) {
	var buf bytes.Buffer
	w, err := compressor(coding).Compress(&buf)
	if err == nil {
		if _, err = w.Write(msg); err == nil {
			err = w.Close()
		}
	}
	if err != nil {
		return msg, 0
	}
	return buf.Bytes(), 1
}

// encodeBinary codes the value of a binary header.
func encodeBinary(b []byte) string { return base64.RawStdEncoding.EncodeToString(b) }

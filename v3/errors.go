package v3

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairnkv/cairn"
)

// statusOf makes an error what goes out to the client; see Backend for the rules.
func statusOf(err error) error {
	if err == nil {
		return nil
	}
	if api, ok := errors.AsType[*cairn.Error](err); ok {
		return status.Error(codes.Code(api.Code), api.Text)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(err).Err()
	}
	if s, ok := status.FromError(err); ok {
		return s.Err()
	}
	return status.Error(codes.Unknown, err.Error())
}

// contextError is why a request's context ended: what the door ended it with, or the client's
// cancellation or deadline.
func contextError(ctx context.Context) error {
	if api, ok := errors.AsType[*cairn.Error](context.Cause(ctx)); ok {
		return api
	}
	return ctx.Err()
}

// codeOf is the code that an error goes out with.
func codeOf(err error) codes.Code { return status.Code(statusOf(err)) }

// malformed is what grpc-go answers to a unary request that does not decode.
func malformed(err error) *status.Status {
	return status.Newf(codes.Internal, "grpc: error unmarshalling request: %v", err)
}

// malformedInStream is the same for the message of a stream.
func malformedInStream(err error) error {
	return status.Errorf(codes.Internal, "grpc: failed to unmarshal the received message: %v", err)
}

// notYet answers RPCs that this version does not have.
func notYet(what string) error {
	return status.Errorf(codes.Unimplemented,
		"cairn: %s is not implemented in this version; nothing was changed", what)
}

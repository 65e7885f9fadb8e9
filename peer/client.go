package peer

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/member"
	"github.com/cairnkv/cairn/transport"
)

// Limits of answers.
const (
	// maxAnswerBytes bounds an answer that is read as a whole: keys of a lease, members.
	maxAnswerBytes = 64 << 20
	maxErrorBytes  = 4 << 10
)

// Doer sends a request to a member, trying its URLs in turn (transport.Transport).
type Doer interface {
	Do(ctx context.Context, id uint64, r transport.Request) (*http.Response, error)
}

// Getter asks who is not known as a member yet, by URL (transport.Transport).
type Getter interface {
	Get(ctx context.Context, urls []string, path string) (*http.Response, error)
}

// Client asks other members. Its errors: the *cairn.Error that the member answered, or one that
// says whom it could not reach.
type Client struct{ Doer }

// Renew asks the leader to renew leases; see Backend.Renew. At most MaxRenewals.
func (c Client) Renew(
	ctx context.Context, to cairn.MemberID, ids []cairn.LeaseID,
) ([]int64, error) {
	var body []byte
	for _, id := range ids {
		body = binary.LittleEndian.AppendUint64(body, uint64(id))
	}
	out, err := c.ask(ctx, to, "/cairn/leases/renew", body)
	if err != nil {
		return nil, err
	}
	if len(out) != len(body) {
		return nil, fmt.Errorf("member %x answered %d renewals with %d bytes",
			to, len(ids), len(out))
	}
	ttls := make([]int64, 0, len(ids))
	for ; len(out) > 0; out = out[8:] {
		ttls = append(ttls, int64(binary.LittleEndian.Uint64(out)))
	}
	return ttls, nil
}

// Lease asks the leader for a lease; see Backend.Lease.
func (c Client) Lease(
	ctx context.Context, to cairn.MemberID, id cairn.LeaseID, keys bool,
) (l Lease, err error) {
	err = c.askJSON(ctx, to, "/cairn/leases/ttl", leaseRequest{id, keys}, &l)
	return l, err
}

// Promote asks the leader to promote a learner; it returns the members after that.
func (c Client) Promote(ctx context.Context, to, id cairn.MemberID) (
	all []member.Member, err error,
) {
	path := "/members/promote/" + strconv.FormatUint(id, 10)
	err = c.askJSON(ctx, to, path, nil, &all)
	return all, err
}

// HandOver asks the leader to hand its office to a member, 0: to whom it likes.
func (c Client) HandOver(ctx context.Context, leader, to cairn.MemberID) error {
	path := "/cairn/leader/transfer/" + strconv.FormatUint(to, 10)
	return c.askJSON(ctx, leader, path, nil, &struct{}{})
}

// HashKV asks a member for its hash up to rev, 0: the newest.
func (c Client) HashKV(ctx context.Context, to cairn.MemberID, rev int64) (h HashKV, err error) {
	err = c.askJSON(ctx, to, "/members/hashkv", hashRequest{rev}, &h)
	return h, err
}

// Snapshot asks a member for the state as far as the caller lacks it; see Backend.SendSnapshot. The
// caller reads the stream to its end and closes it.
func (c Client) Snapshot(
	ctx context.Context, from cairn.MemberID, request []byte,
) (io.ReadCloser, error) {
	resp, err := c.post(ctx, from, "/cairn/snapshot", request)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

func (c Client) askJSON(
	ctx context.Context, to cairn.MemberID, path string, request, answer any,
) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	out, err := c.ask(ctx, to, path, body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(out, answer); err != nil {
		return fmt.Errorf("the answer of member %x to %s: %w", to, path, err)
	}
	return nil
}

func (c Client) ask(
	ctx context.Context, to cairn.MemberID, path string, body []byte,
) ([]byte, error) {
	resp, err := c.post(ctx, to, path, body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return readAnswer(resp.Body)
}

// post sends a request and checks that the answer is one.
func (c Client) post(
	ctx context.Context, to cairn.MemberID, path string, body []byte,
) (*http.Response, error) {
	resp, err := c.Do(ctx, to, transport.Request{
		Method: http.MethodPost, Path: path, Body: body,
	})
	if err != nil {
		return nil, err
	}
	return resp, check(resp, to)
}

func readAnswer(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxAnswerBytes+1))
	if err == nil && len(b) > maxAnswerBytes {
		err = fmt.Errorf("an answer of more than %d bytes", maxAnswerBytes)
	}
	return b, err
}

// Members asks the members at these URLs for the membership, one after the other until one answers.
func Members(ctx context.Context, t Getter, urls []string) (
	cluster uint64, all []member.Member, err error,
) {
	resp, err := t.Get(ctx, urls, "/members")
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, nil, fmt.Errorf("GET /members answered %s", resp.Status)
	}
	b, err := readAnswer(resp.Body)
	if err == nil {
		err = json.Unmarshal(b, &all)
	}
	if err != nil {
		return 0, nil, fmt.Errorf("GET /members: %w", err)
	}
	cluster, err = strconv.ParseUint(resp.Header.Get(headerCluster), 16, 64)
	if err != nil {
		return 0, nil, fmt.Errorf("GET /members: no cluster id: %w", err)
	}
	return cluster, all, nil
}

// check turns an answer that is none into an error and closes it.
func check(resp *http.Response, from cairn.MemberID) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBytes))
	if err != nil {
		return fmt.Errorf("member %x answered %s: %w", from, resp.Status, err)
	}
	text := strings.TrimSpace(string(bytes.ToValidUTF8(b, nil)))
	if code, err := strconv.ParseUint(resp.Header.Get(headerCode), 10, 32); err == nil {
		return cairn.ErrorOf(cairn.Code(code), text)
	}
	return fmt.Errorf("member %x answered %s: %s", from, resp.Status, text)
}

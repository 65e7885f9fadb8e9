package peer

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/member"
)

// Limits of requests.
const (
	// MaxRenewals bounds the leases of one renewal.
	MaxRenewals = 4096
	// maxBodyBytes bounds the other requests' bodies.
	maxBodyBytes = 1 << 20
	// sendPiece is how much of a snapshot goes to the system at once, and sendStall for how long
	// the receiver may take nothing of it: one that has lost power would hold what it is sent from
	// for the quarter of an hour that TCP takes to notice.
	sendPiece = 64 << 10
	sendStall = 10 * time.Second
	// bodyTimeout is for how long the body of a request may come.
	bodyTimeout = 10 * time.Second
)

// Backend is the member as its peers see it. All methods are safe for concurrent use; their
// errors are as those of v3.Backend.
type Backend interface {
	ClusterID() uint64
	Members() []member.Member
	// Renew renews leases, cairn.ErrNotLeader if this member does not lead. The result has the
	// time to live of each in seconds; see Renewed for other values.
	Renew(ctx context.Context, ids []cairn.LeaseID) ([]int64, error)
	// Lease describes a lease, of which only the leader knows the time; errors as for Renew, and
	// cairn.ErrLeaseNotFound.
	Lease(ctx context.Context, id cairn.LeaseID, keys bool) (Lease, error)
	Promote(ctx context.Context, id cairn.MemberID) ([]member.Member, error)
	HandOver(ctx context.Context, to cairn.MemberID) error
	HashKV(ctx context.Context, rev int64) (HashKV, error)
	// SendSnapshot streams the state as far as the caller lacks it; what that is says the
	// request, which is opaque here (package snapshot).
	SendSnapshot(ctx context.Context, to cairn.MemberID, w io.Writer, request []byte) error
}

// Values of a renewal's result that are no time to live.
const (
	// NotFound: there is no such lease.
	NotFound = 0
	// Ending: it has run out and is being revoked; who asks for it alone waits for the end.
	Ending = -1
)

// Lease describes a lease.
type Lease struct {
	TTL     int64    `json:"ttl"`     // seconds left
	Granted int64    `json:"granted"` // seconds as granted
	Keys    [][]byte `json:"keys,omitempty"`
}

// HashKV is the hash of what a member retains up to a revision.
type HashKV struct {
	Member     uint64 `json:"member_id"`
	Hash       uint32 `json:"hash"`
	HashRev    int64  `json:"hash_revision"`
	CompactRev int64  `json:"compact_revision"`
	CurrentRev int64  `json:"revision"`
}

// leaseRequest and hashRequest are the bodies of requests.
type (
	leaseRequest struct {
		ID   int64 `json:"id"`
		Keys bool  `json:"keys"`
	}
	hashRequest struct {
		Revision int64 `json:"revision"`
	}
)

// Headers.
const (
	headerCluster = "X-Etcd-Cluster-Id"
	headerCode    = "X-Cairn-Code"
)

// door answers peers.
type door struct {
	backend Backend
	clk     clock.Clock
	log     *slog.Logger
}

// Handler serves peers' requests.
func Handler(b Backend, clk clock.Clock, log *slog.Logger) http.Handler {
	d := &door{b, clk, log}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /members", d.members)
	mux.HandleFunc("POST /members/promote/{id}", d.promote)
	mux.HandleFunc("POST /members/hashkv", d.hashKV)
	mux.HandleFunc("POST /cairn/leases/renew", d.renew)
	mux.HandleFunc("POST /cairn/leases/ttl", d.lease)
	mux.HandleFunc("POST /cairn/leader/transfer/{id}", d.handOver)
	mux.HandleFunc("POST /cairn/snapshot", d.snapshot)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		own := fmt.Sprintf("%x", b.ClusterID())
		w.Header().Set(headerCluster, own)
		if got := r.Header.Get(headerCluster); got != "" && got != own && b.ClusterID() != 0 {
			http.Error(w, "cluster ID mismatch: this member is of "+own,
				http.StatusPreconditionFailed)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func (d *door) members(w http.ResponseWriter, _ *http.Request) {
	d.answer(w, d.backend.Members(), nil)
}

func (d *door) promote(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil {
		fail(w, cairn.ErrMemberNotFound)
		return
	}
	all, err := d.backend.Promote(r.Context(), id)
	d.answer(w, all, err)
}

func (d *door) handOver(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil {
		fail(w, cairn.ErrBadTransferee)
		return
	}
	d.answer(w, struct{}{}, d.backend.HandOver(r.Context(), id))
}

func (d *door) hashKV(w http.ResponseWriter, r *http.Request) {
	var q hashRequest
	if !d.decode(w, r, &q) {
		return
	}
	h, err := d.backend.HashKV(r.Context(), q.Revision)
	d.answer(w, h, err)
}

func (d *door) lease(w http.ResponseWriter, r *http.Request) {
	var q leaseRequest
	if !d.decode(w, r, &q) {
		return
	}
	l, err := d.backend.Lease(r.Context(), q.ID, q.Keys)
	d.answer(w, l, err)
}

func (d *door) renew(w http.ResponseWriter, r *http.Request) {
	body, err := d.body(w, r, 8*MaxRenewals)
	if err != nil || len(body) == 0 || len(body)%8 != 0 {
		http.Error(w, "the body must be 8 bytes for each lease, at most "+
			strconv.Itoa(MaxRenewals)+" of them", http.StatusBadRequest)
		return
	}
	var ids []cairn.LeaseID
	for ; len(body) > 0; body = body[8:] {
		ids = append(ids, int64(binary.LittleEndian.Uint64(body)))
	}
	ttls, err := d.backend.Renew(r.Context(), ids)
	if err != nil {
		fail(w, err)
		return
	}
	var out []byte
	for _, ttl := range ttls {
		out = binary.LittleEndian.AppendUint64(out, uint64(ttl))
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write(out) // a peer that went away cannot be told
}

func (d *door) snapshot(w http.ResponseWriter, r *http.Request) {
	have, err := d.body(w, r, maxBodyBytes)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	out := &sending{w, http.NewResponseController(w), d.clk, 0}
	to, err := strconv.ParseUint(r.Header.Get("X-Server-From"), 16, 64)
	if err != nil {
		http.Error(w, "X-Server-From names no member: "+err.Error(), http.StatusBadRequest)
		return
	}
	if err = d.backend.SendSnapshot(r.Context(), to, out, have); err == nil {
		return
	}
	if out.n == 0 {
		fail(w, err)
	}
	d.log.Warn("failed to send a snapshot", slog.String("to", r.Header.Get("X-Server-From")),
		slog.Int64("bytes", out.n), slog.Any("error", err))
	if out.n > 0 {
		panic(http.ErrAbortHandler) // the receiver must not take the end for the whole
	}
}

// sending is an answer that is written as long as its receiver takes it.
type sending struct {
	w    io.Writer
	conn *http.ResponseController
	clk  clock.Clock
	n    int64 // bytes that were written
}

func (s *sending) Write(p []byte) (written int, err error) {
	for written < len(p) && err == nil {
		err = s.conn.SetWriteDeadline(s.clk.Now().Add(sendStall)) // http.Server ends it again
		if err != nil {
			break
		}
		var n int
		n, err = s.w.Write(p[written:min(len(p), written+sendPiece)])
		written += n
	}
	if err == nil { // a small frame shows the receiver that it goes on
		err = s.conn.Flush()
	}
	s.n += int64(written)
	return written, err
}

// body reads a request's body, of at most limit bytes. One that does not come in time ends the
// connection.
func (d *door) body(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	conn := http.NewResponseController(w)
	if err := conn.SetReadDeadline(d.clk.Now().Add(bodyTimeout)); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		return nil, err
	}
	// From here on the server waits for the client to go away, however long the answer takes.
	return body, conn.SetReadDeadline(time.Time{})
}

func (d *door) decode(w http.ResponseWriter, r *http.Request, into any) bool {
	body, err := d.body(w, r, maxBodyBytes)
	if err == nil {
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		http.Error(w, "the body is no such request: "+err.Error(), http.StatusBadRequest)
	}
	return err == nil
}

// answer sends v as JSON, or the error.
func (d *door) answer(w http.ResponseWriter, v any, err error) {
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		d.log.Debug("answer a peer", slog.Any("error", err)) // it went away
	}
}

// fail sends an error so that the client can tell which of the API's it is.
func fail(w http.ResponseWriter, err error) {
	if api, ok := errors.AsType[*cairn.Error](err); ok {
		w.Header().Set(headerCode, strconv.FormatUint(uint64(api.Code), 10))
		http.Error(w, api.Text, http.StatusConflict)
		return
	}
	http.Error(w, err.Error(), http.StatusInternalServerError)
}

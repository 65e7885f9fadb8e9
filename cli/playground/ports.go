package playground

import (
	"fmt"
	"net"
)

const (
	// namePrefix and a digit are a member's name.
	namePrefix = "m"

	host = "127.0.0.1"

	// firstPort and portStep give the ports that are tried first, so that they are mostly the same:
	// 23790 for clients, 23791 for peers, 23792 behind the proxy. They lie below the range from
	// which systems take the ports of outgoing connections.
	firstPort, portStep = 23790, 10
	// portTries is how many steps are tried.
	portTries = 500
)

// ports are those of one member.
type ports struct {
	Client int `json:"client"`
	Proxy  int `json:"proxy"` // what peers are told
	Peer   int `json:"peer"`  // what stands behind the proxy
}

func (p ports) endpoint() string { return fmt.Sprintf("%s:%d", host, p.Client) }
func (p ports) peerURL() string  { return fmt.Sprintf("http://%s:%d", host, p.Proxy) }

// portsFrom returns the three ports from one on.
func portsFrom(first int) ports { return ports{first, first + 1, first + 2} }

// freePorts finds ports that nobody listens on and that taken does not hold. A base other than 0
// gives those of the first member, and those of the others by steps.
func freePorts(base int, taken map[int]bool) (ports, error) {
	start, tries := firstPort, portTries
	if base != 0 {
		start, tries = base, maxMembers
	}
	var last error
	for i := range tries {
		p := portsFrom(start + i*portStep)
		if taken[p.Client] {
			continue
		}
		err := p.free()
		if err == nil {
			return p, nil
		}
		if last = err; base != 0 {
			break // the user wants these and no others
		}
	}
	return ports{}, fmt.Errorf("no free ports from %d on (--base-port names others): %w", start,
		last)
}

// free says, as an error, that one of the ports is in use.
func (p ports) free() error {
	for _, port := range []int{p.Client, p.Proxy, p.Peer} {
		l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", host, port))
		if err != nil {
			return err
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}

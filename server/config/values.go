package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// errParse and errRange are the words of Go's flag package, which etcd's messages contain.
var (
	errParse = errors.New("parse error")
	errRange = errors.New("value out of range")
)

// errInvalid is etcd's word for a value that is none of the valid ones.
var errInvalid = errors.New("invalid value")

// assign parses s by the type that dst points to and stores it. Numbers may be written in any base
// that Go knows (0x10), as in etcd.
func assign(dst any, s string) error {
	var err error
	switch p := dst.(type) {
	case *string:
		*p = s
	case *bool:
		var v bool
		if v, err = strconv.ParseBool(s); err != nil {
			return errParse
		}
		*p = v
	case *uint:
		var v uint64
		v, err = strconv.ParseUint(s, 0, strconv.IntSize)
		*p = uint(v)
	case *uint32:
		v, err := strconv.ParseUint(s, 0, 32)
		*p = uint32(v)
		return err // etcd has a type of its own for these, with strconv's text
	case *uint64:
		*p, err = strconv.ParseUint(s, 0, 64)
	case *int:
		var v int64
		v, err = strconv.ParseInt(s, 0, strconv.IntSize)
		*p = int(v)
	case *int64:
		*p, err = strconv.ParseInt(s, 0, 64)
	case *time.Duration:
		if *p, err = time.ParseDuration(s); err != nil {
			return errParse
		}
	case *[]string:
		*p = splitUnique(s)
	case *URLs:
		return assignURLs(p, s)
	case *Gates:
		return p.set(s)
	default:
		return fmt.Errorf("no parser for %T", dst)
	}
	if errors.Is(err, strconv.ErrRange) {
		return errRange
	}
	if err != nil {
		return errParse
	}
	return nil
}

// check parses s as kind k and drops it.
func check(k kind, s string) error {
	switch k {
	case boolean:
		return assign(new(bool), s)
	case signed:
		return assign(new(int64), s)
	case unsigned:
		return assign(new(uint64), s)
	case duration:
		return assign(new(time.Duration), s)
	case addresses:
		return assign(new(URLs), s)
	default:
		return nil
	}
}

// splitUnique splits at commas and drops repetitions, keeping the order. "" is no element.
func splitUnique(s string) []string {
	if s == "" {
		return nil
	}
	var out []string
	for _, v := range strings.Split(s, ",") {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// assignURLs parses a comma-separated list. An empty list keeps what is there, as etcd does.
func assignURLs(dst *URLs, s string) error {
	if s == "" {
		return nil
	}
	parsed, err := ParseURLs(strings.Split(s, ","))
	if err != nil {
		return err
	}
	*dst = slices.CompactFunc(parsed, func(a, b url.URL) bool { return a.String() == b.String() })
	return nil
}

// ParseURLs parses addresses of listeners or members: http and https as scheme://host:port without
// a path, unix and unixs as a socket's path. The result is sorted. The errors are etcd's
// (client/pkg/types/urls.go).
func ParseURLs(list []string) (URLs, error) {
	if len(list) == 0 {
		return nil, errors.New("no valid URLs given")
	}
	out := make(URLs, 0, len(list))
	for _, s := range list {
		s = strings.TrimSpace(s)
		u, err := url.Parse(s)
		if err != nil {
			return nil, err
		}
		switch u.Scheme {
		case "http", "https":
			if _, _, err := net.SplitHostPort(u.Host); err != nil {
				return nil, fmt.Errorf(`URL address does not have the form "host:port": %s`, s)
			}
			if u.Path != "" {
				return nil, fmt.Errorf("URL must not contain a path: %s", s)
			}
		case "unix", "unixs":
		default:
			return nil, fmt.Errorf("URL scheme must be http, https, unix, or unixs: %s", s)
		}
		out = append(out, *u)
	}
	slices.SortFunc(out, func(a, b url.URL) int { return strings.Compare(a.String(), b.String()) })
	return out, nil
}

// parseCORS checks a list of origins: "*" or URLs with a port.
func parseCORS(s string) error {
	if s == "" || s == "*" {
		return nil
	}
	_, err := ParseURLs(strings.Split(s, ","))
	return err
}

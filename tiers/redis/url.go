package redis

// Where the servers are, as a URL says it, in the forms that users of other
// clients know. No text made here repeats any part of a URL: it may hold a password.

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/redis/rueidis"
)

// A place is where the servers are and how one finds the right one among them.
type place struct {
	network string   // "tcp" or "unix"
	addrs   []string // of the server, of some nodes of a cluster, or of Sentinels
	cluster bool
	master  string // by which name Sentinels know the server; "": no Sentinels
}

// parseURL returns where the servers are, and who asks them for what.
func parseURL(text string) (p place, opt rueidis.ClientOption, err error) {
	if text == "" {
		return p, opt, fmt.Errorf("URL is empty; write redis://host:6379")
	}
	u, err := url.Parse(text)
	if err != nil { // its text repeats the URL
		return p, opt, fmt.Errorf("URL cannot be parsed; special characters in user and password are written as %%XX")
	}
	opt.Username = u.User.Username()
	opt.Password, _ = u.User.Password()
	switch {
	case u.Scheme != "redis" && u.Scheme != "rediss" && u.Scheme != "unix":
		return p, opt, fmt.Errorf("URL does not begin with redis://, rediss:// or unix://")
	case u.Fragment != "":
		return p, opt, fmt.Errorf("URL has a part behind '#'")
	case opt.Username != "" && opt.Password == "":
		return p, opt, fmt.Errorf("URL names a user without a password; redis://:password@host is the form without a user")
	case u.Scheme == "unix":
		p, err = socket(u)
		return p, opt, err
	case u.Scheme == "rediss":
		opt.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12} // the name to check is that of each address
	}
	if p, err = hosts(u); err != nil {
		return p, opt, err
	}
	if db := strings.Trim(u.Path, "/"); db != "" {
		n, err := strconv.ParseUint(db, 10, 16)
		if err != nil {
			return p, opt, fmt.Errorf("URL has a path that is no number of a database")
		}
		opt.SelectDB = int(n)
	}
	if p.cluster && opt.SelectDB != 0 {
		return p, opt, fmt.Errorf("URL has the number of a database; a cluster has none but 0")
	}
	return p, opt, nil
}

// socket is the place of unix://user:password@/path/to/socket.
func socket(u *url.URL) (place, error) {
	switch {
	case u.Host != "" || len(u.Path) < 2:
		return place{}, fmt.Errorf("URL names no socket; write unix:///path/to/socket")
	case u.RawQuery != "" || u.ForceQuery:
		return place{}, fmt.Errorf("URL of a socket has parameters; none is supported")
	}
	return place{network: "unix", addrs: []string{u.Path}}, nil
}

// hosts is the place of a URL with a host, by its parameters.
func hosts(u *url.URL) (place, error) {
	p := place{network: "tcp"}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return p, fmt.Errorf("URL has parameters that cannot be parsed")
	}
	for name, values := range query {
		switch {
		case name == "addr":
		case name == "cluster" && len(values) == 1 && values[0] == "true":
			p.cluster = true
		case name == "master_set" && len(values) == 1 && values[0] != "":
			p.master = values[0]
		default:
			return p, fmt.Errorf("URL has parameters that are not supported; these are: addr=host:port for each further address, cluster=true, master_set=name")
		}
	}
	if p.cluster && p.master != "" {
		return p, fmt.Errorf("URL has both parameters cluster and master_set; a cluster has no Sentinels")
	}
	for _, host := range append([]string{u.Host}, query["addr"]...) {
		addr, err := address(host, p.master != "")
		if err != nil {
			return p, err
		}
		p.addrs = append(p.addrs, addr)
	}
	p.cluster = p.cluster || len(p.addrs) > 1 && p.master == ""
	return p, nil
}

// address completes host:port by the usual port.
func address(text string, sentinel bool) (string, error) {
	u := url.URL{Host: text}
	host, port := u.Hostname(), u.Port()
	switch {
	case host == "" || strings.ContainsAny(host, "/@?#, "):
		return "", fmt.Errorf("URL names no host; write redis://host:6379, and further hosts as ?addr=host:6379")
	case strings.Count(text, ":") > 1 && text[0] != '[':
		return "", fmt.Errorf("URL has an IPv6 address without brackets; write [::1]:6379")
	case port == "" && strings.Count(text, ":") > 0 && !strings.HasSuffix(text, "]"):
		return "", fmt.Errorf("URL has a port that is none")
	case port == "" && sentinel:
		port = "26379"
	case port == "":
		port = "6379"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("URL has a port that is none")
	}
	return net.JoinHostPort(host, port), nil
}

// loopback reports whether addr, host:port, cannot be but on this machine. Of
// names only localhost is taken for that: what others resolve to may change.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

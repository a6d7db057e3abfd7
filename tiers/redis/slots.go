package redis

// A cluster: which node owns which keys, as one of them says, asked again every
// few seconds and whenever a command was sent elsewhere (route.go).

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

const (
	slotCount = 16384

	// slotsEvery is how often the map is asked for, without a sign that it has
	// changed. A change is noticed by the first command to a key that has moved.
	slotsEvery = 2 * time.Second
)

// slots says which node owns which keys. It is immutable.
type slots struct {
	owner [slotCount]string // address; "": nobody
}

// nodes returns the addresses of all owners.
func (m *slots) nodes() []string {
	seen := map[string]bool{}
	for _, addr := range m.owner {
		if addr != "" {
			seen[addr] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// readSlots asks a node who owns what.
func readSlots(c rueidis.Client, asked string) (*slots, error) {
	ranges, err := c.Do(context.Background(), c.B().Arbitrary("CLUSTER", "SLOTS").Build()).ToArray()
	if err != nil {
		return nil, err
	}
	m := &slots{}
	for _, r := range ranges {
		fields, err := r.ToArray()
		if err != nil || len(fields) < 3 {
			return nil, errSlots
		}
		first, err1 := fields[0].AsInt64()
		last, err2 := fields[1].AsInt64()
		master, err3 := fields[2].ToArray()
		if err := errors.Join(err1, err2, err3); err != nil || first < 0 || last >= slotCount || len(master) < 2 {
			return nil, errSlots
		}
		host, err1 := master[0].ToString()
		port, err2 := master[1].AsInt64()
		if err1 != nil && !rueidis.IsRedisNil(err1) || err2 != nil {
			return nil, errSlots
		}
		addr := announced(host, strconv.FormatInt(port, 10), asked)
		for i := first; i <= last; i++ {
			m.owner[i] = addr
		}
	}
	return m, nil
}

// announced is the address of a node as the node at from names it, "" for a node
// without a name. Who does not know an address, its own among them, names the port
// alone: the host is then that by which it was asked.
func announced(host, port, from string) string {
	switch host {
	case "?":
		return ""
	case "":
		host, _, _ = net.SplitHostPort(from)
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), port)
}

var errSlots = errors.New("the answer to CLUSTER SLOTS is not understood")

// beginCluster connects to every node that owns keys. One that does not answer
// is the end of it: with less than all, no heartbeat could vouch for the rest.
func (s *session) beginCluster() error {
	m, err := s.firstSlots()
	if err != nil {
		return err
	}
	addrs := m.nodes()
	if len(addrs) == 0 {
		return errors.New("no node of the cluster that has a name owns any key")
	}
	errs := make([]error, len(addrs))
	opened := make([]*node, len(addrs))
	var dials sync.WaitGroup
	for i, addr := range addrs {
		dials.Go(func() { opened[i], errs[i] = s.open(addr) })
	}
	dials.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, n := range opened {
		if n != nil {
			errs[i] = s.addLocked(n) // so that end finds it
		}
	}
	s.slots.Store(m)
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return errs[i] // the text of several could not be classed
	}
	return nil
}

// firstSlots asks one address after the other, beginning anywhere: one of them
// may be cut off from the others, and not know it.
func (s *session) firstSlots() (*slots, error) {
	addrs := s.set.addrs
	from := rand.N(len(addrs))
	var failed error
	for i := range addrs {
		m, err := s.slotsAt(addrs[(from+i)%len(addrs)])
		if err == nil {
			return m, nil
		}
		failed = weightier(failed, err)
	}
	return nil, failed
}

// slotsAt asks the node at addr, by a connection for this alone.
func (s *session) slotsAt(addr string) (m *slots, err error) {
	n, err := s.open(addr)
	if err != nil {
		return nil, err
	}
	defer n.end()
	err = n.conn.await(func() (err error) { m, err = readSlots(n.client, addr); return err })
	return m, err
}

// lookAtSlots asks a node for the map. A node that owns keys now is connected
// to; when one owns none any more the session ends, for what was read there is
// heard of no more.
func (s *session) lookAtSlots() error {
	nodes := *s.nodes.Load()
	n := nodes[rand.N(len(nodes))]
	m, err := readSlots(n.client, n.addr)
	if err != nil {
		return err
	}
	old := s.slots.Load()
	if m.owner == old.owner {
		return nil
	}
	owners := m.nodes()
	for _, addr := range old.nodes() {
		if !slices.Contains(owners, addr) {
			return errors.New("a node of the cluster has given up its keys")
		}
	}
	for _, addr := range owners {
		if _, err := s.join(addr); err != nil {
			return err
		}
	}
	s.slots.Store(m)
	s.announceMoved(old, m)
	return nil
}

// slotOf is the slot of a key: by the part in braces, if there is one.
func slotOf(key string) uint16 {
	if _, rest, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(rest, "}"); ok && tag != "" {
			key = tag
		}
	}
	var crc uint16
	for i := range len(key) {
		crc = crc<<8 ^ crcTable[byte(crc>>8)^key[i]]
	}
	return crc % slotCount
}

// crcTable is CRC-16/XMODEM, the polynomial 0x1021.
var crcTable = func() (table [256]uint16) {
	for i := range table {
		crc := uint16(i) << 8
		for range 8 {
			carry := crc & 0x8000
			crc <<= 1
			if carry != 0 {
				crc ^= 0x1021
			}
		}
		table[i] = crc
	}
	return table
}()

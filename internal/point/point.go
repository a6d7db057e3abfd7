// Package point names the places in the library where a test, the simulator or
// a planted bug may step in: the windows between a decision and its effect.
//
// A production binary pays one atomic load and a nil check per point. No point
// lies on the path of Get.
package point

import "sync/atomic"

// A Point is a place in the library.
type Point string

const (
	InstallSwap  Point = "install: decided, not yet swapped"
	PublishShow  Point = "publish: the handle has it, reads by name are not told yet"
	FlightJoin   Point = "flight: before a caller starts or joins one"
	FlightSend   Point = "flight: token taken, request not yet sent"
	FlightSettle Point = "flight: answered, not yet installed"
	FillSend     Point = "fill: source answered, cache not yet filled"
	WriteCommit  Point = "write: committed, not yet installed here"
	WriteFill    Point = "write: installed here, cache not yet filled"
	ExpireClaim  Point = "expire: found dead, not yet claimed"
	ExpireSwap   Point = "expire: claimed, default not yet published"
	RelayFill    Point = "relay: source answered, cache not yet offered it"
	PushHandle   Point = "push: received, token not yet moved"
)

// A Hook is called at each point with the manager that passes it and the name
// of the option concerned, which may be empty. It runs on the goroutine that
// passes the point and may block it.
type Hook func(p Point, owner any, name string)

var hook atomic.Pointer[Hook]

// At passes a point.
func At(p Point, owner any, name string) {
	if h := hook.Load(); h != nil {
		(*h)(p, owner, name)
	}
}

// Set installs h for the whole process, nil for none, and returns what restores the one before.
func Set(h Hook) (restore func()) {
	var p *Hook
	if h != nil {
		p = &h
	}
	old := hook.Swap(p)
	return func() { hook.Store(old) }
}

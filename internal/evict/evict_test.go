package evict

import (
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unsafe"
)

// What an order promises, promise by promise. model_test.go holds it against a
// slow model of all of them.

type entry struct {
	node Node
	key  string
	kept bool
}

func (e *entry) Node() *Node { return &e.node }
func (e *entry) Key() string { return e.key }

func (e *entry) uses() uint32 { return e.node.Flags.Load() & UsesMask }

// newLog returns an order that keeps what is kept, and the keys that it evicted.
func newLog(limit int) (o *Order[*entry], gone *[]string) {
	gone = &[]string{}
	o = New(limit, func(e *entry) bool { return e.kept }, func(e *entry) { *gone = append(*gone, e.key) })
	return o, gone
}

func add(o *Order[*entry], keys ...string) (added []*entry) {
	for _, key := range keys {
		e := &entry{key: key}
		o.Add(e)
		added = append(added, e)
	}
	return added
}

func numbers(from, to int) (keys []string) {
	for i := from; i < to; i++ {
		keys = append(keys, strconv.Itoa(i))
	}
	return keys
}

func TestTheOldestUnusedIsEvicted(t *testing.T) {
	o, gone := newLog(3)
	e := add(o, "a", "b", "c")
	e[0].node.Used()
	add(o, "d", "e")
	if want := []string{"b", "c"}; !slices.Equal(*gone, want) {
		t.Errorf("%v were evicted, want %v", *gone, want)
	}
}

func TestAScanLeavesWhatIsUsed(t *testing.T) {
	o, gone := newLog(1000)
	for _, e := range add(o, numbers(0, 500)...) {
		e.node.Used()
	}
	add(o, numbers(1000, 11_000)...)
	for _, key := range *gone {
		if len(key) < 4 {
			t.Fatalf("%s was evicted by a scan, though it was used", key)
		}
	}
}

// What was evicted and is asked for again was evicted too early: it must not
// have to pass the probation a second time.
func TestWhatComesBackSoonNeedsNoProbation(t *testing.T) {
	o, gone := newLog(100)
	add(o, numbers(0, 120)...)
	back := add(o, (*gone)[len(*gone)-1])[0]
	add(o, numbers(1000, 1200)...)
	if slices.Contains((*gone)[20:], back.key) {
		t.Error("it was evicted again by entries that were added once")
	}
}

func TestUsedWritesNothingOnceSaturated(t *testing.T) {
	var n Node
	const owner = 0xabcd << 3
	n.Flags.Store(owner)
	for range 100 {
		n.Used()
	}
	if w := n.Flags.Load(); w != owner|saturated {
		t.Errorf("the word is %#x, want %#x", w, owner|saturated)
	}
}

func TestTheOwnersFlagsSurvive(t *testing.T) {
	o, _ := newLog(4)
	const owner = 0x5a5a5a5a &^ UsesMask
	e := add(o, "a", "b", "c", "d")
	e[1].node.Flags.Or(owner)
	for i := range 20 {
		e[1].node.Used()
		add(o, strconv.Itoa(i))
	}
	if w := e[1].node.Flags.Load() &^ UsesMask; w != owner {
		t.Errorf("the owner's flags are %#x, want %#x", w, uint32(owner))
	}
}

func TestKeptEntriesStayAndNothingHangs(t *testing.T) {
	for _, limit := range []int{1, 2, 10, 1000} {
		o, gone := newLog(limit)
		for i := range 2*limit + 300 {
			o.Add(&entry{key: strconv.Itoa(i), kept: true})
		}
		if len(*gone) > 0 || o.Len() != 2*limit+300 {
			t.Fatalf("limit %d: %d of %d are held, though all are kept", limit, o.Len(), 2*limit+300)
		}
	}
}

func TestTheBoundIsRestoredWhenNothingIsKeptAnyMore(t *testing.T) {
	o, gone := newLog(10)
	var kept []*entry
	for i := range 500 {
		e := &entry{key: strconv.Itoa(i), kept: true}
		kept = append(kept, e)
		o.Add(e)
	}
	for _, e := range kept {
		e.kept = false
	}
	add(o, "next")
	if o.Len() != 10 || len(*gone) != 491 {
		t.Errorf("%d are held and %d were evicted, want 10 and 491", o.Len(), len(*gone))
	}
}

// However much was used, one Add looks at a bounded number of entries, and takes
// the first of the least used.
func TestAnAddAfterManyHitsIsNoLongWalk(t *testing.T) {
	looked, gone := 0, ""
	o := New(100_000, func(*entry) bool { looked++; return false }, func(e *entry) { gone = e.key })
	for _, e := range add(o, numbers(0, 100_000)...) {
		for range saturated {
			e.node.Used()
		}
	}
	add(o, "next")
	if looked == 0 || looked > patience || o.Len() != 100_000 || gone != "0" {
		t.Errorf("it looked at %d entries, evicted %s, and holds %d", looked, gone, o.Len())
	}
}

func TestReplaceKeepsPlaceAndUses(t *testing.T) {
	o, gone := newLog(3)
	e := add(o, "a", "b", "c")
	e[0].node.Used()
	next := &entry{key: "a"}
	next.node.Flags.Or(UsesMask + 1)
	o.Replace(e[0], next)
	if next.node.Flags.Load() != UsesMask+2 || o.Len() != 3 {
		t.Fatalf("the word is %d and %d are held, want %d and 3", next.node.Flags.Load(), o.Len(), UsesMask+2)
	}
	o.Remove(e[0]) // no longer held: nothing happens
	add(o, "d")
	if want := []string{"b"}; !slices.Equal(*gone, want) || o.Len() != 3 {
		t.Errorf("%v were evicted, want %v; %d are held", *gone, want, o.Len())
	}
	stranger := &entry{key: "e"}
	o.Replace(e[0], stranger)
	o.Remove(stranger)
	if o.Len() != 2 {
		t.Errorf("what replaces nothing is not added: %d are held", o.Len())
	}
}

func TestAnotherOrdersEntryIsNotHeld(t *testing.T) {
	o, _ := newLog(10)
	other, _ := newLog(10)
	e := add(o, "a", "b")
	add(other, "a", "b")
	other.Remove(e[1])
	if o.Len() != 2 || other.Len() != 2 {
		t.Errorf("%d and %d are held, want 2 and 2", o.Len(), other.Len())
	}
	o.Remove(e[1])
	o.Remove(e[1])
	other.Add(e[1])
	if o.Len() != 1 || other.Len() != 3 {
		t.Errorf("%d and %d are held, want 1 and 3", o.Len(), other.Len())
	}
}

// Hits come from any goroutine while the owner's lock is held for the rest.
func TestHitsNeedNoLock(t *testing.T) {
	o, _ := newLog(64)
	shared := add(o, numbers(0, 64)...)
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					shared[i%64].node.Used()
				}
			}
		})
	}
	add(o, numbers(100, 10_000)...)
	close(stop)
	readers.Wait()
	if o.Len() != 64 {
		t.Errorf("%d are held, want 64", o.Len())
	}
	for _, e := range shared {
		if e.uses() != e.node.Flags.Load() {
			t.Fatalf("a count ran over: %#x", e.node.Flags.Load())
		}
	}
}

// A full order costs about 11 bytes an entry, also when all began on probation,
// and a smaller one gives back what it had.
func TestMemoryFollowsWhatIsHeld(t *testing.T) {
	const limit = 10_000
	o, _ := newLog(limit)
	slots := func() int { return cap(o.young.slots) + cap(o.main.slots) }
	var held []*entry
	for range 3 {
		held = append(held, add(o, numbers(0, limit)...)...)
		for _, e := range held {
			e.node.Used()
		}
	}
	if bytes := 8*slots() + 32*len(o.ghosts.buckets); bytes > 12*limit {
		t.Errorf("%d bytes for %d entries", bytes, limit)
	}
	for _, e := range held {
		o.Remove(e)
	}
	for i := range 2 * limit {
		o.Remove(add(o, strconv.Itoa(i))[0])
	}
	if o.Len() != 0 || slots() > limit+limit/4 {
		t.Errorf("an empty order holds %d and has %d slots", o.Len(), slots())
	}
}

func TestANodeIsSmallAndAHitIsInlined(t *testing.T) {
	if size := unsafe.Sizeof(Node{}); size != 8 {
		t.Errorf("a Node has %d bytes, want 8", size)
	}
	out, err := exec.Command("go", "build", "-gcflags=-m", ".").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "can inline (*Node).Used") {
		t.Errorf("Used is not inlined: %v", err)
	}
}

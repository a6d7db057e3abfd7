package fastopt

import (
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/memory"
)

// The size of a handle and of an entry, and that reads allocate nothing, are
// what the price of a read rests on: over many options the bytes touched are
// what a read costs. So they are promises, and checked as such.

const word = unsafe.Sizeof(uintptr(0))

func TestHandleIsTwoWords(t *testing.T) {
	if n := unsafe.Sizeof(Option[int]{}); n != 2*word {
		t.Errorf("Option[int] has %d bytes, want %d", n, 2*word)
	}
	if n := unsafe.Sizeof(Option[[4]string]{}); n != 2*word {
		t.Errorf("Option[[4]string] has %d bytes, want %d", n, 2*word)
	}
	if at := unsafe.Offsetof(Option[int]{}.current); at != 0 {
		t.Errorf("the pointer that Get loads stands at %d, want 0", at)
	}
}

func TestEntryIsTheValueAndOneWord(t *testing.T) {
	if n := unsafe.Sizeof(entry[bool]{}); n != 2*word {
		t.Errorf("entry[bool] has %d bytes, want %d", n, 2*word)
	}
	if n := unsafe.Sizeof(entry[int]{}); n != 2*word {
		t.Errorf("entry[int] has %d bytes, want %d", n, 2*word)
	}
	if n := unsafe.Sizeof(entry[string]{}); n != 3*word {
		t.Errorf("entry[string] has %d bytes, want %d", n, 3*word)
	}
	if n := unsafe.Sizeof(entry[[4]int]{}); n != 5*word {
		t.Errorf("entry[[4]int] has %d bytes, want %d", n, 5*word)
	}
	if at := unsafe.Offsetof(entry[string]{}.value); at != 0 {
		t.Errorf("the value of an entry stands at %d, want 0", at)
	}
}

func TestAMemberIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(member[int64]{}); n > 64 {
		t.Errorf("member[int64] has %d bytes, want at most 64, a cache line", n)
	}
	if at := unsafe.Offsetof(member[string]{}.value); at != 0 {
		t.Errorf("the value of a member stands at %d, want 0", at)
	}
}

func TestASlotOfTheTableOfNamesIsHalfACacheLine(t *testing.T) {
	if n := unsafe.Sizeof(nameSlot{}); n > 32 {
		t.Errorf("nameSlot has %d bytes, want at most 32", n)
	}
}

// sizeWorld is a manager over a store that holds a value for each option.
type sizeWorld struct {
	m     *Manager
	count *Option[int]
	text  *Option[string]
	pair  *Option[[2]string]
	limit *Family[int]
}

func newSizeWorld(t *testing.T) sizeWorld {
	t.Helper()
	var r Registry
	w := sizeWorld{
		count: New(&r, "count", 1), text: New(&r, "text", "short"),
		pair: New(&r, "pair", [2]string{"left", "right"}), limit: DeclareFamily(&r, FamilySpec[int]{Prefix: "limit", MaxEntries: 1000}),
	}
	m, err := Open(t.Context(), Config{Namespace: "size", Source: sizeSource(t)}, &r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	w.m = m
	if r := w.limit.Load(t.Context(), "tenant-42"); r.Value != 1_000_000 {
		t.Fatalf("the member of the family reads %+v", r)
	}
	return w
}

func TestReadsDoNotAllocate(t *testing.T) {
	w := newSizeWorld(t)
	var anySink any
	var sink int
	name := strings.Clone("text")
	key := strings.Clone("tenant-42")
	reads := map[string]func(){
		"Option.Get of an int":          func() { sink += w.count.Get() },
		"Option.Get of a string":        func() { sink += len(w.text.Get()) },
		"Option.Get of two strings":     func() { sink += len(w.pair.Get()[1]) },
		"Option.Inspect":                func() { sink += int(w.count.Inspect().State) },
		"Option.Load of a fresh option": func() { sink += w.count.Load(t.Context()).Value },
		"Family.Get of a member":        func() { sink += w.limit.Get(key) },
		"Manager.Get":                   func() { anySink, _ = w.m.Get(name) },
	}
	for what, read := range reads {
		if n := testing.AllocsPerRun(1000, read); n != 0 {
			t.Errorf("%s allocates %v times", what, n)
		}
	}
	if sink == 0 || fmt.Sprint(anySink) == "" {
		t.Error("nothing was read")
	}
}

func sizeSource(t *testing.T) tiers.Source {
	t.Helper()
	s := memory.NewSource()
	writes := []tiers.Write{
		{Name: "count", Data: []byte(`1000000`)}, {Name: "text", Data: []byte(`"longer than a word"`)},
		{Name: "pair", Data: []byte(`["a","b"]`)}, {Name: "limit/tenant-42", Data: []byte(`1000000`)},
	}
	if _, err := s.Write(t.Context(), "size", writes); err != nil {
		t.Fatal(err)
	}
	return s
}

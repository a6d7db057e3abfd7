package tiertest

import (
	"context"
	"errors"
	"testing"

	"github.com/fastopt/fastopt-go/tiers"
)

// What a source may do in the hands of who may only read: answer as ever, and
// say at once that it does nothing else.

// TestReadOnlySource checks a source that may only read. open returns it beside
// one that may write the same store; otherwise as TestSource.
func TestReadOnlySource(t *testing.T, open func(t *testing.T) (reader, writer tiers.Source)) {
	reader, writer := open(t)
	for _, c := range readOnlyChecks {
		t.Run(c.name, func(t *testing.T) {
			p := newProbe(t.Context(), t, patience)
			c.run(&sourceProbe{p, reader}, &sourceProbe{p, writer})
		})
	}
}

type readOnlyCheck struct {
	name string
	run  func(reader, writer *sourceProbe)
}

var readOnlyChecks = []readOnlyCheck{
	{"ReaderReads", readerReads},
	{"ReaderChangesNothing", readerChangesNothing},
	{"ReaderNeverLeads", readerNeverLeads},
}

func readerReads(reader, writer *sourceProbe) {
	stamp := writer.set("a", `1`)
	reader.holds("a", `1`, stamp)
	writer.delete("a")
	reader.absent("a")
	mine, err := reader.source.Identity(reader.ctx)
	if yours, _ := writer.source.Identity(writer.ctx); err != nil || mine != yours {
		reader.Fatalf("the reader says %+v, %v, the writer %+v", mine, err, yours)
	}
	if records, _ := reader.follow(stamp); len(records) != 1 {
		reader.Fatalf("the reader is told of %d changes, want 1", len(records))
	}
	for _, err := range reader.source.Scan(reader.ctx, reader.ns) {
		if err != nil {
			reader.Fatalf("the reader scans: %v", err)
		}
	}
}

func readerChangesNothing(reader, writer *sourceProbe) {
	stamp := writer.set("a", `1`)
	for what, w := range map[string]tiers.Write{
		"a set":                 {Name: "a", Data: []byte(`2`)},
		"a set of a new name":   {Name: "b", Data: []byte(`2`)},
		"a set on condition":    {Name: "a", Data: []byte(`2`), If: &stamp},
		"a delete":              {Name: "a", Delete: true},
		"a delete of no option": {Name: "b", Delete: true},
	} {
		err := reader.refused(what, w)
		if !errors.Is(err, tiers.ErrReadOnly) || errors.Is(err, tiers.ErrUnavailable) || errors.Is(err, tiers.ErrConflict) {
			reader.Fatalf("%s by a reader: %v, want ErrReadOnly", what, err)
		}
	}
	writer.holds("a", `1`, stamp)
	if head := writer.head(); head != stamp {
		writer.Fatalf("a reader moved the head from %v to %v", stamp, head)
	}
}

func readerNeverLeads(reader, writer *sourceProbe) {
	elector, ok := reader.source.(tiers.Elector)
	if !ok {
		return
	}
	led := false
	var err error
	reader.promptly("Elect by a reader", func() {
		err = elector.Elect(reader.ctx, reader.ns, func(context.Context) { led = true })
	})
	if led || !errors.Is(err, tiers.ErrReadOnly) {
		reader.Fatalf("a reader that stands: %v, led: %v; want ErrReadOnly at once", err, led)
	}
}

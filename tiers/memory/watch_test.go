package memory

import (
	"context"
	"testing"

	"github.com/fastopt/fastopt-go/tiers"
)

func TestWatcherLeavesNothingBehind(t *testing.T) {
	c := NewCache()
	ctx, cancel := context.WithCancel(t.Context())
	c.Watch(ctx, "test", func(tiers.Event) { cancel() })
	if len(c.hub.watchers) != 0 {
		t.Errorf("%d namespaces are watched by nobody", len(c.hub.watchers))
	}
}

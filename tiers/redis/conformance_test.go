package redis

import (
	"testing"

	"github.com/fastopt/fastopt-go/internal/servers"
	"github.com/fastopt/fastopt-go/tiers"
	"github.com/fastopt/fastopt-go/tiers/tiertest"
)

// corruptible is a cache whose entries a test can damage.
type corruptible struct {
	*Cache
	op *operator
}

func (c corruptible) CorruptMark(namespace string, raw []byte) {
	c.op.do("SET", markKey(defaultPrefix, spaceOf(namespace)), string(raw))
}

func (c corruptible) Corrupt(namespace, name string, raw []byte) {
	c.op.do("SET", entryKey(defaultPrefix, spaceOf(namespace), name), string(raw))
}

func TestCacheKeepsTheContract(t *testing.T) {
	t.Parallel()
	r := servers.Redis(t)
	c := corruptible{open(t, r.URL()), operate(t, r.Addr())}
	tiertest.TestCache(t, func(*testing.T) tiers.Cache { return c })
}

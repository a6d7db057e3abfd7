package fastopt

import (
	"slices"

	"github.com/fastopt/fastopt-go/internal/hook"
)

// Overriding: a test puts a value above everything that tiers say (P14). What
// they say is kept up to date beneath, and is back at once when the override
// ends. Package fastopttest is the way in.

func init() {
	hook.Override = func(option, value any) (func(), error) {
		return option.(interface {
			override(any) (func(), error)
		}).override(value)
	}
	hook.Flush = func(manager any) { manager.(*Manager).flush() }
}

func (o *Option[T]) override(v any) (restore func(), err error) {
	data, err := o.core.codec.encode(v)
	if err == nil {
		v, err = o.core.decode(data)
	}
	if err != nil {
		return nil, failed("override", o.core.name, err)
	}
	return o.core.setOverride(v), nil
}

// setOverride puts v above everything tiers say. It returns what takes exactly
// this override away again.
func (c *core) setOverride(v any) (restore func()) {
	mine := &v
	c.mu.Lock()
	defer c.mu.Unlock()
	c.overrides = append(c.overrides, mine)
	c.showOverrideLocked()
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if i := slices.Index(c.overrides, mine); i >= 0 {
			c.overrides = slices.Delete(c.overrides, i, i+1)
		}
		c.showOverrideLocked()
	}
}

// showOverrideLocked publishes the innermost override, or what it hid.
func (c *core) showOverrideLocked() {
	for {
		top := c.cell.load()
		next := top.tier()
		if n := len(c.overrides); n > 0 {
			f := facts{key: next.key, kind: kindOverride, origin: Override, boxed: *c.overrides[n-1], stamp: next.stamp, under: next}
			next = newMeta(f, dead)
		} else if top.under == nil {
			return
		}
		if c.cell.swap(top, next) {
			break
		}
	}
	c.wakeLocked()
}

// flush makes every handle unloaded, as if just opened. What is under repair
// stays so.
func (m *Manager) flush() {
	m.moveAll() // what is on its way is not fresh when it arrives
	for _, k := range m.keys {
		k.start()
	}
	for _, f := range m.families {
		f.flush()
	}
}

package fastopt

import "time"

// Skew sets the wall clock of a manager forward, and has its machine have slept.
func Skew(m *Manager, wall, slept time.Duration) {
	c := &m.clocks
	c.mu.Lock()
	defer c.mu.Unlock()
	glanced := c.glance
	c.glance = func() glance {
		g := glanced()
		g.wall += wall
		return g
	}
	total, _ := c.slept()
	if total-c.nights < time.Millisecond {
		total = c.nights // the real clocks' time between two calls
	}
	total += slept
	c.slept = func() (time.Duration, bool) { return total, true }
}

// Instant is m.instant, since Open, and Now m.now.
func Instant(m *Manager, t time.Time) time.Duration { return time.Duration(m.instant(t)) }
func Now(m *Manager) time.Duration                  { return time.Duration(m.now()) }

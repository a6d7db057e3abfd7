package tiers

import "context"

// A Prober is a [Source] or a [Cache] that can be asked whether it answers again
// past all that its other calls are stuck in. It is optional: without it a tier
// that failed is asked by a Load of one name.
type Prober interface {
	// Probe asks what a Load of one name asks, on a connection of its own that
	// it opens and closes. nil: a Load would be answered now. Errors are classed
	// as those of Load. It returns when ctx ends, at the latest.
	Probe(ctx context.Context, namespace string) error
}

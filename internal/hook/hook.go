// Package hook lets package fastopttest reach into package fastopt without
// giving everyone the means to. Package fastopt fills the variables when it is
// initialized.
package hook

var (
	// Override puts value above everything that tiers say about option, a
	// *fastopt.Option, and returns what takes it away again.
	Override func(option, value any) (restore func(), err error)
	// Flush makes manager, a *fastopt.Manager, forget what it has read.
	Flush func(manager any)
)

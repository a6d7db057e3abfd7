// Package sim runs the real library against scripted tiers under a seeded
// scheduler, and judges every step by a slow, obvious model.
//
// A history is one synctest bubble: one to three processes (managers) share a
// source and a cache of package memory. Each operation of a tier parks twice,
// before it is carried out and before its answer arrives, and each named point
// of the library parks once. The scheduler waits until everything is parked,
// sorts what is parked, and does one thing: releases one, fails it, carries it
// out and loses the answer, delivers, reorders or drops a push, cuts or freezes
// a watch, has a timed-out request carried out late after all, empties or
// damages the cache, takes a tier down, closes or opens a process, starts a
// Load, Set or Delete, or lets time pass. Which of these exist, and how often
// they happen, is drawn from the seed first (swarm testing), as are TTL, grace,
// processes, keys, and the points that park.
//
// Everything random comes from the seed, so that a history can be run again:
// what parks has a name that does not depend on the order of arrival, timeouts
// are taken one by one, and jitter is a function of seed, process and instant.
// One order is the library's own: it repairs several keys in the order of a
// map. The trace of a history is therefore compared up to the first instant at
// which a process has two keys under repair. About one seed in a thousand still
// is two histories, where an expirer is woken at the very instant of its timer.
//
// After the last step faults end, and within two TTLs all processes have to be
// right without help. No process stands for relay; the world plays it where the
// contract leaves help to one: after loss of the cache, for what a closed
// process left dirty, and for a write that the source carried out long after it
// was sent.
//
// Not simulated: families, overrides, values that do not decode, a second
// epoch, a cache or a source alone, leases, a killed process.
//
// One failing seed is looked at by
//
//	go test ./sim -run TestCampaign -sim.first N -sim.seeds 1 -sim.trace
//
// and the checks are checked by planting bugs in a copy of the library:
//
//	go run ./sim/mutants
package sim

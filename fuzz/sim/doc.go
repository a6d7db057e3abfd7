// Package sim runs the real library against scripted tiers under a seeded
// scheduler, and judges every step by a slow, obvious model.
//
// A history is one synctest bubble: one to three processes (managers) share a
// database and a cache. Each operation of a tier parks twice, before it is
// carried out and before its answer arrives, and each named point of the library
// parks once. The scheduler waits until everything is parked, sorts what is
// parked, and does one thing: releases one, fails it, carries it out and loses
// the answer, delivers, reorders or drops a push, has a timed-out request carried
// out late after all, gives or takes the right to lead, starts a Load, Set, SetIf,
// SetAll or Delete, lets time pass, or lets something befall the world:
//
//   - a watch is cut or freezes, a tier is down or says nothing, both are so for
//     longer than anything may be used, a process is closed, opened, killed with
//     its requests under way, or stands still for seconds or several lives;
//   - the cache is emptied, damaged, fails over to a lagging replica, loses its
//     mark, or is given a record with a stamp of the future;
//   - the database fails over and loses commits, and perhaps the step of its
//     epoch; the old one goes on for some processes, a zombie; connections lead to
//     a standby; a disk is set back under the same identity;
//   - the last process is another deployment's, with a restored copy of the
//     database, or a foreign one, and the same cache.
//
// Which of these exist, and how often they happen, is drawn from the seed first
// (swarm testing), as are TTL, grace, processes, keys, the points that park,
// whether the cache keeps marks, and whether processes stand for relay.
//
// The database is database.go's; which of its answers count is decided by ken.go,
// which is to tiers/postgres what a model is to a machine: if that learns to
// step its epoch in another case, so has this.
//
// Everything random comes from the seed, so that a history can be run again:
// what parks has a name that does not depend on the order of arrival, timeouts
// are taken one by one, jitter is a function of seed, process and instant, and
// the library does what comes at one instant in one order.
//
// After the last step faults end, and within the times of calm.go all processes
// have to be right, the cache to be right and fed, and nothing to be dirty.
// In half of the histories tiers then go dark once more, and it is judged how long
// calls take, what dead tiers are asked, and how soon all is right again (dark.go).
// Without a relay the world plays it where the contract leaves help to one: after
// loss of the cache, for what a closed process left dirty, and for a write that
// the source carried out long after it was sent.
//
// What nobody can tell is not judged: where the mark was lost while a zombie led,
// where a process of another database starts while there is no mark, a record of
// the future for which the source has no stamp of its own and no process a
// declaration, and two values of one stamp of which no process knows the right one.
//
// Not simulated: families, overrides, values that do not decode, a cache or a
// source alone, compaction, a read-only role.
//
// One failing seed is looked at by
//
//	go test ./sim -run TestCampaign -sim.first N -sim.seeds 1 -sim.trace
//
// and the checks are checked by planting bugs in a copy of the library:
//
//	go run ./sim/mutants
package sim

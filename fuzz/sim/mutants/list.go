package main

// The bugs: first those that the contract lists (section 5), then one for each
// guard of the library that the simulator is meant to watch over.

const (
	publish = "fastopt/publish.go"
	settle  = "fastopt/settle.go"
	ask     = "fastopt/ask.go"
	loader  = "fastopt/loader.go"
	load    = "fastopt/load.go"
	write   = "fastopt/write.go"
	refresh = "fastopt/refresh.go"
	entry   = "fastopt/entry.go"
	expire  = "fastopt/expire.go"
	repair  = "fastopt/repair.go"
	store   = "tiers/memory/cache.go"
	key     = "fastopt/key.go"
	mark    = "fastopt/mark.go"
	feed    = "fastopt/feed.go"
	still   = "fastopt/still.go"
	lease   = "fastopt/lease.go"
	sweep   = "fastopt/sweep.go"
	relay   = "fastopt/relay.go"
	fill    = "fastopt/fill.go"
	breaker = "fastopt/tier.go"
	lane    = "fastopt/lane.go"
	freeze  = "fastopt/freeze.go"
	saved   = "fastopt/snapshot.go"
)

const twoGuards = "a Load looks whether what it waited for was asked for late enough (P6), whatever it joined"

const relayed = "the dirty set repairs the cache, too; alone it guards only after loss, where the simulator plays the relay"

// trusted edits make a Load believe what its flight brought.
var trusted = []edit{
	{loader, "	err    error         // written before it lands\n", "	err    error\n	got    *Reading[any]\n"},
	{settle, "	point.At(point.FlightSettle, m, k.full)\n", `	point.At(point.FlightSettle, m, k.full)
	got := Reading[any]{Value: a.value, State: Fresh, Origin: a.origin, Stamp: a.rec.Stamp, Age: time.Duration(a.asked)}
	if a.rec.Kind == tiers.Absent {
		got.Value, got.Origin = k.fallback, Default
	}
	f.got = &got
`},
	{settle, "import (\n	\"errors\"\n", "import (\n	\"errors\"\n	\"time\"\n"},
	{load, "	err     error // … for this reason; nil: its key is confirmed\n", "	err     error\n	got     *Reading[any]\n"},
	{load, "		w.err = f.err\n", "		w.err, w.got = f.err, f.got\n"},
	{load, "	r := w.k.readingSince(w.token)\n", "	r := w.k.readingSince(w.token)\n	if w.got != nil && w.err == nil {\n		r = *w.got\n		r.Age = time.Duration(w.k.m.now()) - w.got.Age\n	}\n"},
}

// contented edits make a Load content with whatever landed first.
var contented = edit{load, "w.settled = w.err != nil || w.k.confirmedSince(w.token)\n", "w.settled = true\n"}

var joinsAny = edit{loader, "	case f == nil || f.token != token:\n", "	case f == nil:\n"}

var mutants = []mutant{
	{"m1", "install in memory without compare", "", "", []edit{
		{publish, "	case c < 0:\n		return refuse\n", "	case c < 0:\n		return replace\n"}}},
	{"m2", "blind SET in the cache", "", "", []edit{
		{store, "	return f.Stamp.Newer(old.record.Stamp)\n", "	return true\n"}}},
	{"m3", "delete without tombstone", "", "", []edit{
		{store, "		sp.entries[f.Name] = e\n		rs[i]", "		if sp.entries[f.Name] = e; f.Kind == tiers.Absent {\n			delete(sp.entries, f.Name)\n		}\n		rs[i]"}}},
	{"m4", "install ignores the token", "", "", []edit{
		{settle, "token: f.token, asked: start}", "token: f.k.token(), asked: start}"}}},
	{"m5", "asked is taken on arrival (R24)", "", "", []edit{
		{settle, "		a.asked = m.instant(rec.AsOf)\n", "		a.asked = m.now()\n"}}},
	{"m6", "error treated as not found", "", "", []edit{
		{ask, "		err := results[i].Err\n", `		if results[i].Err != nil {
			results[i] = tiers.Result{Record: tiers.Record{Name: q.k.full, Kind: tiers.Absent, NoRow: true, Stamp: q.k.cell.load().tier().seen}}
		}
		err := results[i].Err
`}}},
	{"m7", "no singleflight", "", "", []edit{
		{loader, "	case f == nil || f.token != token:\n", "	default:\n"}}},
	{"m8", "return the flight's result, not the maximum", "", "", trusted},
	{"m9", "join a flight older than the push", twoGuards, "", []edit{joinsAny}},
	{"m9+", "the same, and do not look at what it brought", "", "", []edit{joinsAny, contented}},
	{"r51", "late joiner: do not look at what a flight brought", "", "", []edit{contented}},
	{"r51+", "the same, and believe it", "", "", append([]edit{contented}, trusted...)},

	{"g1", "a later absent does not raise the floor (I9)", "", "", []edit{
		{publish, "alive && !a.rec.Stamp.Newer(cur.seen) {", "alive {"}}},
	{"g2", "publish over what came meanwhile (I17)", "", "", []edit{
		{"fastopt/option.go", "	if cur.meta != old {\n		return false\n	}\n", ""}}},
	{"g3", "renew what is dead (R52)", "", "", []edit{
		{publish, "	case !alive:\n		return replace // an equal", "	case false:\n		return replace // an equal"},
		{entry, "		case old == dead:\n			return false\n", "		case old == dead:\n			return true\n"}}},
	{"g4", "expire without a claim (R53)", "", "", []edit{
		{expire, "	if !m.asked.CompareAndSwap(asked, dead) {\n", "	if m.asked.Store(dead); false {\n"}}},
	{"g5", "expire over what is newer", "", "", []edit{
		{expire, "		if top.tier() != m {\n			return false // something newer is there\n		}\n", ""}}},
	{"g6", "Inspect does not look at the clock (I3c)", "", "", []edit{
		{entry, "case asked == dead, m.kind == kindExpired, now >= later(asked, l.usable):", "case asked == dead, m.kind == kindExpired:"}}},
	{"g7", "a push moves no token (P4)", "", "", []edit{
		{refresh, "	k.stir() // no answer asked", "	// no answer asked"}}},
	{"g8", "a lost channel ends no freshness (R16)", "", "", []edit{
		{refresh, "revalidating all options\")\n		}\n		m.revalidate()\n", "revalidating all options\")\n		}\n"}}},
	{"g9", "a channel that is back revalidates nothing", "", "", []edit{
		{refresh, "pushes arrive\")\n			m.revalidate()\n", "pushes arrive\")\n"}}},
	{"g10", "silence is not noticed (I5b)", "", "", []edit{
		{refresh, "		r.m.checkPushes()\n", ""}}},
	{"g11", "own writes are not installed (I4)", "", "", []edit{
		{write, "		c.k.install(&answer{rec: rec, value: c.value, origin: Write, ", "		_ = (&answer{rec: rec, value: c.value, origin: Write, "}}},
	{"g12", "an own write is fresh, whatever was pushed meanwhile", "", "", []edit{
		{write, "origin: Write, token: c.token, asked: asked}", "origin: Write, token: c.k.token(), asked: asked}"}}},
	{"g13", "a write in doubt leaves the key fresh (I15)", "", "", []edit{
		{write, "	k.dirtied.Add(1)\n	k.stir()\n	k.m.repairer.add(k, late)\n", "	k.dirtied.Add(1)\n	k.m.repairer.add(k, late)\n"}}},
	{"g14", "a write in doubt is looked for once (I15)", "", "TestR33AWriteThatArrivesLateIsStillFound", []edit{
		{repair, "		left = 2\n", "		left = 1\n"}}},
	{"g15", "unknown is said to be refused (I14)", "", "", []edit{
		{write, "		m.afterFailure(cs, err)\n		return Receipt{}, writeError(err)\n", "		m.afterFailure(cs, err)\n		return Receipt{}, unavailable(\"source\", err)\n"}}},
	{"g16", "a failed fill of a write is forgotten (I16)", "", "", []edit{
		{write, "		f.k.dirtied.Add(1)\n		m.repairer.add(f.k, false)\n", "		_ = f\n"}}},
	{"g17", "a repair that the cache did not take counts", "", "TestAWrittenMemberIsNotForgotten", []edit{
		{fill, "			m.stats.fillsFailed.Add(1)\n			continue\n", "			m.stats.fillsFailed.Add(1)\n			some[i].k.clean(some[i].dirty)\n			continue\n"}}},
	{"g18", "a cache that is behind is an answer (R25)", relayed, "", []edit{
		{settle, "	case out == refused && askSource:\n		return errBehind\n", ""}}},
	{"g19", "what the cache will not announce is not looked at again", "", "", []edit{
		{key, "	if f.blind && k.m.pushUp.Load() && !k.m.cache.broken.Load() {", "	if false {"}}},
	{"g20", "Close does not wait for writes (I24)", "", "", []edit{
		{"fastopt/manager.go", "	inTime := endsWithin(&m.writes, closeWrites)\n", "	inTime := true\n"}}},

	// Marks: whose history the cache holds, and whether it is fed.
	{"k1", "a cache of a copy's original is used", "", "", []edit{
		{mark, "	case mark.System != home.System || mark.Database != home.Database:\n", "	case false:\n"}}},
	{"k2", "a cache of another database is used", "", "", []edit{
		{mark, "	case mark.Lineage != home.Lineage:\n", "	case false:\n"},
		{mark, "	case mark.System != home.System || mark.Database != home.Database:\n", "	case false:\n"}}},
	{"k3", "the epoch of a record does not matter (R26)", "", "", []edit{
		{mark, "	return epoch == s.epoch.Load() ||\n", "	return marked || epoch > 0 ||\n"}}},
	{"k4", "a new epoch ends no freshness (R26)", "", "", []edit{
		{mark, "old != 0 || trusted != 0 && trusted < epoch {", "false && trusted > 0 {"}}},
	{"k5", "the first epoch ends no freshness", "", "", []edit{
		{mark, "old != 0 || trusted != 0 && trusted < epoch {", "old != 0 && trusted < epoch {"}}},
	{"k6", "a later history is not learned (R28)", "", "TestR28AMarkNewerThanTheSourceIsLearned", []edit{
		{mark, "		h.Learn(mark.Identity)\n", "		_ = h\n"}}},
	{"k7", "a mark that stands still does not matter", "", "TestAnOrphanedCommitIsSeenThoughNobodyFeeds", []edit{
		{mark, "m.source.down.Load() || s.stoodStill() < unfedAfter", "m.source.down.Load() || s.stoodStill() >= 0"}}},
	{"k8", "records of any epoch are offered", "", "", []edit{
		{mark, "s.checked.Load() && (marked == 0 || marked == epoch)", "s.checked.Load() && (marked == 0 || true)"}}},
	{"k9", "records are offered before the mark is known", "", "", []edit{
		{mark, "s.refusal.Load() == nil && s.checked.Load() && ", "s.refusal.Load() == nil && "}}},
	{"k10", "the mark is looked at once a second only", "", "", []edit{
		{mark, "			return s.look(s.m.ctx)\n", "			return true\n"}}},
	{"k11", "a mark that could not be read is the old one", "", "sim.TestARecordOfAHistoryThatNobodyCouldAskForStays", []edit{
		{ask, "		case !sure:\n", "		case false:\n"}}},
	{"k12", "what was read before the cache was refused stays fresh", "", "sim.TestWhatWasReadFromAnothersCacheDoesNotStayFresh", []edit{
		{mark, "		s.m.cfg.Logger.Error(\"fastopt: the cache is not used\", \"error\", why)\n		s.m.revalidate()\n", "		s.m.cfg.Logger.Error(\"fastopt: the cache is not used\", \"error\", why)\n"}}},
	{"k13", "an answer of an older history than is known counts (P10)", "", "TestAWriteToAnOlderHistoryIsNotAcknowledged", []edit{
		{mark, "	return epoch >= s.epoch.Load()\n", "	return true\n"}}},
	{"k14", "the epoch of a copy's mark outlives the discovery", "", "TestACopyThatStartsWithoutItsSourceIsCheckedLater", []edit{
		{mark, "standing == copied && s.home == (tiers.Identity{}) {", "false {"}}},
	{"k15", "what a process offers late is judged by an old mark", "", "sim.TestAnAnswerIsOfferedByTheMarkOfThatMoment", []edit{
		{fill, "	point.At(point.FillSend, m, list[0].k.full)\n", "	early := m.offerable(list)\n	point.At(point.FillSend, m, list[0].k.full)\n"},
		{fill, "m.inTime(m.offerable(list))", "m.inTime(early)"}}},

	// Feeding.
	{"f1", "a mark that was lost means no loss", "", "TestTheRelayFindsAnotherMark", []edit{
		{feed, "	if lost {\n", "	if lost && false {\n"}}},
	{"f2", "a copy takes over at once", "", "", []edit{
		{still, "	return s.still.looked-s.still.since >= int64(abandonedAfter)\n", "	return true\n"}}},
	{"f2+", "a copy takes over by a mark that it has not looked at for long", "", "", []edit{
		{still, " || start-s.looked > int64(gap) {", " {"}}},
	{"f3", "a copy takes over with its own epoch", "", "TestACopyTakesACacheOverOnlyOnceNobodyFeedsIt", []edit{
		{feed, "		if f.home.Epoch <= mark.Epoch {", "		if false {"}}},
	{"f4", "a zombie's relay takes the mark back (R28)", "", "TestR28ARelayNeverReplacesAMarkOfALaterHistory", []edit{
		{feed, "	case newer:\n		f.learn(mark.Identity)\n		f.home = tiers.Identity{}\n		return errLater\n", "	case newer:\n		return nil\n"}}},
	{"f5", "the mark is stepped once a minute", "", "", []edit{
		{feed, "700 * time.Millisecond", "time.Minute"}}},
	{"f6", "the mark keeps the epoch that the relay began with", "", "", []edit{
		{feed, "	if f.home.Epoch != epoch {\n", "	if f.home.Epoch == 0 {\n"}}},
	{"f7", "a relay that failed moves its cursor", "the writer's own repair, and a patrol within five seconds, bring what it skips", "", []edit{
		{relay, "err := r.offer(ctx, changes.Records); err != nil {\n			return cursor, err\n", "err := r.offer(ctx, changes.Records); err != nil {\n			return changes.Head, err\n"}}},
	{"f8", "another history is followed from its head", "", "", []edit{
		{relay, "			r.resync()\n		} else if", "			_ = 0\n		} else if"}}},
	{"f9", "a cache that is back is not offered everything", "who reads a declared option finds the cache behind, or missing it, and fills it; a mark that fell tells the relay", "", []edit{
		{refresh, "			m.relay.resync() // it", "			_ = 0 // it"}}},
	{"f10", "the mark is stepped while the cache may lack something", "", "TestR34TheMarkStandsStillWhileNothingCanBeCarried", []edit{
		{feed, "	if f.wrote.Identity == f.home && !f.r.owes() {", "	if f.wrote.Identity == f.home {"}}},
	{"f11", "what the relay finds in the mark's place is not heeded", "", "TestWhatPiledUpIsCarried", []edit{
		{feed, "		s.marked.Store(mark.Epoch)\n", ""}}},

	// Sweeping and correcting (P5).
	{"p1", "the patrol corrects nothing", "", "", []edit{
		{sweep, "	return r.correct(ctx, ahead)\n", "	return r.correct(ctx, ahead[:0])\n"}}},
	{"p2", "the patrol sees only rows", "", "", []edit{
		{sweep, "		if r.mendRowless(ctx, names) != nil {", "		if names == nil && r.mendRowless(ctx, names) != nil {"}}},
	{"p3", "the patrol corrects a later history", "", "sim.TestThePatrolLeavesAHistoryOfAMomentAgoAlone", []edit{
		{sweep, "held[i].Stamp.Epoch > epoch && !m.marks.namesNow(ctx, epoch) {", "false {"}}},
	{"p3+", "the patrol corrects a later history that was marked lately", "", "sim.TestThePatrolLeavesAHistoryOfAMomentAgoAlone", []edit{
		{sweep, "!m.marks.namesNow(ctx, epoch) {", "!m.marks.names(epoch) {"}}},
	{"p4", "a source that contradicts is refused", "", "", []edit{
		{publish, "	return a.origin != Cache && cur.seen.Newer(a.rec.Stamp) && a.asked > cur.got &&\n", "	return false && cur.seen.Newer(a.rec.Stamp) && a.asked > cur.got &&\n"}}},
	{"p5", "a source asked earlier contradicts", "", "", []edit{
		{publish, "	return a.origin != Cache && cur.seen.Newer(a.rec.Stamp) && a.asked > cur.got &&\n", "	return a.origin != Cache && cur.seen.Newer(a.rec.Stamp) &&\n"}}},
	{"p6", "a source of an earlier history contradicts", "", "sim.TestASourceOfAnEarlierHistoryContradictsNothing", []edit{
		{publish, "(a.rec.Stamp.Epoch == cur.seen.Epoch ||", "(true || a.rec.Stamp.Epoch == cur.seen.Epoch ||"}}},
	{"p6+", "only a source of the same history contradicts", "", "", []edit{
		{publish, " || cur.key.m.marks.unheard(cur.seen.Epoch))", ")"}}},
	{"p7", "of two values with one stamp the first stays (R27)", "", "", []edit{
		{publish, "if v = refuse; (a.origin == Source || k.m.cfg.Source == nil) && a.asked > cur.asked.Load() {", "if v = refuse; false {"}}},
	{"p8", "of two values with one stamp the cache's stays (R27)", "", "TestR27AnotherValueOfTheSameStampInTheCacheIsReplaced", []edit{
		{ask, "		return sumOf(*q.said) != sumOf(rec)\n", "		return false\n"}}},
	{"p9", "an answer of an earlier history replaces a record", "", "sim.TestAnAnswerOfAnEarlierHistoryReplacesNoRecord", []edit{
		{ask, "		return q.cause == errEpoch && q.said.Stamp.Newer(rec.Stamp)\n", "		return q.said.Stamp.Newer(rec.Stamp)\n"}}},

	// Leases (I8).
	{"l1", "who has no lease asks all the same", "", "", []edit{
		{lease, "		if held || q.k.leased", "		if true || q.k.leased"}}},
	{"l2", "a lease without an end", "", "", []edit{
		{lease, "	f.parked = time.AfterFunc(l.m.cfg.LeaseTime,", "	f.parked = time.AfterFunc(time.Hour,"}}},
	{"l3", "a push before one waits is missed", "the lease ends", "", []edit{
		{lease, "	if f.token != f.k.token() { // the push came already\n", "	if false { // the push came already\n"}}},
	{"l4", "a push wakes nobody who waits for it", "the reload that the push starts wakes the flight, too", "", []edit{
		{refresh, "	m.loader.unpark(k)\n", ""}}},
	{"l5", "one waits though no push can come", "", "TestWithoutLeasesOrPushesEveryProcessAsks", []edit{
		{lease, "	case l.closed, !l.m.pushUp.Load():\n", "	case l.closed:\n"}}},

	// Renewal without a request (P7).
	{"u1", "renewed though a push came", "", "", []edit{
		{key, "	if k.held.Load() != token+1 || !lately", "	if k.held.Load() == 0 || token == 0 && never == 0 || !lately"},
		{key, "	if cur.key != k || cur.token != token ||", "	if cur.key != k ||"}}},
	{"u2", "renewed though nobody feeds the cache", "", "TestAnOrphanedCommitIsSeenThoughNobodyFeeds", []edit{
		{key, " || !m.marks.fed() {", " {"}}},
	{"u3", "renewed by a heartbeat of long ago", "", "", []edit{
		{key, " || !lately || !m.pushUp", " || !m.pushUp"},
		{key, "	lately := now-alive < min(int64(aliveFor), k.lives.ttl/2)\n", "	alive = now\n"}}},
	{"u4", "renewed though what the cache told was not believed", "", "", []edit{
		{settle, "	f.held = a.origin == Cache && out != refused\n", "	f.held = true\n"}}},
	{"u5", "what nobody feeds counts", "", "TestAnOrphanedCommitIsSeenThoughNobodyFeeds|TestAPoisonedCacheThatNobodyFeeds.*", []edit{
		{ask, "	case !marks.fed():\n", "	case false:\n"}}},

	// Breakers and budgets (I8, I20).
	{"b1", "a breaker never opens", "", "", []edit{
		{breaker, "		return long && n.ConsecutiveFailures", "			return false && long && n.ConsecutiveFailures"},
		{breaker, " || n.Requests >= tripLeast && ", " || false && n.Requests >= tripLeast && "}}},
	{"b2", "a breaker never closes", "", "", []edit{
		{breaker, "				t.broken.Store(false)\n", ""}}},
	{"b3", "probes of a fleet align", "", "TestR44ProbesOfAFleetDoNotAlign", []edit{
		{breaker, "time.NewTimer(wait/2 + time.Duration(t.m.jitter()*float64(wait/2)))", "time.NewTimer(wait)"}}},
	{"b4", "what failed is due at one instant when a breaker closes", "a fleet's probes are jittered, and so is what follows them", "", []edit{
		{breaker, "now+int64(m.jitter()*float64(k.spread()))", "now"}}},
	{"b5", "the bucket is ignored", "", "", []edit{
		{lane, "	if wait := r.Delay(); wait > 0 {", "	if wait := r.Delay(); wait > time.Hour {"}}},
	{"b6", "any number of requests at once", "", "", []edit{
		{lane, "n.underway < n.atOnce && ", ""}}},
	{"b7", "families share the budget of options", "", "TestR47AFloodOfKeysDelaysNoOption", []edit{
		{lane, "	if k.fam != nil {\n		return &l.members", "	if k.fam != nil && l == nil {\n		return &l.members"}}},
	{"b8", "retries have no budget of their own", "", "TestRetriesHaveABudget", []edit{
		{lane, "	if retry && n.credit < 1 {", "	if retry && n.credit < -1e9 {"}}},
	{"b9", "a write is sent to a source that is only probed (I14)", "", "", []edit{
		{write, "	if err := m.source.refuses(); err != nil {", "	if err := m.source.refuses(); false {"}}},
	{"b10", "of two flights of a key the one that came last asks for both", "", "TestR7AFlightThatWasOvertakenInTheCacheAsksForNobody", []edit{
		{lane, "		case twice && q.token < qs[i].token:\n			qs[i].older = append(qs[i].older, q.flight)\n", ""}}},
	{"b11", "what comes after its callers may have left is dropped", "", "TestR43AnAnswerThatNobodyWaitsForIsKept", []edit{
		{ask, "	m.stats.sourceLoads.Add(1)\n", "	if m.now()-start > int64(m.cfg.CacheTimeout) {\n		l.sourceSilent(qs, ErrUnavailable)\n		return\n	}\n"}}},

	// Living on.
	{"o1", "what outlasts an older answer is fresh", "", "TestAWriteTheCacheDidNotGetLivesOnWhileTheSourceIsSilent", []edit{
		{publish, "		f.token = neverFresh\n", ""}}},
	{"o2", "what has expired outlasts an older answer", "", "TestWhatHasExpiredDoesNotOutliveAnOlderAnswer", []edit{
		{publish, "		over := asked == dead || k.m.now() >= later(asked, k.lives.usable)", "		over := asked == dead"}}},
	{"o3", "what the cache is behind of outlasts nothing", "", "TestWhatTheCacheHasLostLivesOnWhileTheSourceIsSilent", []edit{
		{ask, "		q.k.outlast(q.unfed)\n", ""}}},
	{"o4", "a write overtaken by its push is not read again", "", "TestAWriteOvertakenByItsOwnPushIsFreshSoon", []edit{
		{write, "		if overtaken {", "		if overtaken && false {"}}},

	// Patience.
	{"t1", "WaitStale is ignored", "", "TestALoadWithAStaleValueWaitsAsLongAsItWasTold", []edit{
		{load, "		p.d, p.stale = k.lives.patience, true\n", "		p.stale = true\n"}}},
	{"t2", "a Load ignores the back-off", "", "TestAPatientLoadWaitsForTheNextAttempt", []edit{
		{load, "		case w.k.retryAt.Load() <= now:\n", "		case now >= 0:\n"}}},
	{"t7", "a Load waits for a flight that there is not", "", "TestALoadWhoseKeyIsConfirmedMeanwhileWaitsForNothing", []edit{
		{loader, "		if w.settled = w.k.confirmedSince(w.token); w.settled {\n", "		if w.k.confirmedSince(w.token) {\n"}}},
	{"t8", "who waits for an overtaken flight is not told", "", "TestR7WhoWaitsForAnOvertakenFlightIsToldOfItsSuccessors", []edit{
		{loader, "		o.wake()\n", "		_ = o\n"}}},

	// Clocks.
	{"c1", "a standstill is not noticed", "", "TestAProcessThatStoodStillVerifiesAll", []edit{
		{freeze, "	case late >= freezeAfter:\n", "	case late >= 1000*freezeAfter:\n"}}},
	{"c2", "a sleep is no time", "", "TestR22ASleepCountsAsTime", []edit{
		{freeze, "	w := &wake{at: int64(now.mono), asleep: int64(slept), before: before}\n", "	w := &wake{at: int64(now.mono), before: before}\n"}}},

	// The snapshot.
	{"s1", "what is read from the snapshot is fresh", "", "TestR30AYoungSnapshotIsNotFreshEither", []edit{
		{saved, "	k.stir() // to be read again", "	facts.token = k.token() // to be read again"}}},
	{"s2", "the snapshot is no floor", "", "TestI22AnOlderCacheDoesNotReplaceTheSnapshot", []edit{
		{saved, "	if floor {\n		facts.seen = facts.stamp\n	}\n", ""}}},
	// Writes.
	{"w1", "a late fill is sent (R15)", "", "", []edit{
		{fill, "		if f.asked < oldest {", "		if f.asked < oldest && false {"}}},
	{"w2", "a conflict leaves the key fresh", "", "", []edit{
		{write, "		if unknown || c.If != nil {", "		if unknown {"}}},
	{"w3", "a withheld fill counts as taken (I16)", "", "TestR23ALateWriteIsSaidAndRepaired|TestAWriteOfAnUnmarkedEpochIsWithheldAndRepaired", []edit{
		{fill, "	all = len(some) == len(list)\n	cache", "	all = true\n	cache"},
		{fill, "	if len(some) == 0 || cache == nil {\n		return false\n", "	if len(some) == 0 || cache == nil {\n		return true\n"}}},
}

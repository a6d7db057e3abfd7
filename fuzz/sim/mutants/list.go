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
)

const twoGuards = "a Load looks whether what it waited for was asked for late enough (P6), whatever it joined"

const relayed = "the dirty set repairs the cache, too; alone it guards only after loss, where the simulator plays the relay"

// trusted edits make a Load believe what its flight brought.
var trusted = []edit{
	{loader, "	err    error         // written before done is closed\n", "	err    error\n	got    *Reading[any]\n"},
	{settle, "	point.At(point.FlightSettle, m, k.full)\n", `	point.At(point.FlightSettle, m, k.full)
	got := Reading[any]{Value: a.value, State: Fresh, Origin: a.origin, Stamp: a.rec.Stamp, Age: time.Duration(a.asked)}
	if a.rec.Kind == tiers.Absent {
		got.Value, got.Origin = k.fallback, Default
	}
	f.got = &got
`},
	{settle, "import (\n	\"errors\"\n", "import (\n	\"errors\"\n	\"time\"\n"},
	{load, "	err     error // why it waits no more\n", "	err     error\n	got     *Reading[any]\n"},
	{load, "		w.err = res.Val.(*flight).err\n", "		w.err, w.got = res.Val.(*flight).err, res.Val.(*flight).got\n"},
	{load, "		readings[i] = w.k.readingSince(w.token)\n", "		readings[i] = w.k.readingSince(w.token)\n		if w.got != nil && w.err == nil {\n			readings[i] = *w.got\n			readings[i].Age = time.Duration(m.now()) - w.got.Age\n		}\n"},
}

// contented edits make a Load content with whatever landed first.
var contented = edit{load, "w.err == nil && !w.k.confirmedSince(w.token) {", "false {"}

var joinsAny = edit{loader, "	case f == nil || f.token != token:\n", "	case f == nil:\n"}

var mutants = []mutant{
	{"m1", "install in memory without compare", "", []edit{
		{publish, "	case c < 0:\n		return refuse\n", "	case c < 0:\n		return replace\n"}}},
	{"m2", "blind SET in the cache", "", []edit{
		{store, "	return f.Stamp.Newer(old.record.Stamp)\n", "	return true\n"}}},
	{"m3", "delete without tombstone", "", []edit{
		{store, "		sp.entries[f.Name] = e\n		rs[i]", "		if sp.entries[f.Name] = e; f.Kind == tiers.Absent {\n			delete(sp.entries, f.Name)\n		}\n		rs[i]"}}},
	{"m4", "install ignores the token", "", []edit{
		{settle, "token: f.token, asked: start}", "token: f.k.token(), asked: start}"}}},
	{"m5", "asked is taken on arrival (R24)", "", []edit{
		{settle, "		a.asked = m.instant(rec.AsOf)\n", "		a.asked = m.now()\n"}}},
	{"m6", "error treated as not found", "", []edit{
		{ask, "		if r := results[i]; r.Err != nil {\n", `		if results[i].Err != nil {
			results[i] = tiers.Result{Record: tiers.Record{Name: q.k.full, Kind: tiers.Absent, NoRow: true, Stamp: q.k.cell.load().tier().seen}}
		}
		if r := results[i]; r.Err != nil {
`}}},
	{"m7", "no singleflight", "", []edit{
		{loader, "	case f == nil || f.token != token:\n", "	default:\n"}}},
	{"m8", "return the flight's result, not the maximum", "", trusted},
	{"m9", "join a flight older than the push", twoGuards, []edit{joinsAny}},
	{"m9+", "the same, and do not look at what it brought", "", []edit{joinsAny, contented}},
	{"r51", "late joiner: do not look at what a flight brought", "", []edit{contented}},
	{"r51+", "the same, and believe it", "", append([]edit{contented}, trusted...)},

	{"g1", "a later absent does not raise the floor (I9)", "", []edit{
		{publish, "alive && !a.rec.Stamp.Newer(cur.seen) {", "alive {"}}},
	{"g2", "publish over what came meanwhile (I17)", "", []edit{
		{"fastopt/option.go", "	if cur.meta != old {\n		return false\n	}\n", ""}}},
	{"g3", "renew what is dead (R52)", "", []edit{
		{publish, "	case !alive:\n		return replace // an equal", "	case false:\n		return replace // an equal"},
		{entry, "		case old == dead:\n			return false\n", "		case old == dead:\n			return true\n"}}},
	{"g4", "expire without a claim (R53)", "", []edit{
		{expire, "	if !m.asked.CompareAndSwap(asked, dead) {\n", "	if m.asked.Store(dead); false {\n"}}},
	{"g5", "expire over what is newer", "", []edit{
		{expire, "		if top.tier() != m {\n			return false // something newer is there\n		}\n", ""}}},
	{"g6", "Inspect does not look at the clock (I3c)", "", []edit{
		{entry, "case asked == dead, m.kind == kindExpired, now >= later(asked, l.usable):", "case asked == dead, m.kind == kindExpired:"}}},
	{"g7", "a push moves no token (P4)", "", []edit{
		{refresh, "		k.moved.Add(1) // no answer asked", "		k.moved.Add(0) // no answer asked"}}},
	{"g8", "a lost channel ends no freshness (R16)", "", []edit{
		{refresh, "revalidating all options\")\n		}\n		m.revalidate()\n", "revalidating all options\")\n		}\n"}}},
	{"g9", "a channel that is back revalidates nothing", "", []edit{
		{refresh, "pushes arrive\")\n			m.revalidate()\n", "pushes arrive\")\n"}}},
	{"g10", "silence is not noticed (I5b)", "", []edit{
		{refresh, "		r.m.checkPushes()\n", ""}}},
	{"g11", "own writes are not installed (I4)", "", []edit{
		{write, "	k.install(&answer{rec: rec, value: value, origin: Write, ", "	_ = (&answer{rec: rec, value: value, origin: Write, "}}},
	{"g12", "an own write is fresh, whatever was pushed meanwhile", "", []edit{
		{write, "token: token + 1, asked: asked}", "token: k.token() + 0*token, asked: asked}"}}},
	{"g13", "a write in doubt leaves the key fresh (I15)", "", []edit{
		{write, "	k.dirtied.Add(1)\n	k.moved.Add(1)\n	k.m.repairer.add(k, true)\n", "	k.dirtied.Add(1)\n	k.m.repairer.add(k, true)\n"}}},
	{"g14", "a write in doubt is looked for once (I15)", "", []edit{
		{repair, "		left = 2\n", "		left = 1\n"}}},
	{"g15", "unknown is said to be refused (I14)", "", []edit{
		{write, "			k.doubt()\n		}\n		return Receipt{}, writeError(err)\n", "			k.doubt()\n		}\n		return Receipt{}, unavailable(\"source\", err)\n"}}},
	{"g16", "a failed fill of a write is forgotten (I16)", "", []edit{
		{write, "	k.dirtied.Add(1)\n	k.m.repairer.add(k, false)\n", ""}}},
	{"g17", "a repair that the cache did not take counts", "", []edit{
		{write, "			m.stats.fillsFailed.Add(1)\n			continue\n", "			m.stats.fillsFailed.Add(1)\n			list[i].k.clean(list[i].dirty)\n			continue\n"}}},
	{"g18", "a cache that is behind is an answer (R25)", relayed, []edit{
		{settle, "	case out == refused && askSource:\n		return errBehind\n", ""}}},
	{"g19", "what the cache will not announce is not looked at again", "", []edit{
		{"fastopt/key.go", "	if blind && k.m.pushUp.Load() {\n", "	if false {\n"}}},
	{"g20", "Close does not wait for writes (I24)", "", []edit{
		{"fastopt/manager.go", "			m.writes.Wait()\n", ""}}},
}

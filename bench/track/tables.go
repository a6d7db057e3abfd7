package main

import "regexp"

// What BENCHMARKS.md shows: which rows go into which table, between which marks,
// and which of them are drawn. To add a benchmark to the page is to add to these
// lists.

// A table takes the benchmarks whose names match rows. What the group "row"
// matches names its line. If there is a group "col", it names the column, and cells
// show one unit; else each unit is a column. Without any columns, rows is matched
// with the name and the unit, a space between them, and names both line and column.
type table struct {
	name    string // of its marks
	rows    *regexp.Regexp
	but     *regexp.Regexp // not these; nil: none
	first   string         // head of the first column
	columns []column       // with a group "col": only the first, the unit of all cells
}

// A column without values in any row is left out.
type column struct{ unit, head string }

// forContext are peers that do more than give a value for a name.
var forContext = regexp.MustCompile(`/(viper|LaunchDarkly|OpenFeature)$`)

var tables = []table{
	{"option-get", regexp.MustCompile(`^OptionGet/(?P<row>.+)$`), nil, "`Option.Get` of",
		[]column{{"ns/op", "ns"}, {"bare-ns/op", "bare load, ns"}, {"x-bare", "× bare"}, {"allocs/op", "allocations"}}},
	{"option-many", regexp.MustCompile(`^OptionGetMany/(?P<row>.+)$`), nil, "options",
		[]column{{"ns/op", "ns"}, {"x-bare", "× bare pointers behind variables"}, {"x-array", "× array of bare pointers"}}},
	{"handles", regexp.MustCompile(`^Handles/(?P<row>.+)$`), nil, "order, handles",
		[]column{{"ns/op", "ns"}, {"x-array", "× array of bare pointers"}, {"x-variables", "× bare pointers behind variables"}}},
	{"by-name", regexp.MustCompile(`^(?P<row>(?:ManagerGet|ByName/\w+/[\w.-]+|Lookup|FamilyGet|Inspect|LoadFresh)\b.*)$`), nil, "read",
		[]column{{"ns/op", "ns"}, {"bare-ns/op", "xsync v3, ns"}, {"x-bare", "× xsync v3"}, {"x-value", "× xsync v3 and its value"}, {"allocs/op", "allocations"}}},
	{"peers", regexp.MustCompile(`^Peers/(?P<col>[^/]+)/(?P<row>.+)$`), forContext, "ns per read", []column{{"ns/op", ""}}},
	{"peers-context", regexp.MustCompile(`^Peers/(?P<col>[^/]+)/(?P<row>viper|LaunchDarkly|OpenFeature)$`), nil, "ns per read", []column{{"ns/op", ""}}},
	{"ratios", regexp.MustCompile(`^Peers/(?P<row>[^/]+/(?:Option\.Get|Manager\.Get|Lookup|Family\.Get))$`), nil, "workload, read",
		[]column{{"ns/op", "ns"}, {"x-atomic.Pointer", "× bare"}, {"x-xsync-v3", "× xsync v3"}, {"x-otter", "× otter"}, {"x-otter-coarse", "× otter, coarse clock"}, {"x-sturdyc", "× sturdyc"}}},
	{"scaling", regexp.MustCompile(`^Scaling/(?P<row>.+)$`), nil, "two readers over one",
		[]column{{"ns/op", "ns of one of two"}, {"x-scaling", "reads together, × one alone"}, {"x-bare", "of the bare load's scaling"}}},
	{"memory", regexp.MustCompile(`^Memory/(?P<row>.+)$`), nil, "1 M entries; of options 10,000",
		[]column{{"B/entry", "bytes"}, {"objects/entry", "objects"}, {"RSS-B/entry", "resident bytes"}, {"server-B/entry", "bytes in a server"},
			{"x-bytes-otter", "bytes × otter"}, {"x-objects-otter", "objects × otter"}, {"x-gc-otter", "collection × otter"}}},
	{"hit-ratio", regexp.MustCompile(`^HitRatio/(?P<row>.+)$`), nil, "sequence",
		[]column{{"fastopt-%", "here, %"}, {"otter-%", "otter, %"}, {"points", "difference, points"}}},
	{"miss", regexp.MustCompile(`^MissStorm/(?P<row>.+)$`), nil, "1,000 goroutines miss",
		[]column{{"fastopt-p50-µs", "p50, µs"}, {"fastopt-p99-µs", "p99, µs"}, {"x-p50", "p50 × `DoChan`"}, {"x-p99", "p99 × `DoChan`"}, {"x-cpu", "processor time × `DoChan`"}}},
	{"miss-allocs", regexp.MustCompile(`^Miss/(?P<row>.+)$`), nil, "who holds it, how it is asked for",
		[]column{{"own-allocs/op", "allocations per key"}}},
	{"tail", tailRows, nil, "batches of 1,000 reads, µs", nil},
	{"layouts", regexp.MustCompile(`^Layouts/(?P<row>\S+) x-(?P<col>.+)$`), nil, "handles, × a bare pointer", nil},
}

var tailRows = regexp.MustCompile(`^Tail (?P<row>.+)-(?P<col>p[0-9.]+)-µs$`)

// A chart is a table as bars: a group of bars per row, one bar per column.
type chart struct {
	table
	title string
	log   bool // a logarithmic axis
}

var charts = []chart{
	{table{"reads", regexp.MustCompile(`^(?P<row>(?:OptionGet|OptionGetMany|ManagerGet|ByName/\w+/[\w.-]+|Lookup|FamilyGet|Inspect|LoadFresh)\b.*)$`), regexp.MustCompile(`/plain-map$`), "",
		[]column{{"ns/op", "fastopt"}, {"bare-ns/op", "the least that a read of this kind can cost"}}}, "Reads, ns", true},
	{table{"latency", regexp.MustCompile(`^Peers/(?P<col>hot|zipf-10k)/(?P<row>.+)$`), nil, "", []column{{"ns/op", ""}}}, "One read, ns", true},
	{table{"scaling", regexp.MustCompile(`^Scaling/(?P<row>.+)$`), nil, "",
		[]column{{"x-scaling", ""}}}, "Reads of two goroutines on two processors, × those of one alone", false},
	{table{"memory", regexp.MustCompile(`^Memory/(?P<row>.+)$`), nil, "",
		[]column{{"B/entry", "heap"}, {"RSS-B/entry", "process"}}}, "Bytes per entry, of a million; of options, of ten thousand", false},
	{table{"tail", tailRows, nil, "", nil}, "1,000 reads in a row, under refreshes and garbage collection, µs", true},
}

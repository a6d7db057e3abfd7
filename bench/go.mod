module github.com/fastopt/fastopt-go/bench

go 1.26.0

require (
	github.com/fastopt/fastopt-go v0.0.0
	github.com/jackc/pgx/v5 v5.12.0
	github.com/puzpuzpuz/xsync/v3 v3.5.1
	golang.org/x/perf v0.0.0-20260908200009-22c9c6c9d4da
	golang.org/x/sys v0.49.0
)

require (
	github.com/aclements/go-moremath v0.0.0-20210112150236-f10218a38794 // indirect
	github.com/gofrs/flock v0.13.2 // indirect
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/redis/rueidis v1.0.79 // indirect
	github.com/sony/gobreaker/v2 v2.4.0 // indirect
	golang.org/x/sync v0.25.0 // indirect
	golang.org/x/text v0.42.0 // indirect
	golang.org/x/time v0.16.0 // indirect
)

replace github.com/fastopt/fastopt-go => ../

tool golang.org/x/perf/cmd/benchstat

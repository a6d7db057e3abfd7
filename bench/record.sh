#!/bin/sh
# Writes to standard output what BENCHMARKS.md is made of: where it was measured,
# and seven runs of every benchmark. About a quarter of an hour.
#
#	sh bench/record.sh > bench/results/NAME.txt
#	cd bench && go run ./medians < results/NAME.txt
#
# With the argument fleet it writes the table of a fleet on loopback instead, with
# outage that of outages; they say themselves where they were measured. About half
# an hour, and about ten minutes.
#
#	sh bench/record.sh fleet > bench/results/NAME-fleet.txt
#	sh bench/record.sh outage > bench/results/NAME-outage.txt
set -eu
cd "$(dirname "$0")/.."
case "${1:-}" in
fleet | outage)
	cd bench
	command=$1
	shift
	exec go run "./$command" "$@"
	;;
esac
echo "commit: $(git rev-parse HEAD)"
if git diff --quiet HEAD -- fastopt tiers internal bench; then echo "code: as committed"; else echo "code: changed since"; fi
echo "date: $(date -u +%Y-%m-%d)"
echo "go: $(go version)"
echo "system: $(uname -srm)"
echo "processors: $(getconf _NPROCESSORS_ONLN)"
go test -run NONE -bench . -count 7 -benchtime "${BENCHTIME:-1s}" ./fastopt
cd bench
go test -run NONE -bench . -count 7 -benchtime "${BENCHTIME:-1s}" .

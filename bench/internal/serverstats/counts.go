// Package serverstats asks servers what they have counted, by clients that add
// nothing to it.
package serverstats

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// What the servers count themselves: Redis the calls of each command, Postgres
// the calls of each statement (pg_stat_statements).

// Counts are calls by command, or by statement.
type Counts map[string]int64

// Total sums the counts of the names that take accepts; nil accepts all.
func (c Counts) Total(take func(name string) bool) (n int64) {
	for name, calls := range c {
		if take == nil || take(name) {
			n += calls
		}
	}
	return n
}

// Since returns what was counted after before.
func (c Counts) Since(before Counts) Counts {
	diff := maps.Clone(c)
	for name, calls := range before {
		if diff[name] -= calls; diff[name] == 0 {
			delete(diff, name)
		}
	}
	return diff
}

// Redis asks Redis for its count of each command. INFO itself, which only
// this asks for, is left out.
func Redis(c *Client) (Counts, error) {
	text, err := c.Do("INFO", "commandstats")
	if err != nil {
		return nil, err
	}
	return parseCommandStats(text)
}

// parseCommandStats reads lines like cmdstat_get:calls=21,usec=175,…
func parseCommandStats(text string) (Counts, error) {
	all := Counts{}
	for line := range strings.Lines(text) {
		name, stats, ok := strings.Cut(strings.TrimSpace(line), ":calls=")
		name, ok2 := strings.CutPrefix(name, "cmdstat_")
		if !ok || !ok2 || name == "info" {
			continue
		}
		calls, _, _ := strings.Cut(stats, ",")
		n, err := strconv.ParseInt(calls, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("commandstats of %s: %w", name, err)
		}
		all[name] = n
	}
	return all, nil
}

// Stored counts writes of entries: SET, which a script calls that stores. A
// lease is a SET, too, outside of a script.
func Stored(c Counts) int64 { return c["set"] }

// Scripts counts the fills that were offered.
func Scripts(c Counts) int64 { return c["evalsha"] + c["eval"] }

const statementsSQL = `SELECT query, sum(calls)::bigint FROM pg_stat_statements
	WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
	AND query NOT LIKE '%pg_stat_statements%' GROUP BY query`

// Postgres asks Postgres for its count of each statement of this database.
func Postgres(ctx context.Context, c *pgx.Conn) (Counts, error) {
	rows, err := c.Query(ctx, statementsSQL)
	if err != nil {
		return nil, fmt.Errorf("statistics of Postgres: %w", err)
	}
	defer rows.Close()
	all := Counts{}
	for rows.Next() {
		var query string
		var calls int64
		if err := rows.Scan(&query, &calls); err != nil {
			return nil, fmt.Errorf("statistics of Postgres: %w", err)
		}
		all[query] = calls
	}
	return all, rows.Err()
}

// ReadsNames tells the statement by which a source reads options by name.
func ReadsNames(query string) bool { return strings.Contains(query, "o.name = ANY(") }

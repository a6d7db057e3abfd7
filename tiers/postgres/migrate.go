package postgres

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/fastopt/fastopt-go/tiers"
)

// Migrations. The schema is one file, created in one transaction behind a lock,
// so that any number of processes may migrate at once and none sees half of it.

//go:embed schema.sql
var schemaSQL string

// schemaVersion is the version of the schema that this library reads and writes.
const schemaVersion = 1

// Migrate creates the schema fastopt in the database that url names, or does
// nothing if it is there. It is safe to call from several processes at once,
// and waits as long as ctx allows. The role of url needs the right to create a
// schema (or an empty schema fastopt of its own); schema.sql lists the grants
// that readers and writers need afterwards. A schema newer than this library is
// an error wrapping tiers.ErrSetup, as are a wrong password or a missing
// database or right; an unreachable server is tiers.ErrUnavailable.
func Migrate(ctx context.Context, url string) error {
	cc, err := parse(url)
	if err != nil {
		return err
	}
	cc.RuntimeParams["statement_timeout"] = "0" // ctx bounds the wait for another migrator
	cc.RuntimeParams["lock_timeout"] = "0"
	conn, err := connect(ctx, cc)
	if err != nil {
		return fault("migrate", err)
	}
	defer hangUp(conn)
	if err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return migrate(ctx, tx) }); err != nil {
		return fault("migrate", err)
	}
	return nil
}

func migrate(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1, 0)`, lockClass); err != nil {
		return err
	}
	var exists bool
	if err := tx.QueryRow(ctx, `SELECT to_regclass('fastopt.schema_version') IS NOT NULL`).Scan(&exists); err != nil {
		return err
	}
	if exists {
		var version int
		if err := tx.QueryRow(ctx, `SELECT version FROM fastopt.schema_version`).Scan(&version); err != nil {
			return err
		}
		if version != schemaVersion {
			return fmt.Errorf("postgres: migrate: %w: the schema has version %d, this library wants %d", tiers.ErrSetup, version, schemaVersion)
		}
		return nil
	}
	if _, err := tx.Conn().PgConn().Exec(ctx, schemaSQL).ReadAll(); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `INSERT INTO fastopt.schema_version VALUES ($1)`, schemaVersion)
	return err
}

package postgres

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/fastopt/fastopt-go/tiers"
)

// Migrations. Each version of the schema is one file over the one before, run in
// one transaction behind a lock, so that any number of processes may migrate at
// once and none sees half a version. A version never takes away what libraries
// of the version before need: schema and services are updated in any order, a
// version at a time.

var (
	//go:embed schema_v1.sql
	schemaV1 string
	//go:embed schema_v2.sql
	schemaV2 string
	//go:embed roles.sql
	roles string
)

// versions[i] makes version i+1 of version i.
var versions = [...]string{schemaV1, schemaV2}

const (
	schemaVersion = len(versions)     // what Migrate makes
	oldestVersion = schemaVersion - 1 // of the schemas that this library works with
	newestVersion = schemaVersion + 1
)

// Roles returns SQL that creates group roles for readers, writers and relays,
// with the rights they need and no more; its head says what each may do. It is
// run after Migrate, and again after a version of it that says so.
func Roles() string { return roles }

// Migrate creates the schema fastopt in the database that url names, brings it
// to the version of this library, or does nothing if it is there. It is safe to
// call from several processes at once, also while services run, and waits as
// long as ctx allows. The role of url needs the right to create a schema (or an
// empty schema fastopt of its own) and owns it from then on; Roles gives others
// their rights. A schema newer than this library by one version is left as it
// is; one that is newer still is an error wrapping tiers.ErrSetup, as are a
// wrong password or a missing database or right; an unreachable server is
// tiers.ErrUnavailable.
func Migrate(ctx context.Context, url string) error {
	a, err := parse("Migrate's url", url)
	if err != nil {
		return err
	}
	conn, err := a.connect(ctx)
	if err != nil {
		return fault("migrate", err)
	}
	defer hangUp(conn)
	for done := false; !done; {
		// What the role prefers would read a version from before the lock.
		err := pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) (err error) {
			done, err = migrateOnce(ctx, tx, schemaVersion)
			return err
		})
		switch {
		case codeOf(err) == stateGrant:
			return fmt.Errorf("postgres: migrate: %w: %s (SQLSTATE %s)", tiers.ErrSetup, lacking(ctx, conn), stateGrant)
		case err != nil:
			return fault("migrate", err)
		}
	}
	return nil
}

// lacking says which right a migration failed for.
func lacking(ctx context.Context, conn *pgx.Conn) string {
	const otherwise = "the role may not: run it as the owner of the schema fastopt, or GRANT CREATE ON DATABASE for the first time"
	var problem string
	if err := conn.QueryRow(ctx, `SELECT problem FROM (`+checkSQL+`) c (rank, since, problem) WHERE problem LIKE '%FUNCTION pg_catalog.%'`).Scan(&problem); err != nil {
		return otherwise
	}
	return problem
}

// migrateOnce makes the next version, at most to. done: nothing was left to do.
func migrateOnce(ctx context.Context, tx pgx.Tx, to int) (done bool, err error) {
	// ctx bounds the wait for another migrator.
	if _, err := tx.Exec(ctx, `SELECT set_config('statement_timeout', '0', true), set_config('lock_timeout', '0', true)`); err != nil {
		return false, err
	}
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1, 0)`, lockClass); err != nil {
		return false, err
	}
	version, err := versionOn(ctx, tx)
	if err != nil {
		return false, err
	}
	if version >= to {
		return true, tooNew(version)
	}
	if _, err := tx.Conn().PgConn().Exec(ctx, versions[version]).ReadAll(); err != nil {
		return false, err
	}
	// The highest counts. A row is added, never changed: the table has no key, by
	// which a publication FOR ALL TABLES would let it be changed.
	_, err = tx.Exec(ctx, `INSERT INTO fastopt.schema_version VALUES ($1)`, version+1)
	return false, err
}

// versionOn returns the version of the schema that is there, 0 if there is none.
func versionOn(ctx context.Context, tx pgx.Tx) (int, error) {
	var exists bool
	if err := tx.QueryRow(ctx, `SELECT to_regclass('fastopt.schema_version') IS NOT NULL`).Scan(&exists); err != nil || !exists {
		return 0, err
	}
	var version *int
	if err := tx.QueryRow(ctx, `SELECT max(version) FROM fastopt.schema_version`).Scan(&version); err != nil {
		return 0, err
	}
	if version == nil {
		return 0, errNoVersion
	}
	return *version, nil
}

var errNoVersion = fmt.Errorf("%w: table fastopt.schema_version is empty: restore its row, the version of the schema", tiers.ErrSetup)

func tooNew(version int) error {
	if version <= newestVersion {
		return nil
	}
	return fmt.Errorf("%w: the schema fastopt has version %d, this library works with %d to %d: use a newer library",
		tiers.ErrSetup, version, oldestVersion, newestVersion)
}

func tooOld(version int) error {
	if version >= oldestVersion {
		return nil
	}
	return fmt.Errorf("%w: the schema fastopt has version %d, this library works with %d to %d: run postgres.Migrate",
		tiers.ErrSetup, version, oldestVersion, newestVersion)
}

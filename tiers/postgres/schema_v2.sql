-- Schema of fastopt, version 2: version 1 and the following.
--
-- Its idea: what is absent has a stamp, too, so a write can be made on condition
-- that it still is; and what was deleted is forgotten some day, up to a horizon
-- that everybody who asks is told of; and TRUNCATE, too, leaves tombstones. No table changes: libraries made for
-- version 1 go on, and nobody waits for the migration.

-- As in version 1, but for the condition. ZF002: a stamp is not current. It is for
-- a value, if it is the value's; for no value, if it is (0, 0), or of this epoch,
-- from the delete to the head, and not from before the horizon, below which a
-- delete may be forgotten. ZF003: the snapshots of a write would be older than
-- the writer lock. A session of the library is never so, one of a pooler may be.
CREATE OR REPLACE FUNCTION fastopt.begin_write(ns text, least_epoch bigint, names text[], epochs bigint[], revisions bigint[])
RETURNS void LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE h fastopt.here;
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'not the primary of the recorded history' USING ERRCODE = 'ZF001';
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the transaction is not READ COMMITTED' USING ERRCODE = 'ZF003';
    END IF;
    LOCK TABLE fastopt.options IN ROW EXCLUSIVE MODE;
    PERFORM pg_advisory_xact_lock(1718579316, 'fastopt.options'::regclass::oid::int);
    SELECT * INTO STRICT h FROM fastopt.here;
    IF NOT h.mine OR h.epoch < least_epoch THEN
        RAISE EXCEPTION 'not the primary of the recorded history' USING ERRCODE = 'ZF001';
    END IF;
    IF EXISTS (
        SELECT FROM unnest(names, epochs, revisions) AS want(name, epoch, revision)
          LEFT JOIN fastopt.options o ON o.namespace = ns AND o.name = want.name
          LEFT JOIN fastopt.tombstones t ON t.namespace = ns AND t.name = want.name
          LEFT JOIN fastopt.namespaces n ON n.namespace = ns
         WHERE NOT CASE
               WHEN o.name IS NOT NULL THEN (want.epoch, want.revision) = (h.epoch, o.revision)
               WHEN (want.epoch, want.revision) = (0, 0) THEN true
               ELSE want.epoch = h.epoch
                    AND want.revision BETWEEN coalesce(t.revision, 0) AND coalesce(n.revision, 0)
                    AND want.revision >= coalesce(n.compacted, 0)
               END
    ) THEN
        RAISE EXCEPTION 'stamp is not current' USING ERRCODE = 'ZF002';
    END IF;
    PERFORM set_config('fastopt.signed', 'yes', true);
END $$;

-- As in version 1, but before a TRUNCATE every row gets a tombstone, as if it were
-- deleted: a cache that is fed from here would keep for ever what it is not told
-- to forget. The rows are those of a new snapshot, behind the lock of the table,
-- so none is missed; an older one might miss some. The owner's rights serve who
-- may TRUNCATE and no more.
CREATE OR REPLACE FUNCTION fastopt.lock_writers() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ns text;
    n bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(1718579316, TG_RELID::int);
    IF TG_OP <> 'TRUNCATE' THEN
        RETURN NULL;
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'TRUNCATE of options needs a transaction that is READ COMMITTED' USING ERRCODE = 'ZF003';
    END IF;
    FOR ns IN SELECT DISTINCT namespace FROM fastopt.options LOOP
        n := fastopt.step(ns);
        INSERT INTO fastopt.tombstones (namespace, name, revision, deleted_at, deleted_by)
        SELECT ns, name, n, now(), session_user FROM fastopt.options WHERE namespace = ns
            ON CONFLICT (namespace, name) DO UPDATE
           SET (revision, deleted_at, deleted_by, reason) = (EXCLUDED.revision, EXCLUDED.deleted_at, EXCLUDED.deleted_by, NULL);
    END LOOP;
    RETURN NULL;
END $$;

-- Its trigger is of version 1, and nothing is left to do.
CREATE OR REPLACE FUNCTION fastopt.truncated() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN NULL;
END $$;

-- Forgets up to 2,000 tombstones older than age, the oldest first, so that
-- writers wait for a moment only, and raises the horizon to the last of them. It
-- returns how many it forgot: fewer than 2,000, and no more are left. It
-- notifies nobody, for nothing has changed.
CREATE FUNCTION fastopt.compact(ns text, age interval) RETURNS int LANGUAGE plpgsql VOLATILE
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    removed int;
    horizon bigint;
BEGIN
    IF age IS NULL OR age < '0' THEN
        RAISE EXCEPTION 'age is negative' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF NOT EXISTS (SELECT FROM fastopt.tombstones WHERE namespace = ns AND deleted_at < now() - age) THEN
        RETURN 0; -- without the writer lock
    END IF;
    LOCK TABLE fastopt.options IN ROW EXCLUSIVE MODE;
    PERFORM pg_advisory_xact_lock(1718579316, 'fastopt.options'::regclass::oid::int);
    IF NOT (SELECT mine FROM fastopt.here) THEN
        RAISE EXCEPTION 'not the primary of the recorded history' USING ERRCODE = 'ZF001';
    END IF;
    WITH old AS (
        SELECT name FROM fastopt.tombstones WHERE namespace = ns AND deleted_at < now() - age ORDER BY revision LIMIT 2000
    ), gone AS (
        DELETE FROM fastopt.tombstones t USING old WHERE t.namespace = ns AND t.name = old.name RETURNING t.revision
    )
    SELECT count(*), max(revision) INTO removed, horizon FROM gone;
    -- The trigger a_notify heeds the revision alone.
    UPDATE fastopt.namespaces SET compacted = horizon WHERE namespace = ns AND compacted < horizon;
    RETURN removed;
END $$;
REVOKE EXECUTE ON FUNCTION fastopt.compact(text, interval) FROM PUBLIC;

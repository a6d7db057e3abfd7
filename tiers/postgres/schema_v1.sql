-- Schema of fastopt, version 1. Postgres 14 or newer. It is not changed any more:
-- what comes later is a version of its own.
--
-- Its idea: whoever changes fastopt.options, the library or plain SQL, gets the
-- same stamps. Triggers take the writer lock before any row is touched, step
-- the revision of the namespace once per transaction, keep a tombstone of each
-- deleted row and notify once per transaction and namespace. So an operator writes
--
--   UPDATE fastopt.options SET value = '0.5' WHERE namespace = 'checkout' AND name = 'events.sample-rate';
--   INSERT INTO fastopt.options (namespace, name, value) VALUES ('checkout', 'http.max-body', '1048576');
--   DELETE FROM fastopt.options WHERE namespace = 'checkout' AND name = 'http.max-body';
--
-- Who may do what: roles.sql.

DO $$ BEGIN
    IF to_regnamespace('fastopt') IS NULL THEN CREATE SCHEMA fastopt; END IF;
END $$;

CREATE TABLE fastopt.schema_version (version int NOT NULL);

CREATE TABLE fastopt.options (
    namespace  text COLLATE "C" NOT NULL CHECK (octet_length(namespace) BETWEEN 1 AND 400),
    name       text COLLATE "C" NOT NULL CHECK (octet_length(name) BETWEEN 1 AND 400),
    value      json NOT NULL, -- json keeps the text as it was written; jsonb would not
    size       int NOT NULL,  -- bytes of value, so that a huge one is told without being read
    revision   bigint NOT NULL,
    updated_at timestamptz NOT NULL,
    updated_by text,
    reason     text,
    PRIMARY KEY (namespace, name)
);
CREATE INDEX options_revision ON fastopt.options (namespace, revision);

-- Deleted rows, for those who ask what changed, and who did it; reads of an
-- option never look here.
CREATE TABLE fastopt.tombstones (
    namespace  text COLLATE "C" NOT NULL,
    name       text COLLATE "C" NOT NULL,
    revision   bigint NOT NULL,
    deleted_at timestamptz NOT NULL,
    deleted_by text,
    reason     text,
    PRIMARY KEY (namespace, name)
);
CREATE INDEX tombstones_revision ON fastopt.tombstones (namespace, revision);

-- (xid, at) mark the transaction that stepped the revision last. An xid alone
-- would not do: one copied from another cluster could come again.
CREATE TABLE fastopt.namespaces (
    namespace text COLLATE "C" PRIMARY KEY,
    revision  bigint NOT NULL,
    xid       xid8 NOT NULL,
    at        timestamptz NOT NULL,
    compacted bigint NOT NULL DEFAULT 0 -- horizon: deletes up to here may have left no tombstone
) WITH (fillfactor = 50);

-- One row: the epoch, the identity it was given for, and the lineage, which
-- copies and restores of this database keep.
CREATE TABLE fastopt.epoch (
    one               boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch             bigint NOT NULL CHECK (epoch BETWEEN 1 AND 4294967295),
    system_identifier bigint NOT NULL,
    timeline          bigint NOT NULL,
    database          bigint NOT NULL,
    lineage           uuid NOT NULL
);

-- Who answers. pg_control_checkpoint() still tells the old timeline right after
-- a promotion, the name of the WAL file tells the new one; a standby has none.
CREATE VIEW fastopt.actual AS
SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system()) AS system_identifier,
       CASE WHEN pg_is_in_recovery() THEN NULL
            ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint END AS timeline,
       (SELECT oid::bigint FROM pg_catalog.pg_database WHERE datname = current_database()) AS database;

-- Every statement of the library reads this. mine: the epoch was given for who
-- answers, so its revisions count; otherwise the answer is none.
CREATE VIEW fastopt.here AS
SELECT e.epoch, e.system_identifier, e.timeline, e.database, e.lineage::text AS lineage,
       pg_is_in_recovery() AS recovering,
       CASE WHEN pg_is_in_recovery() THEN false
            ELSE (e.system_identifier, e.timeline, e.database) = (a.system_identifier, a.timeline, a.database) END AS mine
  FROM fastopt.epoch e CROSS JOIN fastopt.actual a;

INSERT INTO fastopt.epoch (epoch, system_identifier, timeline, database, lineage)
SELECT 1, system_identifier, timeline, database, gen_random_uuid() FROM fastopt.actual;

-- Writers queue here, ahead of any row lock. UPDATE locks the row before the
-- namespace, an upsert the other way round: without this they deadlock.
CREATE FUNCTION fastopt.lock_writers() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(1718579316, TG_RELID::int);
    RETURN NULL;
END $$;

-- The revision of this transaction in ns. Only under the writer lock.
CREATE FUNCTION fastopt.step(ns text) RETURNS bigint LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE n bigint;
BEGIN
    UPDATE fastopt.namespaces SET revision = revision + 1, xid = pg_current_xact_id(), at = now()
     WHERE namespace = ns AND (xid, at) IS DISTINCT FROM (pg_current_xact_id(), now())
    RETURNING revision INTO n;
    IF FOUND THEN RETURN n; END IF;
    SELECT revision INTO n FROM fastopt.namespaces WHERE namespace = ns; -- stepped already
    IF FOUND THEN RETURN n; END IF;
    INSERT INTO fastopt.namespaces (namespace, revision, xid, at) VALUES (ns, 1, pg_current_xact_id(), now());
    RETURN 1;
END $$;
REVOKE EXECUTE ON FUNCTION fastopt.step(text) FROM PUBLIC;

-- The functions below run as their owner, so that a writer needs no right on
-- the tables they keep.

-- Plain SQL that does not say who and why is signed with its role: the old
-- signature would be a lie. The library says so by fastopt.signed.
CREATE FUNCTION fastopt.stamp() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE signed boolean := coalesce(current_setting('fastopt.signed', true), '') = 'yes';
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF NEW.namespace <> OLD.namespace OR NEW.name <> OLD.name THEN
            RAISE EXCEPTION 'namespace and name of an option cannot be changed: delete and insert'
                USING ERRCODE = 'check_violation';
        END IF;
        IF NOT signed AND NEW.updated_by IS NOT DISTINCT FROM OLD.updated_by
           AND NEW.reason IS NOT DISTINCT FROM OLD.reason THEN
            NEW.updated_by := session_user;
            NEW.reason := NULL;
        END IF;
    ELSIF NOT signed AND NEW.updated_by IS NULL THEN
        NEW.updated_by := session_user;
    END IF;
    NEW.size := octet_length(NEW.value::text);
    NEW.revision := fastopt.step(NEW.namespace);
    NEW.updated_at := now();
    RETURN NEW;
END $$;

CREATE FUNCTION fastopt.born() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM fastopt.tombstones WHERE namespace = NEW.namespace AND name = NEW.name;
    RETURN NULL;
END $$;

-- A DELETE has no columns to sign with: the library signs by settings of the
-- transaction, plain SQL is signed with its role.
CREATE FUNCTION fastopt.tomb() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    signed boolean := coalesce(current_setting('fastopt.signed', true), '') = 'yes';
    who text := CASE WHEN signed THEN nullif(current_setting('fastopt.actor', true), '') ELSE session_user END;
    why text := CASE WHEN signed THEN nullif(current_setting('fastopt.reason', true), '') END;
BEGIN
    INSERT INTO fastopt.tombstones (namespace, name, revision, deleted_at, deleted_by, reason)
    VALUES (OLD.namespace, OLD.name, fastopt.step(OLD.namespace), now(), who, why)
    ON CONFLICT (namespace, name) DO UPDATE
        SET (revision, deleted_at, deleted_by, reason) = (EXCLUDED.revision, EXCLUDED.deleted_at, EXCLUDED.deleted_by, EXCLUDED.reason);
    RETURN NULL;
END $$;

-- TRUNCATE leaves no tombstones: the horizon says that everything is to be read anew.
CREATE FUNCTION fastopt.truncated() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM fastopt.step(namespace) FROM fastopt.namespaces;
    UPDATE fastopt.namespaces SET compacted = revision;
    DELETE FROM fastopt.tombstones;
    RETURN NULL;
END $$;

-- Never a value in the payload: any role can LISTEN.
CREATE FUNCTION fastopt.notify() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_notify('fastopt', NEW.namespace || ' ' || NEW.revision);
    RETURN NULL;
END $$;

-- Firing a trigger needs no right to its function, but making one does: nobody
-- may hang these on a table of his own and forge deletes with their owner's rights.
REVOKE EXECUTE ON FUNCTION fastopt.lock_writers(), fastopt.stamp(), fastopt.born(), fastopt.tomb(),
    fastopt.truncated(), fastopt.notify() FROM PUBLIC;

CREATE TRIGGER a_lock BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON fastopt.options
    FOR EACH STATEMENT EXECUTE FUNCTION fastopt.lock_writers();
CREATE TRIGGER b_stamp BEFORE INSERT OR UPDATE ON fastopt.options
    FOR EACH ROW EXECUTE FUNCTION fastopt.stamp();
CREATE TRIGGER c_born AFTER INSERT ON fastopt.options
    FOR EACH ROW EXECUTE FUNCTION fastopt.born();
CREATE TRIGGER c_tomb AFTER DELETE ON fastopt.options
    FOR EACH ROW EXECUTE FUNCTION fastopt.tomb();
CREATE TRIGGER c_truncated AFTER TRUNCATE ON fastopt.options
    FOR EACH STATEMENT EXECUTE FUNCTION fastopt.truncated();
CREATE TRIGGER a_notify AFTER INSERT OR UPDATE OF revision ON fastopt.namespaces
    FOR EACH ROW EXECUTE FUNCTION fastopt.notify();

-- First statement of the library's writes. It takes the locks in the order in
-- which plain SQL takes them (table, writers), and only then looks: under READ
-- COMMITTED each statement of a volatile function has a snapshot of its own,
-- which is thus newer than the lock.
-- ZF001: who answers may not write this history. ZF002: a stamp is not current;
-- (0, 0) stands for "no row".
CREATE FUNCTION fastopt.begin_write(ns text, least_epoch bigint, names text[], epochs bigint[], revisions bigint[])
RETURNS void LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE h fastopt.here;
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'not the primary of the recorded history' USING ERRCODE = 'ZF001';
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
         WHERE (CASE WHEN o.name IS NULL THEN 0 ELSE h.epoch END, coalesce(o.revision, 0)) <> (want.epoch, want.revision)
    ) THEN
        RAISE EXCEPTION 'stamp is not current' USING ERRCODE = 'ZF002';
    END IF;
    PERFORM set_config('fastopt.signed', 'yes', true);
END $$;

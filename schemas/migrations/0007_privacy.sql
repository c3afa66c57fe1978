-- Forgetting people and pruning old events (docs/runbook.md).

-- Ids that are not stored any more, as hashes: to forget somebody must not keep the id.
-- The salt is this database's own, so that a table made elsewhere from known ids tells nothing. Who
-- has the whole database can still try an id; nothing but never storing the hash would prevent that.
DO $$
BEGIN
    EXECUTE format(
        'CREATE FUNCTION "suppressionHash"(kind text, id text) RETURNS bytea '
        'LANGUAGE sql IMMUTABLE PARALLEL SAFE '
        'RETURN sha256(convert_to(%L || kind || '':'' || id, ''UTF8''))',
        gen_random_uuid()::text || gen_random_uuid()::text
    );
END
$$;
CREATE TABLE "suppressedIds" (
    hash        bytea PRIMARY KEY,
    "createdAt" timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE "suppressedIds" IS
    'A transaction that plans identity locks this table in ROW SHARE mode. A transaction that '
    'suppresses ids locks it in EXCLUSIVE mode, so it waits for all plans that are under way.';

-- Profiles that are forgotten already, whose events still go, in chunks.
CREATE TABLE erasures (
    "profileGuid" text COLLATE "C" PRIMARY KEY,
    "createdAt"   timestamptz NOT NULL DEFAULT now()
);

-- Events that occurred before this time may be gone: what links them made is kept in "anonymousIds".
CREATE TABLE retention (
    "prunedBefore" timestamptz NOT NULL
);
COMMENT ON TABLE retention IS 'No row until the first `merganser prune`, then one.';

-- As before, but that `merganser prune` says so where no rule counts what it deletes.
CREATE OR REPLACE FUNCTION "noteProfilesLeft"() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
    IF current_setting('merganser.uncounted', true) = 'on' THEN
        RETURN NULL;
    END IF;
    -- Its argument is the column that names the profile: old rows are of `events` or `profiles`.
    INSERT INTO "eventChanges" (kind, size, profiles)
    SELECT 'left', count(*), array_agg(profile)
    FROM (
        SELECT profile, row_number() OVER () / 5000 AS part
        FROM (SELECT DISTINCT to_jsonb(old_rows) ->> TG_ARGV[0] AS profile FROM old_rows) AS names
        WHERE profile IS NOT NULL
    ) AS parts
    GROUP BY part;
    RETURN NULL;
END
$$;

-- Decoration: which profiles a source is to be asked for, when, and how each source is doing.

CREATE TABLE "profileDecorations" (
    "profileGuid" text COLLATE "C" NOT NULL,
    source        text COLLATE "C" NOT NULL,
    "dueAt"       timestamptz NOT NULL,
    PRIMARY KEY ("profileGuid", source)
) WITH (fillfactor = 80);
COMMENT ON COLUMN "profileDecorations"."dueAt" IS
    'When the process queries the source for this profile next. During a query: when its lease ends. '
    '1970 until the first query, so that new users come first.';
CREATE INDEX "profileDecorations_source_dueAt" ON "profileDecorations" (source, "dueAt");

CREATE TABLE "propertySourceStates" (
    source         text COLLATE "C" PRIMARY KEY,
    revisions      bigint[] NOT NULL,
    "scheduledTo"  text COLLATE "C" DEFAULT '',
    failures       integer NOT NULL DEFAULT 0,
    "failingSince" timestamptz,
    "retryAt"      timestamptz,
    error          text,
    "ruleErrors"   jsonb NOT NULL DEFAULT '{}',
    "succeededAt"  timestamptz
) WITH (fillfactor = 50);
COMMENT ON COLUMN "propertySourceStates".revisions IS
    'The rules for which all known profiles are, or are being, scheduled.';
COMMENT ON COLUMN "propertySourceStates"."scheduledTo" IS
    'The profiles up to this guid are scheduled for these revisions; null when all are.';

-- Who becomes known is due at once. Nobody is missed when a source is new: applying rules waits for
-- all who write profiles, what they wrote is scheduled with all others, and later writers see the
-- source. This never waits for the decoration process, whatever that holds: a row that is there
-- already is left as it is, and no row is deleted here. Only a user's profile has rows, and those go
-- when the process finds the profile gone.
CREATE FUNCTION "noteProfilesKnown"() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO "profileDecorations" ("profileGuid", source, "dueAt")
    SELECT new_rows.guid, sources.name, 'epoch'
    FROM new_rows
    CROSS JOIN "propertySources" AS sources
    WHERE new_rows."userId" IS NOT NULL
        AND EXISTS (
            SELECT FROM "profilePropertyRules"
            WHERE definition #>> '{query,source}' = sources.name
        )
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;

CREATE TRIGGER "noteKnownInserted" AFTER INSERT ON profiles
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION "noteProfilesKnown"();
CREATE TRIGGER "noteKnownUpdated" AFTER UPDATE ON profiles
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION "noteProfilesKnown"();
SELECT "takeNotes"(EXISTS (SELECT FROM "profilePropertyRules"));

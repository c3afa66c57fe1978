-- Properties of profiles: the rules, what they give, and the notes that keep them up to date.

-- The rules as applied (`merganser rules apply`). A changed rule gets a new revision.
CREATE SEQUENCE "propertyRevisions";
CREATE TABLE "profilePropertyRules" (
    key            text COLLATE "C" PRIMARY KEY,
    revision       bigint NOT NULL UNIQUE DEFAULT nextval('"propertyRevisions"'),
    definition     jsonb NOT NULL,
    "appliedAt"    timestamptz NOT NULL DEFAULT clock_timestamp(),
    "backfilledTo" text COLLATE "C" DEFAULT '',
    backfilled     bigint NOT NULL DEFAULT 0
);
COMMENT ON COLUMN "profilePropertyRules"."backfilledTo" IS
    'The profiles up to this guid have the property; null when all have.';

-- The company's own databases that rules may ask. Their URLs stay in the environment.
CREATE TABLE "propertySources" (
    name       text COLLATE "C" PRIMARY KEY,
    definition jsonb NOT NULL
);

CREATE TABLE "profileProperties" (
    "profileGuid" text COLLATE "C" NOT NULL,
    key           text COLLATE "C" NOT NULL,
    position      integer NOT NULL DEFAULT 0,
    value         text NOT NULL,
    "updatedAt"   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY ("profileGuid", key, position)
) WITH (fillfactor = 80);
COMMENT ON COLUMN "profileProperties".position IS 'Where an array property has the value; else 0.';
-- Whose property has this value? The start of a value is enough to find it by.
CREATE INDEX "profileProperties_key_value"
    ON "profileProperties" (key, (left(value, 255)) COLLATE "C", "profileGuid");

-- What the rules remember of a profile's events, so that the next event is all they need to read.
CREATE TABLE "propertyStates" (
    "profileGuid" text COLLATE "C" PRIMARY KEY,
    state         json NOT NULL,
    "expiresAt"   timestamptz
) WITH (fillfactor = 70);
COMMENT ON COLUMN "propertyStates"."expiresAt" IS
    'When the next event leaves the window of a rule.';
CREATE INDEX "propertyStates_expiresAt" ON "propertyStates" ("expiresAt")
    WHERE "expiresAt" IS NOT NULL;

-- Profiles whose events are counted again from the first one, some thousands at a time.
CREATE TABLE "propertyRecounts" (
    "profileGuid" text COLLATE "C" PRIMARY KEY,
    "createdAt"   timestamptz NOT NULL DEFAULT now(),
    state         json NOT NULL DEFAULT '{}',
    "reachedAt"   timestamptz,
    "reachedGuid" text COLLATE "C"
);
COMMENT ON COLUMN "propertyRecounts"."reachedAt" IS
    'The last event in the state, by (occurredAt, guid); null before the first.';

-- What happened to events that have a profile: written by triggers, so that no writer can forget
-- it, and consumed by the properties process. A change and its note become visible together.
CREATE TABLE "eventChanges" (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text NOT NULL CHECK (kind IN ('placed', 'left', 'data')),
    size        integer NOT NULL,
    events      text[] COLLATE "C",
    profiles    text[] COLLATE "C",
    "createdAt" timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE "eventChanges" IS
    'placed: events[n] came to profiles[n]. left: events of these profiles went or changed, or the '
    'profiles themselves went. data: rows of eventData of these events came, went or changed.';
-- Guids hardly compress, and trying takes time.
ALTER TABLE "eventChanges"
    ALTER events SET STORAGE EXTERNAL,
    ALTER profiles SET STORAGE EXTERNAL;

-- The functions run with their owner's rights: who may insert events needs none to the notes. They
-- join by hash whatever the session prefers, as the rows of a statement have no index. A note has
-- at most 5,000 names.
CREATE FUNCTION "noteEventsInserted"() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO "eventChanges" (kind, size, events, profiles)
    SELECT 'placed', count(*), array_agg(guid), array_agg("profileGuid")
    FROM (
        SELECT guid, "profileGuid", row_number() OVER () / 5000 AS part
        FROM new_rows
        WHERE "profileGuid" IS NOT NULL
    ) AS placed
    GROUP BY part;
    RETURN NULL;
END
$$;

CREATE FUNCTION "noteEventsUpdated"() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp SET enable_hashjoin = on AS $$
BEGIN
    WITH changes AS (
        SELECT
            new_rows.guid, new_rows."profileGuid" AS profile, old_rows."profileGuid" AS former
        FROM new_rows
        FULL JOIN old_rows ON old_rows.guid = new_rows.guid
    )
    INSERT INTO "eventChanges" (kind, size, events, profiles)
    SELECT 'left', count(*), NULL, array_agg(former)
    FROM (
        SELECT former, row_number() OVER () / 5000 AS part
        FROM (SELECT DISTINCT former FROM changes WHERE former IS NOT NULL) AS formers
    ) AS parts
    GROUP BY part
    UNION ALL
    SELECT 'placed', count(*), array_agg(guid), array_agg(profile)
    FROM (
        SELECT guid, profile, row_number() OVER () / 5000 AS part
        FROM changes
        WHERE profile IS DISTINCT FROM former AND profile IS NOT NULL
    ) AS parts
    GROUP BY part;
    RETURN NULL;
END
$$;

CREATE FUNCTION "noteProfilesLeft"() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
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

CREATE FUNCTION "noteEventData"() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
    -- The resolver says so where it writes the data together with the event.
    IF current_setting('merganser.data_with_events', true) = 'on' THEN
        RETURN NULL;
    END IF;
    INSERT INTO "eventChanges" (kind, size, events)
    SELECT 'data', count(*), array_agg("eventGuid")
    FROM (
        SELECT "eventGuid", row_number() OVER () / 5000 AS part
        FROM (SELECT DISTINCT "eventGuid" FROM data_rows) AS events
    ) AS parts
    GROUP BY part;
    RETURN NULL;
END
$$;

CREATE TRIGGER "noteInserted" AFTER INSERT ON events
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION "noteEventsInserted"();
CREATE TRIGGER "noteUpdated" AFTER UPDATE ON events
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION "noteEventsUpdated"();
CREATE TRIGGER "noteDeleted" AFTER DELETE ON events
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION "noteProfilesLeft"('profileGuid');
CREATE TRIGGER "noteDeleted" AFTER DELETE ON profiles
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION "noteProfilesLeft"('guid');
CREATE TRIGGER "noteDataInserted" AFTER INSERT ON "eventData"
    REFERENCING NEW TABLE AS data_rows
    FOR EACH STATEMENT EXECUTE FUNCTION "noteEventData"();
CREATE TRIGGER "noteDataUpdatedFrom" AFTER UPDATE ON "eventData"
    REFERENCING OLD TABLE AS data_rows
    FOR EACH STATEMENT EXECUTE FUNCTION "noteEventData"();
CREATE TRIGGER "noteDataUpdatedTo" AFTER UPDATE ON "eventData"
    REFERENCING NEW TABLE AS data_rows
    FOR EACH STATEMENT EXECUTE FUNCTION "noteEventData"();
CREATE TRIGGER "noteDataDeleted" AFTER DELETE ON "eventData"
    REFERENCING OLD TABLE AS data_rows
    FOR EACH STATEMENT EXECUTE FUNCTION "noteEventData"();

-- Without rules nobody reads notes, so none are taken. Enabling waits for transactions that write
-- events: what they write is older than the first rule, what comes later is noted.
CREATE FUNCTION "takeNotes"(taken boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    trigger record;
BEGIN
    FOR trigger IN
        SELECT tgname, tgrelid::regclass AS relation FROM pg_trigger
        WHERE tgfoid::regproc::text LIKE '"note%'
            AND tgenabled <> CASE WHEN taken THEN 'O' ELSE 'D' END::"char"
        ORDER BY tgrelid::regclass::text
    LOOP
        EXECUTE format(
            'ALTER TABLE %s %s TRIGGER %I',
            trigger.relation, CASE WHEN taken THEN 'ENABLE' ELSE 'DISABLE' END, trigger.tgname
        );
    END LOOP;
END
$$;
SELECT "takeNotes"(false);

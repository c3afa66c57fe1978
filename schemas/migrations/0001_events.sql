-- The public contract: other systems insert into these tables and analysts read them.
-- Names and columns are those of the Grouparoo event system. No foreign keys: eventData may come after
-- or before its event, rows are loaded by COPY, and profileGuid follows a merge in chunks.

-- A guid: prefix and UUIDv7, so that new keys land at the right edge of every index.
-- PostgreSQL 18 has uuidv7(); before that it is a random UUID with the time written over its head.
DO $$
BEGIN
    IF to_regprocedure('pg_catalog.uuidv7()') IS NOT NULL THEN
        CREATE FUNCTION "newGuid"(prefix text) RETURNS text LANGUAGE sql VOLATILE PARALLEL SAFE
        RETURN prefix || uuidv7();
    ELSE
        CREATE FUNCTION "newGuid"(prefix text) RETURNS text LANGUAGE sql VOLATILE PARALLEL SAFE
        RETURN prefix || encode(
            set_bit(set_bit(
                overlay(
                    uuid_send(gen_random_uuid())
                    PLACING substring(
                        int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3
                    )
                    FROM 1 FOR 6
                ), 52, 1), 53, 1),
            'hex'
        )::uuid;
    END IF;
END
$$;

CREATE TABLE events (
    guid           text COLLATE "C" PRIMARY KEY DEFAULT "newGuid"('evt_'),
    "producerGuid" text COLLATE "C",
    "ipAddress"    text,
    "profileGuid"  text COLLATE "C",
    "createdAt"    timestamptz NOT NULL DEFAULT now(),
    "updatedAt"    timestamptz NOT NULL DEFAULT now(),
    "occurredAt"   timestamptz,
    type           text NOT NULL,
    "userId"       text COLLATE "C",
    "anonymousId"  text COLLATE "C",
    CONSTRAINT "guid has the prefix evt_ and at most 64 characters" CHECK (
        starts_with(guid, 'evt_') AND char_length(guid) <= 64
    ),
    CONSTRAINT "times lie in the years 1 to 9999" CHECK (
        "createdAt" BETWEEN '0001-01-01 00:00Z' AND '9999-12-31 23:59:59.999999Z'
        AND "occurredAt" BETWEEN '0001-01-01 00:00Z' AND '9999-12-31 23:59:59.999999Z'
    ),
    CONSTRAINT "ids and type have at most 512 characters" CHECK (
        char_length(type) <= 512
        AND char_length("userId") <= 512
        AND char_length("anonymousId") <= 512
    )
);
COMMENT ON COLUMN events."profileGuid" IS 'Set by the server. Null until the event is resolved.';
COMMENT ON COLUMN events."occurredAt" IS
    'Set by the client. Where it is null the server sets createdAt when it resolves the event.';

-- The scanner's only question: which rows are not resolved yet, oldest first?
CREATE INDEX "events_unresolved" ON events ("createdAt", guid) WHERE "profileGuid" IS NULL;
-- A profile's timeline.
CREATE INDEX "events_profileGuid_occurredAt" ON events ("profileGuid", "occurredAt");
-- What one visitor did.
CREATE INDEX "events_anonymousId" ON events ("anonymousId");

CREATE TABLE "eventData" (
    guid        text COLLATE "C" PRIMARY KEY DEFAULT "newGuid"('edt_'),
    "eventGuid" text COLLATE "C" NOT NULL,
    key         text NOT NULL,
    value       text NOT NULL
);
CREATE INDEX "eventData_eventGuid" ON "eventData" ("eventGuid");

CREATE TABLE "apiKeys" (
    guid        text COLLATE "C" PRIMARY KEY DEFAULT "newGuid"('key_'),
    name        text NOT NULL,
    "keyHash"   text COLLATE "C" NOT NULL UNIQUE,
    permissions text[] NOT NULL,
    "createdAt" timestamptz NOT NULL DEFAULT now(),
    "updatedAt" timestamptz NOT NULL DEFAULT now(),
    "revokedAt" timestamptz
);
COMMENT ON COLUMN "apiKeys"."keyHash" IS 'SHA-256 in hex of a high-entropy secret, never the secret.';

-- The ledger of erasures: it proves who was erased, when, why and how many rows that were (docs/runbook.md#privacy).
-- The transactions that erase write it, so it is exact whichever process did the work.
--
-- It locks `erasures` for a moment, for readers and writers. A scanner of an older version finishes an erasure
-- without saying so in the ledger.

CREATE TABLE "erasureLedger" (
    guid               text COLLATE "C" PRIMARY KEY DEFAULT "newGuid"('era_'),
    "profileGuid"      text COLLATE "C" NOT NULL,
    "requestedBy"      text COLLATE "C" NOT NULL,
    reason             text COLLATE "C" NOT NULL CHECK (char_length(reason) BETWEEN 1 AND 1000),
    suppresses         text COLLATE "C" NOT NULL CHECK (suppresses IN ('all', 'placeholder', 'none')),
    "startedAt"        timestamptz NOT NULL DEFAULT now(),
    "finishedAt"       timestamptz,
    "newestEventAt"    timestamptz,
    "topicHoldsMs"     bigint CHECK ("topicHoldsMs" >= -1),
    "deadTopicHoldsMs" bigint CHECK ("deadTopicHoldsMs" >= -1),
    "importedAt"       timestamptz,
    "replayedAt"       timestamptz
);
COMMENT ON TABLE "erasureLedger" IS
    'One row for each erasure, kept after it has finished. No column holds an id that a client sent.';
COMMENT ON COLUMN "erasureLedger".suppresses IS
    'all: no later event with the ids is stored. placeholder: later events are stored without the userId.';
COMMENT ON COLUMN "erasureLedger"."newestEventAt" IS
    'The latest "createdAt" of the erased events, and of other people''s events that named the person.';
COMMENT ON COLUMN "erasureLedger"."topicHoldsMs" IS
    'How long the topic of events may keep a record, by its settings when the erasure started: retention.ms '
    'and segment.ms together. -1: without limit. Null: unknown, as Kafka did not answer.';
COMMENT ON COLUMN "erasureLedger"."importedAt" IS
    'When `merganser erasures replay` read the row from a file; "replayedAt": when it had erased again '
    'what the restored database had of the person.';
CREATE INDEX "erasureLedger_startedAt" ON "erasureLedger" ("startedAt", guid);

-- The hashes are those of "suppressionHash": salted, because a list of plain SHA-256 hashes of e-mail addresses
-- tells who was erased to anyone who tries addresses. The salt is in this database and its backups, so the
-- file of an export tells nothing without them, and a restored database can compare its ids with the file.
CREATE TABLE "erasedIds" (
    "erasureGuid" text COLLATE "C" NOT NULL REFERENCES "erasureLedger" ON DELETE CASCADE,
    kind          text COLLATE "C" NOT NULL
        CHECK (kind IN ('userId', 'anonymousId', 'placeholder', 'name')),
    hash          bytea NOT NULL,
    suppressed    boolean NOT NULL,
    PRIMARY KEY ("erasureGuid", kind, hash)
);
COMMENT ON TABLE "erasedIds" IS
    'Hashes of the ids of erased people. name: what the command was called with, such as an old guid.';
COMMENT ON COLUMN "erasedIds".suppressed IS 'False after `merganser readmit`, too.';
CREATE INDEX "erasedIds_hash" ON "erasedIds" (hash);

CREATE TABLE "erasureCounts" (
    "erasureGuid" text COLLATE "C" NOT NULL REFERENCES "erasureLedger" ON DELETE CASCADE,
    "table"       text COLLATE "C" NOT NULL,
    action        text COLLATE "C" NOT NULL CHECK (action IN ('deleted', 'changed')),
    "doneBy"      text COLLATE "C" NOT NULL CHECK ("doneBy" IN ('command', 'scanner')),
    rows          bigint NOT NULL CHECK (rows > 0),
    PRIMARY KEY ("erasureGuid", "table", action, "doneBy")
) WITH (fillfactor = 50);
COMMENT ON TABLE "erasureCounts" IS
    'How many rows an erasure deleted, or changed so that they no longer name the person.';

-- An erasure under way is in the ledger, too.
ALTER TABLE erasures ADD COLUMN "ledgerGuid" text COLLATE "C" REFERENCES "erasureLedger";
INSERT INTO "erasureLedger" ("profileGuid", "requestedBy", reason, suppresses, "startedAt")
SELECT "profileGuid", 'unknown', 'started by a version without a ledger: counts and ids are incomplete',
    'all', "createdAt"
FROM erasures;
UPDATE erasures
SET "ledgerGuid" = ledger.guid
FROM "erasureLedger" AS ledger
WHERE ledger."profileGuid" = erasures."profileGuid";
ALTER TABLE erasures ALTER "ledgerGuid" SET NOT NULL;

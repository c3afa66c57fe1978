-- Items that a process could not handle: each is set aside alone, so that the items beside it go on.
-- `merganser dead` lists, retries and drops them. No column holds the content of an item.
CREATE TABLE "setAside" (
    kind        text COLLATE "C" NOT NULL
        CHECK (kind IN ('record', 'row', 'move', 'erasure', 'profile', 'value')),
    subject     text COLLATE "C" NOT NULL,
    place       text COLLATE "C" NOT NULL DEFAULT '',
    reason      text COLLATE "C" NOT NULL,
    attempts    integer NOT NULL DEFAULT 1,
    state       text COLLATE "C" NOT NULL DEFAULT 'open'
        CHECK (state IN ('open', 'retried', 'dropped')),
    "createdAt" timestamptz NOT NULL DEFAULT now(),
    "updatedAt" timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, subject, place)
);
COMMENT ON TABLE "setAside" IS
    'record: a Kafka record, as topic/partition/offset where it failed first; place: the cluster. '
    'row: a row of "events" without a profile, by guid. '
    'move: a row of "eventMoves", by fromGuid; place: the anonymousId. '
    'erasure: a row of erasures, by profileGuid. '
    'profile: a profile whose properties cannot be computed. '
    'value: a value of a company database, by profile; place: the key of the rule.';
COMMENT ON COLUMN "setAside".state IS
    'open: nobody has dealt with it. retried: a process tries it again; a row is deleted once that '
    'succeeds, except for records. dropped: nothing is to be done about it.';

-- What operators did about dead letters is kept here from now on, too.
INSERT INTO "setAside" (kind, subject, place, reason, attempts, state, "createdAt", "updatedAt")
SELECT 'record', format('%s/%s/%s', topic, partition, "offset"), "clusterId", 'unknown', attempt,
    outcome, "handledAt", "handledAt"
FROM "handledLetters";
DROP TABLE "handledLetters";

-- The trail of an anonymousId names a link once for each time that it took effect: a row that another
-- system corrected links again. Rebuilding the key locks the table for as long as that takes.
ALTER TABLE "profileMerges"
    DROP CONSTRAINT "profileMerges_pkey",
    ADD PRIMARY KEY ("anonymousId", "eventGuid", "createdAt");

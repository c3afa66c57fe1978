-- Identity. Only the resolver and the scanner write here.

CREATE TABLE profiles (
    guid        text COLLATE "C" PRIMARY KEY,
    "userId"    text COLLATE "C" UNIQUE,
    "createdAt" timestamptz NOT NULL DEFAULT now(),
    "updatedAt" timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN profiles."userId" IS 'The known user, or null for an anonymous profile.';

-- One row per anonymousId ever resolved: the profile of its events, and the link that owns it.
CREATE TABLE "anonymousIds" (
    "anonymousId"   text COLLATE "C" PRIMARY KEY,
    "profileGuid"   text COLLATE "C" NOT NULL,
    "userId"        text COLLATE "C",
    "linkedAt"      timestamptz,
    "linkEventGuid" text COLLATE "C"
);
COMMENT ON COLUMN "anonymousIds"."userId" IS
    'The owner: userId of the earliest event with both ids, by (occurredAt, guid).';
CREATE INDEX "anonymousIds_profileGuid" ON "anonymousIds" ("profileGuid");

-- The trail: each time an anonymousId came to a known user.
CREATE TABLE "profileMerges" (
    "anonymousId"  text COLLATE "C" NOT NULL,
    "eventGuid"    text COLLATE "C" NOT NULL,
    "userId"       text COLLATE "C" NOT NULL,
    reason         text NOT NULL CHECK (reason IN ('claimed', 'merged', 'moved')),
    "loserGuid"    text COLLATE "C",
    "survivorGuid" text COLLATE "C" NOT NULL,
    "createdAt"    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY ("anonymousId", "eventGuid")
);
COMMENT ON TABLE "profileMerges" IS
    'claimed: the anonymous profile became the user''s, same guid, no loser. merged: the anonymous '
    'profile (loser) went into the user''s. moved: an earlier link took the anonymousId''s events '
    'from one user (loser, who stays) to another.';
CREATE INDEX "profileMerges_loserGuid" ON "profileMerges" ("loserGuid");
CREATE INDEX "profileMerges_survivorGuid" ON "profileMerges" ("survivorGuid");

-- Identity changed, events still to follow: too many for the transaction that found it out.
CREATE TABLE "eventMoves" (
    "anonymousId" text COLLATE "C" NOT NULL,
    "fromGuid"    text COLLATE "C" NOT NULL,
    "createdAt"   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY ("anonymousId", "fromGuid")
);

-- Where the resolver stands, moved in the transaction that writes the rows.
-- The cluster is part of the key: offsets of another broker's topic mean nothing here.
CREATE TABLE "consumerOffsets" (
    "consumerGroup" text COLLATE "C" NOT NULL,
    "clusterId"     text COLLATE "C" NOT NULL,
    topic           text COLLATE "C" NOT NULL,
    partition       integer NOT NULL,
    "nextOffset"    bigint NOT NULL,
    "updatedAt"     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY ("consumerGroup", "clusterId", topic, partition)
) WITH (fillfactor = 50);

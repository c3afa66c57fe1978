-- How many events each API key sent. Ingest adds to the rows every few seconds. It locks nothing: the table is new.

CREATE TABLE "keyUsage" (
    "keyGuid"    text COLLATE "C" NOT NULL,
    hour         timestamptz NOT NULL,
    events       bigint NOT NULL,
    refused      bigint NOT NULL,
    "lastUsedAt" timestamptz NOT NULL,
    PRIMARY KEY ("keyGuid", hour)
) WITH (fillfactor = 50);
COMMENT ON TABLE "keyUsage" IS
    'Events that ingest accepted and refused, for each API key and hour of the last 30 days.';

-- Ingest deletes the oldest hours.
CREATE INDEX "keyUsage_hour" ON "keyUsage" (hour);

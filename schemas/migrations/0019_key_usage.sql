-- How many events each API key sent. Ingest adds to the rows every few seconds. It locks nothing: the table is new.

CREATE TABLE "keyUsage" (
    hour         timestamptz NOT NULL,
    "keyGuid"    text COLLATE "C" NOT NULL,
    events       bigint NOT NULL,
    refused      bigint NOT NULL,
    "lastUsedAt" timestamptz NOT NULL,
    -- The hour comes first: pages read the last day of all keys, and ingest deletes the oldest hours.
    PRIMARY KEY (hour, "keyGuid")
) WITH (fillfactor = 50);
COMMENT ON TABLE "keyUsage" IS
    'Events that ingest accepted and refused, for each API key and hour of the last 30 days.';

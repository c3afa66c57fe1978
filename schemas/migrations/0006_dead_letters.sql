-- What operators did about dead letters. The letters themselves are in their topic. One row for the
-- record that failed first, wherever it was sent again: letters up to `attempt` are dealt with.
CREATE TABLE "handledLetters" (
    "clusterId" text COLLATE "C" NOT NULL,
    topic       text COLLATE "C" NOT NULL,
    partition   integer NOT NULL,
    "offset"    bigint NOT NULL,
    attempt     integer NOT NULL,
    outcome     text NOT NULL CHECK (outcome IN ('retried', 'dropped')),
    "handledAt" timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY ("clusterId", topic, partition, "offset")
);

-- Audits and their results. It locks nothing.

CREATE TABLE audits (
    guid          text COLLATE "C" PRIMARY KEY DEFAULT "newGuid"('aud_'),
    source        text COLLATE "C" NOT NULL CHECK (source IN ('cli', 'console')),
    "startedBy"   text COLLATE "C" NOT NULL,
    properties    boolean NOT NULL,
    "startedAt"   timestamptz NOT NULL DEFAULT now(),
    progress      real NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 1),
    "finishedAt"  timestamptz,
    counts        jsonb NOT NULL DEFAULT '{}',
    disagreements bigint,
    findings      jsonb NOT NULL DEFAULT '[]',
    CHECK (("finishedAt" IS NULL) = (disagreements IS NULL))
);
COMMENT ON TABLE audits IS
    'One row for each audit. An audit that has not finished and does not hold the advisory lock was interrupted.';
COMMENT ON COLUMN audits.properties IS 'Whether it compared properties, too.';
COMMENT ON COLUMN audits.findings IS
    'The first disagreements: guids of events and profiles, never ids that a client sent, and no values.';
CREATE INDEX "audits_startedAt" ON audits ("startedAt", guid);

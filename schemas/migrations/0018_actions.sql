-- What operators did, by the console or by a command. Locks nothing.

CREATE TABLE actions (
    guid        text COLLATE "C" PRIMARY KEY DEFAULT "newGuid"('act_'),
    "createdAt" timestamptz NOT NULL DEFAULT now(),
    source      text COLLATE "C" NOT NULL CHECK (source IN ('cli', 'console')),
    actor       text COLLATE "C" NOT NULL,
    action      text COLLATE "C" NOT NULL,
    subject     text COLLATE "C",
    reason      text COLLATE "C",
    counts      jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE actions IS 'What operators did: who, what, when, why and how much. No ids of people.';
COMMENT ON COLUMN actions.actor IS 'cli: the user of the operating system. console: the API key.';

CREATE INDEX "actions_createdAt" ON actions ("createdAt", guid);

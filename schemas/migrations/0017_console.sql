-- Who is logged in to the console. Both tables have SHA-256 hashes: of random tokens and of API keys. Each
-- request looks the key up, so revoking a key ends its sessions.
--
-- It locks "profileMerges" for writers while it builds an index, about a second for a million rows.

CREATE TABLE "consoleSessions" (
    "tokenHash"  text COLLATE "C" PRIMARY KEY,
    "keyHash"    text COLLATE "C" NOT NULL,
    "createdAt"  timestamptz NOT NULL DEFAULT now(),
    "lastUsedAt" timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE "consoleLoginLinks" (
    "tokenHash" text COLLATE "C" PRIMARY KEY,
    "keyHash"   text COLLATE "C" NOT NULL,
    "expiresAt" timestamptz NOT NULL
);
COMMENT ON TABLE "consoleLoginLinks" IS 'Links that log in once: the login deletes the row.';

-- The newest merges of all profiles.
CREATE INDEX "profileMerges_createdAt"
    ON "profileMerges" ("createdAt", "anonymousId", "eventGuid");

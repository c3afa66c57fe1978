-- compared --
-- The stored values, to compare with. A value of more than 63 bytes is given as its hash, which is
-- longer, so it equals no other value. A value that is longer than allowed is given as null.
SELECT "profileGuid", key, position,
    CASE
        WHEN octet_length(value) < 64 THEN value
        WHEN octet_length(value) <= %(longest)s THEN encode(sha256(convert_to(value, 'UTF8')), 'hex')
    END
FROM "profileProperties"
WHERE "profileGuid" = ANY(%(profiles)s::text[]) AND key = ANY(%(keys)s);

-- put --
-- Write values that are new or have changed.
INSERT INTO "profileProperties" ("profileGuid", key, position, value)
SELECT *
FROM unnest(
    %(profiles)s::text[], %(keys)s::text[], %(positions)s::integer[], %(values)s::text[]
)
ON CONFLICT ("profileGuid", key, position) DO UPDATE
SET value = excluded.value, "updatedAt" = excluded."updatedAt";

-- drop --
-- Delete values.
DELETE FROM "profileProperties" AS stored
USING unnest(%(profiles)s::text[], %(keys)s::text[], %(positions)s::integer[])
    AS gone(profile, key, position)
WHERE stored."profileGuid" = gone.profile
    AND stored.key = gone.key
    AND stored.position = gone.position;

-- forget --
-- Delete all values of profiles.
DELETE FROM "profileProperties" WHERE "profileGuid" = ANY(%(profiles)s::text[]);

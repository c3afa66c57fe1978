-- read_for_comparison --
-- Read stored values to compare them. A value of more than 63 bytes is returned as its SHA-256 in
-- 64 hex digits, which no shorter value can equal. A value longer than allowed is returned as null.
SELECT "profileGuid", key, position,
    CASE
        WHEN octet_length(value) < 64 THEN value
        WHEN octet_length(value) <= %(max_bytes)s
            THEN encode(sha256(convert_to(value, 'UTF8')), 'hex')
    END
FROM "profileProperties"
WHERE "profileGuid" = ANY(%(profiles)s::text[]) AND key = ANY(%(keys)s);

-- read_values --
-- The values of some properties of profiles. A value longer than allowed is cut.
SELECT "profileGuid", key, array_agg(left(value, %(max_value_bytes)s + 1) ORDER BY position)
FROM "profileProperties"
WHERE "profileGuid" = ANY(%(profiles)s::text[]) AND key = ANY(%(keys)s::text[])
GROUP BY "profileGuid", key;

-- write_values --
-- Write values that are new or have changed.
INSERT INTO "profileProperties" ("profileGuid", key, position, value)
SELECT *
FROM unnest(
    %(profiles)s::text[], %(keys)s::text[], %(positions)s::integer[], %(values)s::text[]
)
ON CONFLICT ("profileGuid", key, position) DO UPDATE
SET value = excluded.value, "updatedAt" = excluded."updatedAt";

-- delete_values --
-- Delete single values.
DELETE FROM "profileProperties" AS stored
USING unnest(%(profiles)s::text[], %(keys)s::text[], %(positions)s::integer[])
    AS surplus(profile, key, position)
WHERE stored."profileGuid" = surplus.profile
    AND stored.key = surplus.key
    AND stored.position = surplus.position;

-- delete_anonymous_properties --
-- Delete values with these keys of the anonymous ones among the next profiles by guid.
DELETE FROM "profileProperties"
USING (
    SELECT guid, "userId" FROM profiles WHERE guid > %(after)s ORDER BY guid LIMIT %(limit)s
) AS chunk
WHERE chunk."userId" IS NULL
    AND "profileProperties"."profileGuid" = chunk.guid
    AND key = ANY(%(keys)s);

-- read_keys --
-- Every key that any profile has a value for. Each is found by one step through the index.
WITH RECURSIVE keys AS (
    (SELECT key FROM "profileProperties" ORDER BY key LIMIT 1)
    UNION ALL
    SELECT (
        SELECT key FROM "profileProperties" AS next
        WHERE next.key > keys.key
        ORDER BY key
        LIMIT 1
    )
    FROM keys
    WHERE keys.key IS NOT NULL
)
SELECT key FROM keys WHERE key IS NOT NULL;

-- delete_property --
-- Delete some values of a property.
DELETE FROM "profileProperties"
WHERE ("profileGuid", key, position) IN (
    SELECT "profileGuid", key, position
    FROM "profileProperties"
    WHERE key = %(key)s
    LIMIT %(limit)s
);

-- delete_profiles --
-- Delete all values of profiles.
DELETE FROM "profileProperties" WHERE "profileGuid" = ANY(%(profiles)s::text[]);

-- readmit --
-- Lift the suppression of an id, whether it is a userId, an anonymousId or a placeholder.
WITH ids (hash) AS (
    VALUES
        ("suppressionHash"('userId', %(name)s)), ("suppressionHash"('anonymousId', %(name)s)),
        ("suppressionHash"('placeholder', %(name)s))
), ledger AS (
    UPDATE "erasedIds" SET suppressed = false
    WHERE suppressed AND hash IN (SELECT hash FROM ids)
)
DELETE FROM "suppressedIds" WHERE hash IN (SELECT hash FROM ids);

-- find_suppressions --
-- Whether an id is suppressed, as which kind of id, and since when.
SELECT kind, "createdAt"
FROM (VALUES ('userId'), ('anonymousId'), ('placeholder')) AS kinds (kind)
JOIN "suppressedIds" ON hash = "suppressionHash"(kind, %(name)s)
ORDER BY kind;

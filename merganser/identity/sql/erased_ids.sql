-- find_erased --
-- The positions of the ids that are suppressed since an erasure, or were written before one ended. After
-- `forget --no-suppress` and `readmit`, what is written later is of a new person. A placeholder is of nobody.
-- Hashes nothing while nobody was erased.
SELECT DISTINCT named.position
FROM unnest(%(kinds)s::text[], %(ids)s::text[], %(times)s::timestamptz[])
    WITH ORDINALITY AS named(kind, id, "writtenAt", position)
JOIN "erasedIds" AS erased
    ON erased.kind = named.kind AND erased.hash = "suppressionHash"(named.kind, named.id)
JOIN "erasureLedger" AS ledger ON ledger.guid = erased."erasureGuid"
WHERE EXISTS (SELECT FROM "erasedIds")
    AND ledger.suppresses <> 'placeholder'
    AND (erased.suppressed OR named."writtenAt" <= coalesce(ledger."finishedAt", 'infinity'));

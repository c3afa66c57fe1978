-- A link that came over a publishable key counts from when the gateway received it, whatever time its client
-- claims (merganser/identity/plan.py). Links that are stored already came over secret keys, so they stay.

ALTER TABLE "anonymousIds" ADD COLUMN "linkOccurredAt" timestamptz;
COMMENT ON COLUMN "anonymousIds"."linkedAt" IS
    'The link time of the event: "createdAt" if it came over a publishable key, else "occurredAt".';
COMMENT ON COLUMN "anonymousIds"."linkOccurredAt" IS '"occurredAt" of the event, where that differs.';
COMMENT ON COLUMN "anonymousIds"."userId" IS
    'The owner: userId of the earliest event with both ids, by (link time, occurredAt, guid).';

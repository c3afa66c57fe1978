-- All text is compared byte by byte. Without a collation of its own a column has the database's locale,
-- in the official image glibc's en_US: its order changes with the operating system, which breaks
-- indexes, and a single comparison of two long types of emoji takes it half a second.
--
-- What this locks: each ALTER TABLE below waits for the transactions that use its table and keeps
-- others out until the whole migration has committed. No table is rewritten. But the index on
-- `events.type` is built again, and that of the values of properties, as their order changes; and the
-- constraints on changed columns are checked again, which reads `events` once. The tables are in the
-- order in which writers come to them, so that no writer and this migration wait for each other.

ALTER TABLE "profileMerges" ALTER reason TYPE text COLLATE "C";
ALTER TABLE events
    ALTER type TYPE text COLLATE "C",
    ALTER "ipAddress" TYPE text COLLATE "C";
ALTER TABLE "eventData"
    ALTER key TYPE text COLLATE "C",
    ALTER value TYPE text COLLATE "C";
ALTER TABLE "eventChanges" ALTER kind TYPE text COLLATE "C";
ALTER TABLE "profileProperties" ALTER value TYPE text COLLATE "C";
ALTER TABLE "propertySourceStates" ALTER error TYPE text COLLATE "C";
ALTER TABLE "apiKeys"
    ALTER name TYPE text COLLATE "C",
    ALTER permissions TYPE text[] COLLATE "C";
ALTER TABLE "schemaMigrations" ALTER name TYPE text COLLATE "C";

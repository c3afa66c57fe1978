-- use_snapshot --
-- See event changes, events and states as of one moment: a change is visible if and only if its
-- event is.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;

-- try_leader_lock --
-- One process counts at a time. Another one takes over when the leader is gone.
SELECT pg_try_advisory_xact_lock(hashtext('merganser properties'));

-- check_at_once --
-- Check deferred constraints, which an operator may have added, with each statement: at COMMIT, an error
-- does not name the profile.
SET CONSTRAINTS ALL IMMEDIATE;

-- Version 3: parked and queued executions, admission limits, messages. Run in one transaction on a file of version 2.

-- How many executions of a machine may have begun and not ended; NULL: any number. counted: 0 from when a machine gets a
-- limit until all that had begun before are marked as limited, which is done in small steps; it admits nothing meanwhile.
ALTER TABLE state_machines ADD COLUMN max_concurrent_executions INTEGER;
ALTER TABLE state_machines ADD COLUMN counted INTEGER NOT NULL DEFAULT 1;
CREATE INDEX state_machines_limited ON state_machines (arn) WHERE max_concurrent_executions IS NOT NULL;

-- place: NOT NULL while an execution is queued, minus its priority then, so that the lowest is admitted first.
-- limited: 1 when its machine had a limit as it was started, admitted or redriven, or got one later: those are counted.
ALTER TABLE executions ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE executions ADD COLUMN place INTEGER;
ALTER TABLE executions ADD COLUMN limited INTEGER NOT NULL DEFAULT 0;

-- A RUNNING execution stands in one of four indexes: owned, free to be claimed, parked (wake_at), or queued; what is
-- queued has a wake_at, too, when it has a deadline. One that is started and finished by its owner touches
-- executions_owner alone.
DROP INDEX executions_wake;
CREATE INDEX executions_wake ON executions (wake_at, place) WHERE wake_at IS NOT NULL;
DROP INDEX executions_owner;
CREATE INDEX executions_owner ON executions (owner) WHERE status = 'RUNNING' AND owner IS NOT NULL;
CREATE INDEX executions_free ON executions (started_at)
WHERE status = 'RUNNING' AND owner IS NULL AND wake_at IS NULL AND place IS NULL;
DROP INDEX executions_wake;
CREATE INDEX executions_wake ON executions (wake_at, place) WHERE wake_at IS NOT NULL;
CREATE INDEX executions_queue ON executions (state_machine_arn, place, started_at) WHERE place IS NOT NULL;
CREATE INDEX executions_limited ON executions (state_machine_arn)
WHERE limited = 1 AND status = 'RUNNING' AND place IS NULL;

-- What is asked of executions that another engine may run: stop, pause, resume. Nothing ever wrote to the table of
-- version 1. AUTOINCREMENT: who waits for a message to be acted on never sees another one under its id.
DROP TABLE inbox;
CREATE TABLE inbox (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    execution INTEGER NOT NULL,
    kind      TEXT NOT NULL,
    body      TEXT NOT NULL,
    posted_at REAL NOT NULL
) STRICT;
CREATE INDEX inbox_execution ON inbox (execution, id);

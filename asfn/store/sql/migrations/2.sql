-- Version 2: retention and purge, a codec for what is stored, activities, attributes. Run in one transaction on a file of
-- version 1.

-- How long finished executions are kept, in days; NULL: as the engine's limits say. Infinity (9e999): for ever.
ALTER TABLE state_machines ADD COLUMN retention_days REAL;

-- paused: 1 while an execution takes no new step. redrive_tokens: the last client tokens of RedriveExecution and when
-- they came, a JSON array of [token, moment]; NULL: none.
ALTER TABLE executions ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;
ALTER TABLE executions ADD COLUMN redrive_tokens TEXT;

-- Executions whose row is gone and whose other rows are still being deleted, a few at a time.
CREATE TABLE purged (
    execution INTEGER PRIMARY KEY
) STRICT;

-- Definitions that neither a state machine nor an execution names, and since when.
CREATE TABLE unused_definitions (
    digest TEXT PRIMARY KEY,
    since  REAL NOT NULL
) STRICT, WITHOUT ROWID;

-- Who uses a definition.
CREATE INDEX executions_digest ON executions (digest);
CREATE INDEX state_machines_digest ON state_machines (digest);

-- One row when payloads stand here in a codec's form. probe: written with the codec; it holds the key of the digests.
CREATE TABLE codec (
    name  TEXT NOT NULL,
    probe TEXT NOT NULL
) STRICT;

-- tokens.outcome: from the settling of a token until its task has taken it, so that few rows have one.
CREATE INDEX tokens_outcome ON tokens (settled_at) WHERE outcome IS NOT NULL;

-- Work that waits for an activity worker (taken_at NULL), or that one has taken and its execution has not noted yet.
-- Version 1 had this table in another shape and nothing ever wrote to it.
DROP TABLE activity_tasks;
CREATE TABLE activity_tasks (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    activity_arn TEXT NOT NULL,
    token        TEXT NOT NULL,
    execution    INTEGER NOT NULL,
    input        TEXT NOT NULL,
    scheduled_at REAL NOT NULL,
    worker_name  TEXT,
    taken_at     REAL
) STRICT;
CREATE UNIQUE INDEX activity_tasks_token ON activity_tasks (token);
CREATE INDEX activity_tasks_waiting ON activity_tasks (activity_arn, id) WHERE taken_at IS NULL;
CREATE INDEX activity_tasks_taken ON activity_tasks (taken_at) WHERE taken_at IS NOT NULL;
CREATE INDEX activity_tasks_execution ON activity_tasks (execution);

-- What an execution can be found by: names and values given when it was started, never changed; they go with their
-- execution. started_at is the execution's, so that a list by one attribute is read newest first without sorting.
CREATE TABLE attributes (
    name       TEXT NOT NULL,
    value      TEXT NOT NULL,
    started_at REAL NOT NULL,
    execution  INTEGER NOT NULL,
    PRIMARY KEY (name, value, started_at, execution)
) STRICT, WITHOUT ROWID;
CREATE INDEX attributes_execution ON attributes (execution);

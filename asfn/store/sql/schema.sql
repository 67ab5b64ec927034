-- Schema of an asfn file, version 1: files of this version exist, so it never changes. Run once, in one transaction, on
-- an empty database; later versions are scripts in migrations/, run in order: put changes there. Times are epoch seconds UTC. `execution` is
-- always executions.key.

-- One row per running engine. AUTOINCREMENT: an id is never given twice. A row whose epoch is above the one its
-- engine registered with belongs to an engine that was taken over.
CREATE TABLE engines (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    epoch         INTEGER NOT NULL,
    lease_until   REAL NOT NULL,
    registered_at REAL NOT NULL
) STRICT;

-- Texts of definitions by digest. Never changed, never deleted while an execution may name them.
CREATE TABLE definitions (
    digest TEXT PRIMARY KEY,
    text   TEXT NOT NULL
) STRICT;

CREATE TABLE state_machines (
    arn         TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    type        TEXT NOT NULL,
    digest      TEXT NOT NULL,
    role_arn    TEXT NOT NULL,
    created_at  REAL NOT NULL,
    updated_at  REAL NOT NULL,
    revision_id TEXT
) STRICT;

-- input and output stand in their own column, or, when large, in payloads under the digest beside it.
CREATE TABLE executions (
    key               INTEGER PRIMARY KEY,
    arn               TEXT NOT NULL UNIQUE,
    name              TEXT NOT NULL,
    state_machine_arn TEXT NOT NULL,
    digest            TEXT NOT NULL,
    type              TEXT NOT NULL,
    role_arn          TEXT NOT NULL,
    status            TEXT NOT NULL,
    owner             INTEGER,
    wake_at           REAL,
    started_at        REAL NOT NULL,
    stopped_at        REAL,
    redrive_count     INTEGER NOT NULL,
    redriven_at       REAL,
    failed_state      TEXT,
    error             TEXT,
    cause             TEXT,
    input             TEXT,
    input_digest      TEXT,
    output            TEXT,
    output_digest     TEXT
) STRICT;

-- Lists are newest first; the key, which every index ends with, breaks ties. The first two serve a machine's list
-- without and with a status, the next two the same over all machines.
CREATE INDEX executions_machine ON executions (state_machine_arn, started_at);
CREATE INDEX executions_machine_status ON executions (state_machine_arn, status, started_at);
CREATE INDEX executions_started ON executions (started_at);
CREATE INDEX executions_status ON executions (status, started_at);
-- Takeover and parking touch only what is alive; finished executions are not in these.
CREATE INDEX executions_owner ON executions (owner) WHERE status = 'RUNNING';
CREATE INDEX executions_wake ON executions (wake_at) WHERE wake_at IS NOT NULL;

-- Where the branches of living executions stand. texts: a JSON array, see packing.py.
CREATE TABLE frames (
    execution INTEGER NOT NULL,
    path      TEXT NOT NULL,
    body      TEXT NOT NULL,
    texts     TEXT,
    PRIMARY KEY (execution, path)
) STRICT, WITHOUT ROWID;

-- History, appended in the order of commits: a table clustered by execution was five times slower.
CREATE TABLE segments (
    execution INTEGER NOT NULL,
    first_id  INTEGER NOT NULL,
    last_id   INTEGER NOT NULL,
    body      TEXT NOT NULL,
    texts     TEXT
) STRICT;
CREATE INDEX segments_execution ON segments (execution, last_id);

-- Large JSON texts, once per execution however many events and frames hold them; they go with their execution.
CREATE TABLE payloads (
    execution INTEGER NOT NULL,
    digest    TEXT NOT NULL,
    text      TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX payloads_digest ON payloads (execution, digest);

-- Task tokens. state: open, then once completed, timed_out or closed.
CREATE TABLE tokens (
    token        TEXT PRIMARY KEY,
    execution    INTEGER NOT NULL,
    path         TEXT NOT NULL,
    state        TEXT NOT NULL,
    outcome      TEXT,
    created_at   REAL NOT NULL,
    heartbeat_at REAL,
    settled_at   REAL
) STRICT, WITHOUT ROWID;
CREATE INDEX tokens_execution ON tokens (execution);

-- Messages for an execution from outside its own coroutine: a token's answer, a child's end, a stop.
CREATE TABLE inbox (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    execution  INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    path       TEXT,
    body       TEXT NOT NULL,
    created_at REAL NOT NULL
) STRICT;
CREATE INDEX inbox_execution ON inbox (execution, id);

CREATE TABLE activities (
    arn        TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    created_at REAL NOT NULL
) STRICT;

-- Work that waits for an activity worker (started_at NULL) or is in one's hands.
CREATE TABLE activity_tasks (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    activity_arn TEXT NOT NULL,
    token        TEXT NOT NULL,
    execution    INTEGER NOT NULL,
    input        TEXT NOT NULL,
    worker_name  TEXT,
    scheduled_at REAL NOT NULL,
    started_at   REAL
) STRICT;
CREATE INDEX activity_tasks_waiting ON activity_tasks (activity_arn, id) WHERE started_at IS NULL;
CREATE INDEX activity_tasks_execution ON activity_tasks (execution);

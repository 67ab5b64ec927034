-- Version 4: executions by name. Run in one transaction on a file of version 3.

-- Names of the engine's own making grow with time, so that a start adds to the end of this index.
CREATE INDEX executions_name ON executions (name, started_at);

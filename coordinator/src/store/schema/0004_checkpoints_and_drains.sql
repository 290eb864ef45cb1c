-- Version 4. A fold goes on from a checkpoint, and a worker can be told to take no more.

-- The epoch after which a checkpoint was made; null for what is no checkpoint.
ALTER TABLE artifact ADD COLUMN epoch INTEGER;

CREATE INDEX artifact_by_digest ON artifact (digest);

-- Workers by the name that people know, which outlives their processes: those that get no folds until they are undrained.
CREATE TABLE drained_worker (
    name       TEXT PRIMARY KEY,
    drained_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

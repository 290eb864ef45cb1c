-- Version 4. A fold goes on from a checkpoint, and a worker can be told to take no more.

-- The epoch after which a checkpoint was made; null for what is no checkpoint.
ALTER TABLE artifact ADD COLUMN epoch INTEGER;

CREATE INDEX artifact_by_digest ON artifact (digest);

-- Workers by the name that people know, which outlives their processes: those that get no folds until they are undrained.
-- `handover` says what becomes of the folds they train.
CREATE TABLE drained_worker (
    name       TEXT PRIMARY KEY,
    handover   TEXT NOT NULL CHECK (handover IN ('after-epoch', 'now', 'after-folds')),
    drained_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- For the removal of a study, which looks for what came from its trials.
CREATE INDEX trial_by_parent ON trial (parent_trial) WHERE parent_trial IS NOT NULL;

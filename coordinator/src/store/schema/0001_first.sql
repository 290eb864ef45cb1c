-- Version 1. Append-only: a file of a released version is never changed, a new one is added.
-- Times are UTC milliseconds. `value` of an epoch and of a fold is a validation loss.

CREATE TABLE study (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    name          TEXT NOT NULL UNIQUE,
    state         TEXT NOT NULL CHECK (state IN ('running', 'paused', 'stopping', 'ended')),
    message       TEXT,
    running_ms    INTEGER NOT NULL DEFAULT 0,
    images        INTEGER NOT NULL,
    height        INTEGER NOT NULL,
    width         INTEGER NOT NULL,
    data_digest   TEXT NOT NULL,
    splits_digest TEXT NOT NULL,
    parent_study  INTEGER REFERENCES study (id),
    created_at    INTEGER NOT NULL,
    spec          TEXT NOT NULL,
    spec_text     TEXT NOT NULL
) STRICT;

CREATE TABLE objective (
    study_id  INTEGER NOT NULL REFERENCES study (id) ON DELETE CASCADE,
    idx       INTEGER NOT NULL,
    name      TEXT NOT NULL,
    direction TEXT NOT NULL CHECK (direction IN ('minimize', 'maximize')),
    PRIMARY KEY (study_id, idx)
) STRICT, WITHOUT ROWID;

-- `ending` is what a stopping trial will be.
CREATE TABLE trial (
    id           INTEGER PRIMARY KEY,
    study_id     INTEGER NOT NULL REFERENCES study (id) ON DELETE CASCADE,
    number       INTEGER NOT NULL,
    state        TEXT NOT NULL
        CHECK (state IN ('waiting', 'running', 'stopping', 'complete', 'pruned', 'failed', 'cancelled')),
    ending       TEXT CHECK (ending IN ('complete', 'pruned', 'failed', 'cancelled')),
    value        REAL,
    std          REAL,
    reason       TEXT,
    parent_trial INTEGER REFERENCES trial (id),
    created_at   INTEGER NOT NULL,
    finished_at  INTEGER,
    UNIQUE (study_id, number),
    CHECK ((ending IS NOT NULL) = (state = 'stopping')),
    CHECK ((value IS NOT NULL) = (state = 'complete')),
    CHECK ((finished_at IS NOT NULL) = (state IN ('complete', 'pruned', 'failed', 'cancelled'))),
    CHECK (finished_at IS NULL OR reason IS NOT NULL)
) STRICT;

CREATE TABLE trial_value (
    trial_id INTEGER NOT NULL REFERENCES trial (id) ON DELETE CASCADE,
    idx      INTEGER NOT NULL,
    value    REAL NOT NULL,
    PRIMARY KEY (trial_id, idx)
) STRICT, WITHOUT ROWID;

-- A bool is 0 or 1, a table or list of settings is JSON text.
CREATE TABLE param (
    trial_id INTEGER NOT NULL REFERENCES trial (id) ON DELETE CASCADE,
    name     TEXT NOT NULL,
    kind     TEXT NOT NULL CHECK (kind IN ('float', 'int', 'bool', 'text', 'json')),
    value    ANY NOT NULL,
    origin   TEXT NOT NULL CHECK (origin IN ('sampled', 'fixed', 'enqueued', 'derived')),
    PRIMARY KEY (trial_id, name),
    CHECK (typeof(value) = CASE kind WHEN 'float' THEN 'real'
        WHEN 'int' THEN 'integer' WHEN 'bool' THEN 'integer' ELSE 'text' END)
) STRICT, WITHOUT ROWID;

-- `attempts` is the number of the newest attempt.
CREATE TABLE fold (
    trial_id   INTEGER NOT NULL REFERENCES trial (id) ON DELETE CASCADE,
    fold       INTEGER NOT NULL,
    state      TEXT NOT NULL
        CHECK (state IN ('waiting', 'running', 'stopping', 'complete', 'pruned', 'failed', 'cancelled')),
    value      REAL,
    best_epoch INTEGER,
    attempts   INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (trial_id, fold)
) STRICT, WITHOUT ROWID;

-- A worker's process; one row an incarnation.
CREATE TABLE worker (
    id            INTEGER PRIMARY KEY,
    name          TEXT NOT NULL,
    incarnation   TEXT NOT NULL UNIQUE,
    device        TEXT NOT NULL,
    first_seen_at INTEGER NOT NULL,
    last_seen_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE lease (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    worker_id   INTEGER NOT NULL REFERENCES worker (id),
    incarnation TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('active', 'ended')),
    granted_at  INTEGER NOT NULL,
    ended_at    INTEGER
) STRICT;

CREATE TABLE attempt (
    trial_id    INTEGER NOT NULL,
    fold        INTEGER NOT NULL,
    attempt     INTEGER NOT NULL CHECK (attempt >= 1),
    lease_id    INTEGER NOT NULL REFERENCES lease (id),
    worker      TEXT NOT NULL,
    device      TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('running', 'complete', 'stopped', 'failed')),
    start_epoch INTEGER NOT NULL,
    started_at  INTEGER NOT NULL,
    ended_at    INTEGER,
    failure     TEXT CHECK (failure IN ('lost', 'preempted', 'out-of-memory', 'diverged', 'invalid', 'error')),
    message     TEXT,
    PRIMARY KEY (trial_id, fold, attempt),
    CHECK ((ended_at IS NULL) = (state = 'running')),
    CHECK ((failure IS NOT NULL) = (state = 'failed')),
    FOREIGN KEY (trial_id, fold) REFERENCES fold (trial_id, fold) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- A loss that was not finite is null.
CREATE TABLE epoch (
    trial_id      INTEGER NOT NULL,
    fold          INTEGER NOT NULL,
    attempt       INTEGER NOT NULL,
    epoch         INTEGER NOT NULL CHECK (epoch >= 1),
    value         REAL,
    train_loss    REAL,
    learning_rate REAL,
    seconds       REAL,
    diverged      INTEGER NOT NULL CHECK (diverged IN (0, 1)),
    at            INTEGER NOT NULL,
    PRIMARY KEY (trial_id, fold, attempt, epoch),
    FOREIGN KEY (trial_id, fold, attempt) REFERENCES attempt (trial_id, fold, attempt) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE metric (
    trial_id INTEGER NOT NULL,
    fold     INTEGER NOT NULL,
    attempt  INTEGER NOT NULL,
    epoch    INTEGER NOT NULL,
    name     TEXT NOT NULL,
    value    REAL,
    PRIMARY KEY (trial_id, fold, attempt, epoch, name),
    FOREIGN KEY (trial_id, fold, attempt, epoch)
        REFERENCES epoch (trial_id, fold, attempt, epoch) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- The append-only log of everything but epochs. It outlives what it is about, hence no foreign keys.
CREATE TABLE event (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    at       INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    study_id INTEGER,
    trial    INTEGER,
    fold     INTEGER,
    attempt  INTEGER,
    detail   TEXT NOT NULL CHECK (json_valid(detail))
) STRICT;

-- `epoch` is null where a finished fold was judged.
CREATE TABLE decision (
    id         INTEGER PRIMARY KEY,
    trial_id   INTEGER NOT NULL REFERENCES trial (id) ON DELETE CASCADE,
    fold       INTEGER NOT NULL,
    epoch      INTEGER,
    rule       TEXT NOT NULL,
    own        REAL NOT NULL,
    threshold  REAL NOT NULL,
    peers      INTEGER NOT NULL,
    percentile REAL NOT NULL,
    event_seq  INTEGER NOT NULL REFERENCES event (seq)
) STRICT;

CREATE INDEX decision_by_trial ON decision (trial_id);

CREATE TABLE study_attr (
    study_id INTEGER NOT NULL REFERENCES study (id) ON DELETE CASCADE,
    key      TEXT NOT NULL,
    value    TEXT NOT NULL,
    PRIMARY KEY (study_id, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE trial_attr (
    trial_id INTEGER NOT NULL REFERENCES trial (id) ON DELETE CASCADE,
    key      TEXT NOT NULL,
    value    TEXT NOT NULL,
    PRIMARY KEY (trial_id, key)
) STRICT, WITHOUT ROWID;

-- The file itself lies in `NAME.db.artifacts/` under its digest.
CREATE TABLE artifact (
    id         INTEGER PRIMARY KEY,
    study_id   INTEGER NOT NULL REFERENCES study (id) ON DELETE CASCADE,
    trial_id   INTEGER REFERENCES trial (id) ON DELETE CASCADE,
    fold       INTEGER,
    attempt    INTEGER,
    kind       TEXT NOT NULL,
    digest     TEXT NOT NULL,
    bytes      INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE INDEX artifact_by_study ON artifact (study_id);
CREATE INDEX artifact_by_trial ON artifact (trial_id);

-- Live rows only: of each epoch, the row of the newest attempt that started before it.
CREATE VIEW curve AS
SELECT study.name AS study, trial.number, e.fold, e.epoch, e.attempt, e.train_loss, e.value AS val_loss
FROM study
JOIN trial ON trial.study_id = study.id
JOIN epoch AS e ON e.trial_id = trial.id
WHERE NOT EXISTS (
    SELECT 1 FROM attempt AS newer
    WHERE newer.trial_id = e.trial_id AND newer.fold = e.fold
        AND newer.attempt > e.attempt AND newer.start_epoch < e.epoch
);

//! Results of attempts, as queries give them.

use foldwise_shared::artifact::{Artifact, ResultFile, ResultRecord, is_kind};
use foldwise_shared::checkpoint::is_digest;
use foldwise_shared::ids::{Attempt, Epoch, FoldIndex, Millis, TrialNumber};

use super::WireError;
use crate::v1;

impl From<ResultRecord> for v1::Result {
    fn from(record: ResultRecord) -> Self {
        let ResultRecord { trial, fold, attempt, result, created_at } = record;
        let ResultFile { kind, epoch, file: Artifact { digest, bytes } } = result;
        Self {
            trial: trial.0,
            fold: fold.0,
            attempt: attempt.0,
            kind,
            epoch: epoch.map(|epoch| epoch.0),
            digest,
            bytes,
            created_at: created_at.0,
        }
    }
}

impl TryFrom<v1::Result> for ResultRecord {
    type Error = WireError;

    fn try_from(wire: v1::Result) -> Result<Self, WireError> {
        if !is_digest(&wire.digest) {
            return Err(WireError::wrong("digest", "it is no SHA-256"));
        }
        if !is_kind(&wire.kind) {
            return Err(WireError::wrong("kind", "it is no kind of result"));
        }
        let file = Artifact { digest: wire.digest, bytes: wire.bytes };
        Ok(Self {
            trial: TrialNumber(wire.trial),
            fold: FoldIndex(wire.fold),
            attempt: Attempt(wire.attempt),
            result: ResultFile { kind: wire.kind, epoch: wire.epoch.map(Epoch), file },
            created_at: Millis(wire.created_at),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for epoch in [None, Some(Epoch(7))] {
            let file = Artifact { digest: "0a".repeat(32), bytes: 9 };
            let record = ResultRecord {
                trial: TrialNumber(1),
                fold: FoldIndex(2),
                attempt: Attempt(3),
                result: ResultFile { kind: "range-test".into(), epoch, file },
                created_at: Millis(4),
            };
            let wire = v1::Result::from(record.clone());
            assert_eq!(ResultRecord::try_from(wire.clone()), Ok(record));
            assert!(ResultRecord::try_from(v1::Result { digest: "../x".into(), ..wire.clone() }).is_err());
            assert!(ResultRecord::try_from(v1::Result { kind: "source".into(), ..wire }).is_err());
        }
    }
}

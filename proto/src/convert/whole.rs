//! Whole studies: their artifacts.

use foldwise_shared::artifact::ArtifactRecord;
use foldwise_shared::checkpoint::is_digest;
use foldwise_shared::ids::{Epoch, FoldIndex, TrialNumber};

use super::WireError;
use crate::v1;

impl From<ArtifactRecord> for v1::Artifact {
    fn from(record: ArtifactRecord) -> Self {
        let ArtifactRecord { trial, fold, kind, epoch, digest, bytes } = record;
        Self { trial: trial.0, fold: fold.0, kind, epoch: epoch.map(|epoch| epoch.0), digest, bytes }
    }
}

/// The artifacts of an answer.
///
/// # Errors
/// One whose digest is none.
pub fn artifacts_from(wire: v1::ListArtifactsResponse) -> Result<Vec<ArtifactRecord>, WireError> {
    let artifact = |artifact: v1::Artifact| {
        let v1::Artifact { trial, fold, kind, epoch, digest, bytes } = artifact;
        if !is_digest(&digest) {
            return Err(WireError::wrong("artifact.digest", "it is no SHA-256"));
        }
        let (trial, fold, epoch) = (TrialNumber(trial), FoldIndex(fold), epoch.map(Epoch));
        Ok(ArtifactRecord { trial, fold, kind, epoch, digest, bytes })
    };
    wire.artifacts.into_iter().map(artifact).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifacts_come_back_as_they_went() {
        let artifact = ArtifactRecord {
            trial: TrialNumber(3),
            fold: FoldIndex(1),
            kind: "model".into(),
            epoch: Some(Epoch(7)),
            digest: "ab".repeat(32),
            bytes: 9,
        };
        let mut wire = v1::ListArtifactsResponse { artifacts: vec![artifact.clone().into()] };
        assert_eq!(artifacts_from(wire.clone()), Ok(vec![artifact]));
        wire.artifacts[0].digest = "../x".into();
        assert!(artifacts_from(wire).is_err());
    }
}

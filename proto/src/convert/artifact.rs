//! Artifacts: files that travel in pieces behind a header.

use foldwise_shared::artifact::{Artifact, ResultFile, Upload, is_kind};
use foldwise_shared::checkpoint::{Checkpoint, is_digest};
use foldwise_shared::ids::{AttemptKey, Epoch};

use super::{WireError, attempt_key, attempt_key_from};
use crate::{MAX_ARTIFACT_PIECE, v1};

/// The longest incarnation, in bytes.
const INCARNATION: usize = 256;

/// What comes before the pieces of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactHeader {
    /// The incarnation of the worker.
    pub incarnation: String,
    /// The attempt it is of.
    pub key: AttemptKey,
    /// What it is.
    pub upload: Upload,
}

/// Which artifact a worker wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactRequest {
    /// The incarnation of the worker.
    pub incarnation: String,
    /// The attempt that starts from it.
    pub key: AttemptKey,
    /// Its digest.
    pub digest: String,
}

/// A header to the wire.
pub fn artifact_header(header: ArtifactHeader) -> v1::ArtifactChunk {
    let ArtifactHeader { incarnation, key, upload } = header;
    let Artifact { digest, bytes } = upload.file();
    let (kind, epoch) = match upload {
        Upload::Checkpoint(checkpoint) => (String::new(), checkpoint.epoch),
        Upload::Result(result) => (result.kind, result.epoch.unwrap_or_default()),
    };
    let key = Some(attempt_key(key));
    let header = v1::ArtifactHeader { incarnation, key, epoch: epoch.0, digest, bytes, kind };
    v1::ArtifactChunk { part: Some(v1::artifact_chunk::Part::Header(header)) }
}

/// A header from the wire: the first chunk of a stream, if there is one.
///
/// # Errors
/// No header, or one of no artifact that can be.
pub fn artifact_header_from(wire: Option<v1::ArtifactChunk>) -> Result<ArtifactHeader, WireError> {
    let Some(v1::artifact_chunk::Part::Header(header)) = wire.and_then(|chunk| chunk.part) else {
        return Err(WireError::Missing("header"));
    };
    if header.epoch == 0 && header.kind.is_empty() {
        return Err(WireError::wrong("header.epoch", "epochs count from 1"));
    }
    if header.bytes == 0 {
        return Err(WireError::wrong("header.bytes", "an artifact has at least one byte"));
    }
    let (epoch, digest, bytes) = (Epoch(header.epoch), digest(header.digest)?, header.bytes);
    let upload = if header.kind.is_empty() {
        Upload::Checkpoint(Checkpoint { epoch, digest, bytes })
    } else {
        let epoch = Some(epoch).filter(|epoch| epoch.0 > 0);
        Upload::Result(ResultFile { kind: kind(header.kind)?, epoch, file: Artifact { digest, bytes } })
    };
    Ok(ArtifactHeader {
        incarnation: incarnation(header.incarnation)?,
        key: attempt_key_from(header.key)?,
        upload,
    })
}

/// A request to the wire.
pub fn artifact_request(request: ArtifactRequest) -> v1::ArtifactRequest {
    let ArtifactRequest { incarnation, key, digest } = request;
    v1::ArtifactRequest { incarnation, key: Some(attempt_key(key)), digest }
}

/// A request from the wire.
///
/// # Errors
/// One of no artifact that can be.
pub fn artifact_request_from(wire: v1::ArtifactRequest) -> Result<ArtifactRequest, WireError> {
    Ok(ArtifactRequest {
        incarnation: incarnation(wire.incarnation)?,
        key: attempt_key_from(wire.key)?,
        digest: digest(wire.digest)?,
    })
}

fn incarnation(text: String) -> Result<String, WireError> {
    if text.is_empty() || text.len() > INCARNATION {
        return Err(WireError::wrong("incarnation", format!("it must have 1 to {INCARNATION} bytes")));
    }
    Ok(text)
}

fn kind(text: String) -> Result<String, WireError> {
    if is_kind(&text) {
        return Ok(text);
    }
    let shown: String = text.chars().take(40).collect();
    let message =
        format!("{shown:?} is no kind of result; use 1 to 32 letters a-z, digits and `-`, like `range-test`");
    Err(WireError::wrong("header.kind", message))
}

fn digest(text: String) -> Result<String, WireError> {
    if is_digest(&text) {
        return Ok(text);
    }
    // What a stranger wrote is shown short and on one line.
    let shown: String = text.chars().take(80).collect();
    Err(WireError::wrong(
        "digest",
        format!("{shown:?} is no SHA-256; write 64 lower-case hexadecimal digits"),
    ))
}

/// Counts the bytes of an artifact against what its header said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArtifactTracker {
    said: u64,
    came: u64,
}

impl ArtifactTracker {
    /// Nothing has come yet of so many bytes.
    pub fn new(said: u64) -> Self {
        Self { said, came: 0 }
    }

    /// The data of the next chunk.
    ///
    /// # Errors
    /// It is none, it is too large, or more than was said.
    pub fn take(&mut self, chunk: v1::ArtifactChunk) -> Result<Vec<u8>, WireError> {
        let data = match chunk.part {
            Some(v1::artifact_chunk::Part::Data(data)) => data,
            Some(v1::artifact_chunk::Part::Header(_)) => {
                return Err(WireError::wrong("header", "an artifact has one, at its start"));
            }
            None => return Err(WireError::Missing("data")),
        };
        if data.is_empty() || data.len() > MAX_ARTIFACT_PIECE {
            let message = format!("a piece has 1 to {MAX_ARTIFACT_PIECE} bytes, not {}", data.len());
            return Err(WireError::wrong("data", message));
        }
        self.came = self.came.saturating_add(data.len() as u64);
        if self.came > self.said {
            let message = format!("{} bytes came, and the header said {}", self.came, self.said);
            return Err(WireError::wrong("data", message));
        }
        Ok(data)
    }

    /// Demands that all has come.
    ///
    /// # Errors
    /// It has not.
    pub fn finish(self) -> Result<(), WireError> {
        if self.came == self.said {
            return Ok(());
        }
        let message = format!("only {} bytes came, and the header said {}", self.came, self.said);
        Err(WireError::wrong("data", message))
    }
}

#[cfg(test)]
mod tests {
    use foldwise_shared::ids::{Attempt, FoldIndex, StudyId, TrialNumber};

    use super::*;

    fn header() -> ArtifactHeader {
        ArtifactHeader {
            incarnation: "i".into(),
            key: AttemptKey {
                study: StudyId(1),
                trial: TrialNumber(2),
                fold: FoldIndex(3),
                attempt: Attempt(4),
            },
            upload: Upload::Checkpoint(checkpoint()),
        }
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint { epoch: Epoch(5), digest: "0a".repeat(32), bytes: 6 }
    }

    fn result(kind: &str, epoch: Option<Epoch>) -> ArtifactHeader {
        let file = Artifact { digest: "0b".repeat(32), bytes: 7 };
        ArtifactHeader { upload: Upload::Result(ResultFile { kind: kind.into(), epoch, file }), ..header() }
    }

    fn data(bytes: usize) -> v1::ArtifactChunk {
        v1::ArtifactChunk { part: Some(v1::artifact_chunk::Part::Data(vec![7; bytes])) }
    }

    #[test]
    fn what_goes_over_the_wire_comes_back() {
        assert_eq!(artifact_header_from(Some(artifact_header(header()))), Ok(header()));
        for epoch in [None, Some(Epoch(3))] {
            let result = result("range-test", epoch);
            assert_eq!(artifact_header_from(Some(artifact_header(result.clone()))), Ok(result));
        }
        let ArtifactHeader { incarnation, key, upload } = header();
        let request = ArtifactRequest { incarnation, key, digest: upload.file().digest };
        assert_eq!(artifact_request_from(artifact_request(request.clone())), Ok(request));
    }

    #[test]
    fn only_a_digest_is_one() {
        for digest in
            ["", "../../etc/passwd", &"A".repeat(64), &"a".repeat(63), &"a".repeat(65), &"é".repeat(32)]
        {
            let mut header = header();
            header.upload = Upload::Checkpoint(Checkpoint { digest: digest.to_owned(), ..checkpoint() });
            let error = artifact_header_from(Some(artifact_header(header))).expect_err(digest);
            assert!(error.to_string().contains("64 lower-case hexadecimal digits"), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert_eq!(artifact_header_from(None), Err(WireError::Missing("header")));
        assert_eq!(artifact_header_from(Some(data(1))), Err(WireError::Missing("header")));
        let mut none = header();
        none.upload = Upload::Checkpoint(Checkpoint { bytes: 0, ..checkpoint() });
        assert!(artifact_header_from(Some(artifact_header(none))).is_err());
        for kind in ["checkpoint", "source", "../model", "Model"] {
            let error = artifact_header_from(Some(artifact_header(result(kind, None)))).expect_err(kind);
            assert!(error.to_string().contains("no kind of result"), "{error}");
        }
        let mut none = header();
        none.incarnation = "i".repeat(INCARNATION + 1);
        assert!(artifact_header_from(Some(artifact_header(none))).is_err());
    }

    #[test]
    fn bytes_are_counted() {
        let mut tracker = ArtifactTracker::new(5);
        assert_eq!(tracker.take(data(3)).map(|data| data.len()), Ok(3));
        assert!(tracker.finish().is_err());
        assert!({ tracker }.take(data(0)).is_err());
        assert!({ tracker }.take(artifact_header(header())).is_err());
        assert!({ tracker }.take(data(3)).is_err());
        assert!(ArtifactTracker::new(u64::MAX).take(data(MAX_ARTIFACT_PIECE + 1)).is_err());
        assert_eq!(tracker.take(data(2)).map(|data| data.len()), Ok(2));
        assert_eq!(tracker.finish(), Ok(()));
    }
}

//! The ids of things, each a type of its own so that none can stand in for another.

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A study within one database; also its row id.
    StudyId(i64)
);
id!(
    /// A trial within its study, from 0.
    TrialNumber(u32)
);
id!(
    /// A train/validation split of a trial, from 0.
    FoldIndex(u32)
);
id!(
    /// One execution of one fold, from 1, never reused within the fold.
    Attempt(u32)
);
id!(
    /// One pass over the training part, from 1.
    Epoch(u32)
);
id!(
    /// A worker's right to an attempt; also its row id.
    LeaseId(i64)
);
id!(
    /// One bidirectional stream of a worker; made by the coordinator, never stored.
    SessionId(u64)
);

/// A moment: milliseconds since 1970 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub i64);

impl Millis {
    /// This moment and `span` milliseconds more.
    pub fn plus(self, span: i64) -> Self {
        Self(self.0.saturating_add(span))
    }

    /// Milliseconds from `earlier` to this moment; 0 if a clock went backwards.
    pub fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0).max(0)
    }
}

/// The name of one attempt on the wire and in the store: what fences a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptKey {
    /// The study.
    pub study: StudyId,
    /// The trial.
    pub trial: TrialNumber,
    /// The fold.
    pub fold: FoldIndex,
    /// Which execution of that fold.
    pub attempt: Attempt,
}

impl std::fmt::Display for AttemptKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "study {} trial {} fold {} attempt {}", self.study, self.trial, self.fold, self.attempt)
    }
}

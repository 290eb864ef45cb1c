//! The states of things and the reasons for which they end, with the one spelling each has everywhere.

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// Every one of them, in their order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// How they are spelled, in their order.
            pub const WORDS: &'static [&'static str] = &[$($text),+];

            /// The spelling in tables, files and on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::state::UnknownWord;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|word| word.as_str().eq_ignore_ascii_case(text)).ok_or_else(|| $crate::state::UnknownWord {
                    text: text.to_owned(),
                    known: Self::WORDS.join(", "),
                })
            }
        }
    };
}

pub(crate) use words;

/// A word that is none of those it could be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown value `{text}`, expected one of {known}")]
pub struct UnknownWord {
    /// What was given.
    pub text: String,
    /// What could have been given.
    pub known: String,
}

words!(
    /// The state of a study.
    StudyState {
        /// Gives out leases.
        Running = "running",
        /// Gives out no lease; what runs finishes.
        Paused = "paused",
        /// What runs is being stopped.
        Stopping = "stopping",
        /// Over.
        Ended = "ended",
    }
);

words!(
    /// The state of a trial and of a fold.
    TrialState {
        /// Nothing of it runs.
        Waiting = "waiting",
        /// Something of it runs.
        Running = "running",
        /// Its end is decided, something of it still runs.
        Stopping = "stopping",
        /// It has a value.
        Complete = "complete",
        /// The pruner stopped it.
        Pruned = "pruned",
        /// It could not be trained.
        Failed = "failed",
        /// A person, a budget or a sibling stopped it.
        Cancelled = "cancelled",
    }
);

impl TrialState {
    /// Whether nothing can change any more.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Complete | Self::Pruned | Self::Failed | Self::Cancelled)
    }
}

words!(
    /// The state of an attempt.
    AttemptState {
        /// Leased; the worker may be training it.
        Running = "running",
        /// It trained to its end.
        Complete = "complete",
        /// It was told to stop, and did.
        Stopped = "stopped",
        /// It ended without a result; `failure` says why.
        Failed = "failed",
    }
);

words!(
    /// Why an attempt ended without a result.
    FailureClass {
        /// Its worker fell silent or closed the stream.
        Lost = "lost",
        /// It was handed back, or taken back by a coordinator that restarted; costs no retry.
        Preempted = "preempted",
        /// The device had no memory left for it.
        OutOfMemory = "out-of-memory",
        /// Its loss was NaN or infinite.
        Diverged = "diverged",
        /// Its settings or its data cannot be trained.
        Invalid = "invalid",
        /// Anything else, with the message.
        Error = "error",
    }
);

words!(
    /// What is better.
    Direction {
        /// The smaller value.
        Minimize = "minimize",
        /// The larger value.
        Maximize = "maximize",
    }
);

impl Direction {
    /// Whether `a` is strictly better than `b`.
    pub fn is_better(self, a: f64, b: f64) -> bool {
        match self {
            Self::Minimize => a < b,
            Self::Maximize => a > b,
        }
    }
}

words!(
    /// Where a trial's param came from.
    Origin {
        /// The sampler chose it.
        Sampled = "sampled",
        /// The study file fixes it.
        Fixed = "fixed",
        /// A person enqueued it.
        Enqueued = "enqueued",
        /// It was computed in the trial itself.
        Derived = "derived",
    }
);

words!(
    /// The rule by which a pruner looks at a trial. Those "of folds" look at its finished folds.
    Rule {
        /// The best so far of a fold against the median of its peers.
        Median = "median",
        /// The mean of the finished folds against the median of its peers.
        MedianOfFolds = "median-of-folds",
        /// The best so far of a fold against a percentile of its peers.
        Percentile = "percentile",
        /// The mean of the finished folds against a percentile of its peers.
        PercentileOfFolds = "percentile-of-folds",
        /// The finished folds and the best so far of the next against a percentile of its peers.
        Paired = "paired",
        /// The mean of the finished folds against a percentile of its peers.
        PairedOfFolds = "paired-of-folds",
        /// The value at a rung against the best of those who came there.
        SuccessiveHalving = "successive-halving",
        /// The same among the trials of one bracket.
        Hyperband = "hyperband",
        /// A value against fixed bounds.
        Threshold = "threshold",
        /// The last epochs against those before them.
        Patience = "patience",
        /// The finished folds against the same folds of the best complete trial.
        Sequential = "sequential",
    }
);

words!(
    /// Why a pruner did not look at a trial when it could have.
    Skip {
        /// Nothing is judged there: the warm-up, between two intervals, between two rungs.
        NotDue = "not-due",
        /// Too few trials have come so far to begin with.
        FewTrials = "few-trials",
        /// Too few of them have a value there.
        FewPeers = "few-peers",
        /// It still improves, as its patience has it.
        Improving = "improving",
        /// What it would be compared with is no number.
        NoNumber = "no-number",
    }
);

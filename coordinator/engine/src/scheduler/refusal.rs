//! Why something that was asked for is refused.

/// A refusal; nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Of what kind.
    pub kind: RefusalKind,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Kinds of refusals, by what the caller can do about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// There is no such thing.
    NotFound,
    /// The study or the trial is not in a state for that.
    WrongState,
    /// The study has no trial to give.
    UsedUp,
    /// The lease is over: somebody else has the trial now.
    LeaseGone,
    /// What is said cannot be.
    Invalid,
    /// A fold or an epoch that the study does not have.
    OutOfRange,
    /// It was said before.
    Repeated,
    /// The coordinator is ending.
    Draining,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

impl RefusalKind {
    /// Whether what was written cannot work, rather than that something happened meanwhile.
    pub fn is_user_error(self) -> bool {
        !matches!(self, Self::UsedUp | Self::LeaseGone | Self::Draining)
    }

    pub(super) fn because<T>(self, message: impl Into<String>) -> Result<T, Refusal> {
        Err(Refusal { kind: self, message: message.into() })
    }
}

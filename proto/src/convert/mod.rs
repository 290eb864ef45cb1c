//! Conversions between the wire and our own types. What comes from the wire is checked here and nowhere else.

mod artifact;
mod common;
mod device;
mod event;
mod external;
mod fleet;
mod hindsight;
mod metrics;
mod name;
mod record;
mod whole;

pub use self::artifact::{
    ArtifactHeader, ArtifactRequest, ArtifactTracker, artifact_header, artifact_header_from,
    artifact_request, artifact_request_from,
};
pub use self::common::{
    attempt_key, attempt_key_from, failure, failure_from, params, params_from, value, value_from,
};
pub use self::device::{device_use, device_use_from};
pub use self::external::{add_request, added, tell_request, told};
pub use self::metrics::metrics_from;
pub use self::name::{check_name, clean_message};
pub use self::whole::artifacts_from;

/// A message that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A field that must be there is not.
    #[error("the field `{0}` is missing")]
    Missing(&'static str),
    /// A field has a value it cannot have.
    #[error("the field `{field}` is wrong: {message}")]
    Wrong {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        message: String,
    },
}

impl WireError {
    /// A field that has a value it cannot have.
    pub fn wrong(field: &'static str, message: impl ToString) -> Self {
        Self::Wrong { field, message: message.to_string() }
    }
}

//! What is wrong with a study file, where, and what would be right.

/// One thing that is wrong with a study file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecError {
    /// The key, dotted from the top; empty for the whole file.
    pub key: String,
    /// The line of the file, from 1, if it stands in the file.
    pub line: Option<usize>,
    /// The `--set` it comes from, if it does.
    pub set: Option<String>,
    /// What is wrong and what would be right.
    pub message: String,
}

impl SpecError {
    /// An error of a key, its place not yet known.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), line: None, set: None, message: message.into() }
    }
}

impl std::fmt::Display for SpecError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(size) = self.set.as_ref().and_then(|set| set.strip_prefix("size=")) {
            write!(f, "--size {size}: ")?;
        } else if let Some(set) = &self.set {
            write!(f, "--set {set}: ")?;
        } else if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for SpecError {}

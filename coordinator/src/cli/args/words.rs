//! Words that flags take: what is trained on, and the order of trials.

use std::str::FromStr;

use crate::store::TrialSort;

/// What a worker trains on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// Every GPU there is, or the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// One GPU.
    Cuda(u32),
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no device; write auto, cpu or cuda:N, such as cuda:0");
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|index| index.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(wrong),
        }
    }
}

/// In which order trials are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrialOrder {
    /// By what.
    pub key: TrialSort,
    /// The largest or latest first.
    pub descending: bool,
}

impl FromStr for TrialOrder {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (word, descending) = text.strip_prefix('-').map_or((text, false), |word| (word, true));
        let key = match word {
            "number" => TrialSort::Number,
            "value" => TrialSort::Value,
            "std" => TrialSort::Std,
            "created" => TrialSort::Created,
            "finished" => TrialSort::Finished,
            _ => {
                return Err(
                    "use number, value, std, created or finished, with a `-` in front to turn it round"
                        .into(),
                );
            }
        };
        Ok(Self { key, descending })
    }
}

impl std::fmt::Display for TrialOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = match self.key {
            TrialSort::Number => "number",
            TrialSort::Value => "value",
            TrialSort::Std => "std",
            TrialSort::Created => "created",
            TrialSort::Finished => "finished",
        };
        write!(f, "{}{word}", if self.descending { "-" } else { "" })
    }
}

//! Texts that strangers choose and people read: names, and what is said about a failure.

use super::WireError;
use crate::MAX_NAME_BYTES;

/// The longest message about a failure that is kept, in bytes.
const MESSAGE_BYTES: usize = 16 << 10;

/// Checks a name of a worker, its device or the like.
///
/// # Errors
/// It is empty, too long, or has characters that steer a terminal.
pub fn check_name(field: &'static str, text: &str) -> Result<(), WireError> {
    if text.is_empty() || text.len() > MAX_NAME_BYTES {
        let message = format!("it has {} bytes; use 1 to {MAX_NAME_BYTES}", text.len());
        return Err(WireError::wrong(field, message));
    }
    match text.chars().find(|letter| letter.is_control()) {
        Some(letter) => {
            let message = format!("it has the control character {letter:?}; use letters, digits and signs");
            Err(WireError::wrong(field, message))
        }
        None => Ok(()),
    }
}

/// A message about a failure as it may be stored and shown: not endless, and without characters that steer a terminal.
pub fn clean_message(mut text: String) -> String {
    if text.len() > MESSAGE_BYTES {
        text.truncate(text.floor_char_boundary(MESSAGE_BYTES));
        text.push_str(" ...");
    }
    let steers = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    if text.contains(steers) { text.replace(steers, "\u{fffd}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["w0", "node-7 cuda:0 GPU-1234", "käse", &"n".repeat(MAX_NAME_BYTES)] {
            assert_eq!(check_name("name", good), Ok(()));
        }
        let long = "n".repeat(MAX_NAME_BYTES + 1);
        for (bad, words) in [
            ("", "0 bytes"),
            (long.as_str(), "257 bytes; use 1 to 256"),
            ("a\u{1b}[2Jb", "control character '\\u{1b}'"),
            ("two\nlines", "'\\n'"),
        ] {
            let error = check_name("name", bad).expect_err(bad).to_string();
            assert!(error.contains("`name`") && error.contains(words), "{error}");
        }
    }

    #[test]
    fn messages_stay_readable() {
        assert_eq!(clean_message("out of memory\n\tat epoch 3".into()), "out of memory\n\tat epoch 3");
        assert_eq!(clean_message("a\u{1b}[31mb\r".into()), "a\u{fffd}[31mb\u{fffd}");
        let long = clean_message("ä".repeat(MESSAGE_BYTES));
        assert!(long.len() <= MESSAGE_BYTES + 4 && long.ends_with("ä ..."), "{}", long.len());
    }
}

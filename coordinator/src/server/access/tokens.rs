//! The tokens that a coordinator knows, each with a role and a name.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use foldwise_proto::MAX_NAME_BYTES;

use super::role::{Grant, Role};
use super::token::{Token, TokenDigest};

/// The shortest secret in a file of tokens.
const SECRET_LENGTH: usize = 16;

/// Why a file of tokens cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// It cannot be read.
    #[error("failed to read the tokens file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line that is no token. What it says is not repeated: it may be a secret.
    #[error("{}:{line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// Nobody could call.
    #[error("the tokens file {} has no tokens; write a line `ROLE NAME SECRET` for each", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// Whose token it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// What people call the token.
    pub name: Arc<str>,
    /// What it opens.
    pub grant: Grant,
}

#[derive(Debug)]
struct Entry {
    digest: TokenDigest,
    caller: Caller,
}

/// The tokens that open something. Without any, everything is open.
#[derive(Debug, Default)]
pub struct Tokens {
    entries: Vec<Entry>,
}

impl Tokens {
    /// One token that opens everything.
    pub fn single(token: &Token) -> Self {
        let mut tokens = Self::default();
        tokens.add_single(token);
        tokens
    }

    /// Adds a token that opens everything, unless a file has given it a role already.
    pub fn add_single(&mut self, token: &Token) {
        if self.find(token.digest()).is_none() {
            let caller = Caller { name: "token".into(), grant: Grant::Everything };
            self.entries.push(Entry { digest: token.digest(), caller });
        }
    }

    /// Reads a file of tokens: a line `ROLE NAME SECRET` for each, where the role is worker, writer or reader and the
    /// secret may be given as `sha256:` and the digits of its digest. Empty lines and lines with `#` in front don't count.
    ///
    /// # Errors
    /// [`TokensError`]
    pub fn read(path: &Path) -> Result<Self, TokensError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| TokensError::Read { path: path.to_owned(), source })?;
        let mut tokens = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            tokens.add_line(line).map_err(|problem| TokensError::Line {
                path: path.to_owned(),
                line: index + 1,
                problem,
            })?;
        }
        if tokens.is_empty() {
            return Err(TokensError::Empty { path: path.to_owned() });
        }
        warn_if_others_can_read(path);
        Ok(tokens)
    }

    fn add_line(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [role, name, secret] = words.as_slice() else {
            return Err(format!("a token is a line `ROLE NAME SECRET`; this one has {} words", words.len()));
        };
        let role: Role = role.parse()?;
        if name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
            return Err(format!(
                "the name of a token has at most {MAX_NAME_BYTES} letters, digits and signs"
            ));
        }
        let digest = match secret.strip_prefix("sha256:") {
            Some(digits) => TokenDigest::from_hex(digits)
                .ok_or("after `sha256:` there must be the 64 hexadecimal digits of the secret's digest")?,
            None if secret.len() < SECRET_LENGTH => {
                return Err(format!(
                    "the secret of `{name}` has fewer than {SECRET_LENGTH} letters and could be guessed; `openssl rand \
                     -hex 24` makes a good one"
                ));
            }
            None => Token::new(secret)?.digest(),
        };
        if self.entries.iter().any(|entry| &*entry.caller.name == *name) {
            return Err(format!("there is a token named `{name}` already; give each a name of its own"));
        }
        if let Some(other) = self.find(digest) {
            return Err(format!("`{name}` has the same secret as `{}`; give each its own", other.name));
        }
        let caller = Caller { name: (*name).into(), grant: Grant::Only(role) };
        self.entries.push(Entry { digest, caller });
        Ok(())
    }

    /// Whether there are none, and so everything is open.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whose secret it is. Every token is compared, so that the time tells nothing of which one it was.
    pub(super) fn whose(&self, secret: &[u8]) -> Option<&Caller> {
        self.find(TokenDigest::of(secret))
    }

    fn find(&self, digest: TokenDigest) -> Option<&Caller> {
        let mut found = None;
        for entry in &self.entries {
            if bool::from(entry.digest.is(&digest)) {
                found = Some(&entry.caller);
            }
        }
        found
    }
}

/// Says that a file with a secret is readable by more than its owner.
pub(crate) fn warn_if_others_can_read(path: &Path) {
    // Whoever read the file has seen what is wrong with it, if anything is.
    let Ok(metadata) = std::fs::metadata(path) else { return };
    if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
        let path = path.display();
        tracing::warn!("others on this machine can get at the secrets in {path}; chmod 600 {path}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
# the gpu farm
worker farm-1   aaaaaaaaaaaaaaaaaaaaaaaa
worker farm-2   bbbbbbbbbbbbbbbbbbbbbbbb
  writer alice  sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
reader grafana  cccccccccccccccccccccccc
";

    fn read(text: &str) -> Result<Tokens, String> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        Tokens::read(file.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_gives_each_secret_its_role() {
        let mut tokens = read(GOOD).expect("tokens");
        let whose = |tokens: &Tokens, secret: &str| {
            tokens.whose(secret.as_bytes()).map(|caller| (caller.name.to_string(), caller.grant))
        };
        let only = |name: &str, role| Some((name.to_owned(), Grant::Only(role)));
        assert_eq!(whose(&tokens, "aaaaaaaaaaaaaaaaaaaaaaaa"), only("farm-1", Role::Worker));
        assert_eq!(whose(&tokens, "abc"), only("alice", Role::Writer));
        assert_eq!(whose(&tokens, "cccccccccccccccccccccccc"), only("grafana", Role::Reader));
        for stranger in ["", "aaaaaaaaaaaaaaaaaaaaaaa", "ba7816bf8f01cfea414140de5dae2223"] {
            assert_eq!(whose(&tokens, stranger), None, "{stranger}");
        }
        let shown = format!("{tokens:?}");
        assert!(!shown.contains("aaaaaaaa") && !shown.contains("ba7816"), "{shown}");

        // A reader's token does not become more by being the single token too.
        tokens.add_single(&Token::new("cccccccccccccccccccccccc").expect("a token"));
        assert_eq!(whose(&tokens, "cccccccccccccccccccccccc"), only("grafana", Role::Reader));
        tokens.add_single(&Token::new("dddd").expect("a token"));
        assert_eq!(whose(&tokens, "dddd"), Some(("token".into(), Grant::Everything)));
    }

    #[test]
    fn a_wrong_file_is_named_with_its_line_and_without_its_secrets() {
        let secret = "0123456789abcdef0123";
        for (text, words) in [
            (format!("worker {secret}\n"), ":1: a token is a line `ROLE NAME SECRET`; this one has 2 words"),
            (format!("\nadmin a {secret}\n"), ":2: `admin` is no role; use worker, writer or reader"),
            (format!("worker {secret} short\n"), "fewer than 16 letters"),
            ("worker a sha256:12\n".into(), "64 hexadecimal digits"),
            (format!("worker a {secret}\nreader a x{secret}\n"), ":2: there is a token named `a` already"),
            (format!("worker a {secret}\nreader b {secret}\n"), ":2: `b` has the same secret as `a`"),
            ("# nothing\n\n".into(), "has no tokens"),
        ] {
            let error = read(&text).expect_err(&text);
            assert!(error.contains(words), "{error}");
        }
        let error = read(&format!("worker a b {secret}\n")).expect_err("four words");
        assert!(!error.contains(secret), "{error}");
        let error = Tokens::read(Path::new("/nowhere/tokens")).expect_err("not there").to_string();
        assert!(error.contains("failed to read the tokens file /nowhere/tokens"), "{error}");
    }
}

//! A secret that callers must know.

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// A secret; never printed.
#[derive(Clone)]
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// A given secret, without the white space around it.
    ///
    /// # Errors
    /// Nothing is left, or it has characters that a header cannot carry.
    pub fn new(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() || !text.chars().all(|c| c.is_ascii_graphic()) {
            return Err("the token must be one word of letters, digits and signs, without spaces".into());
        }
        Ok(Self(text.to_owned()))
    }

    /// A secret that nobody knows yet: 244 random bits.
    pub fn random() -> Self {
        Self(format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple()))
    }

    /// The secret itself, to hand it on.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn digest(&self) -> TokenDigest {
        TokenDigest::of(self.0.as_bytes())
    }
}

/// The SHA-256 of a secret: enough to know it again, and of no use to whoever reads it.
#[derive(Clone, Copy)]
pub struct TokenDigest([u8; 32]);

impl std::fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenDigest(..)")
    }
}

impl std::fmt::Display for TokenDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl TokenDigest {
    pub(super) fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// From 64 hexadecimal digits.
    pub(super) fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// Whether they are equal, in a time that does not depend on where they differ.
    pub(super) fn is(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let token = Token::new(" open-sesame\n").expect("a token");
        assert_eq!(token.reveal(), "open-sesame");
        let digest = token.digest();
        assert_eq!(format!("{token:?} {digest:?}"), "Token(..) TokenDigest(..)");
        assert_ne!(Token::random().reveal(), Token::random().reveal());
        for wrong in ["", " \n", "two words", "käse"] {
            assert!(Token::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_digest_comes_back_from_its_digits() {
        // `printf abc | sha256sum`
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let digest = Token::new("abc").expect("a token").digest();
        assert_eq!(digest.to_string(), known);
        assert!(bool::from(TokenDigest::from_hex(known).expect("a digest").is(&digest)));
        assert!(bool::from(TokenDigest::from_hex(&known.to_uppercase()).expect("a digest").is(&digest)));
        let other = known.replacen('b', "c", 1);
        assert!(!bool::from(TokenDigest::from_hex(&other).expect("a digest").is(&digest)));
        for wrong in ["", "ab", &known[1..], &format!("{}ä", &known[2..])] {
            assert!(TokenDigest::from_hex(wrong).is_none(), "{wrong}");
        }
    }
}

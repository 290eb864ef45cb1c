//! The secret that callers must know.

use subtle::ConstantTimeEq;
use tonic::{Request, Status};

use super::status;

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
}

/// Refuses every call that does not carry `authorization: Bearer TOKEN`.
pub(super) fn guard(token: Option<Token>) -> impl Fn(Request<()>) -> Result<Request<()>, Status> + Clone {
    move |request: Request<()>| {
        let Some(Token(wanted)) = &token else { return Ok(request) };
        let given = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let given = given.and_then(|text| text.strip_prefix("Bearer ")).unwrap_or_default();
        if bool::from(given.as_bytes().ct_eq(wanted.as_bytes())) {
            Ok(request)
        } else {
            Err(status::wrong_token(given.is_empty()))
        }
    }
}

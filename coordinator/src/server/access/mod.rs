//! Who may call what: tokens, their roles, and the guard in front of everything that is served.

mod guard;
mod role;
mod token;
mod tokens;

pub(super) use self::guard::GuardLayer;
pub use self::role::Role;
pub(super) use self::role::known;
pub use self::token::Token;
pub(crate) use self::tokens::warn_if_others_can_read;
pub use self::tokens::{Tokens, TokensError};

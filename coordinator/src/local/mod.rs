//! The worker processes of `foldwise run`: found, started, watched, started again, and gone when we are.

mod crew;
mod program;

pub use self::crew::{Crew, Happening};
pub use self::program::{LocalError, Program, Wanted};

//! What the end-to-end tests stand on: the built programs as processes, a folder for each test, and its database as
//! anybody else would read it.

pub mod chaos;
mod database;
mod process;
mod random;
mod scene;
mod study;
mod wait;

pub use self::database::{Database, Value, rows};
pub use self::process::{Ended, Process, Running};
pub use self::random::Random;
pub use self::scene::{Scene, Server, url_in};
pub use self::study::Study;
pub use self::wait::{until, until_within};

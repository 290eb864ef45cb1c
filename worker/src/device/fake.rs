//! Devices that are made up, for tests and rehearsals: their work is done by the CPU, and done in earnest.

use sha2::{Digest, Sha256};

/// The memory that a fake device claims to have.
pub(super) const MEMORY: u64 = 8 << 30;

/// A name like a GPU's own, that stays the same on a machine: `FAKE-...`.
pub(super) fn uuid(index: usize) -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let digest = Sha256::digest(format!("foldwise fake device {index} of {host}"));
    let mut text = String::from("FAKE");
    for (position, byte) in digest.iter().take(16).enumerate() {
        if [0, 4, 6, 8, 10].contains(&position) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_name_that_stays() {
        assert_eq!(uuid(0), uuid(0));
        assert_ne!(uuid(0), uuid(1));
        let lengths: Vec<usize> = uuid(0).split('-').map(str::len).collect();
        assert_eq!(lengths, [4, 8, 4, 4, 4, 12]);
    }
}

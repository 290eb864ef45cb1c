//! What a checkpoint's file may do to its reader: nothing but be refused in words, or be the very file that would be written.
//! Whoever includes this has `Checkpoint` and `ParameterSpec` at its root.

use crate::{Checkpoint, ParameterSpec};

/// Whose checkpoints the files are.
pub const IDENTITY: &str = "me";

/// A network of one small layer.
pub fn specs() -> Vec<ParameterSpec> {
    ParameterSpec::layer("enc.0", &[2, 3], 2).to_vec()
}

/// Reads `bytes` as a checkpoint of that network.
pub fn check(bytes: &[u8]) {
    match Checkpoint::from_bytes(bytes, IDENTITY, &specs()) {
        Ok(read) => {
            let written = read.to_bytes(IDENTITY, &specs()).expect("what was read fits");
            let again =
                Checkpoint::from_bytes(&written, IDENTITY, &specs()).expect("what was written can be read");
            // A NaN is unequal to itself, so the files are compared.
            assert_eq!(again.to_bytes(IDENTITY, &specs()).expect("it fits"), written);
        }
        Err(error) => assert!(error.to_string().starts_with("the checkpoint cannot be used: "), "{error}"),
    }
}

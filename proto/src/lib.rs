//! The wire: the generated code of `proto/foldwise/v1`, and every conversion between it and our own types.

/// The version of the worker's side of the wire; both sides must have the same.
pub const WIRE_VERSION: u32 = 3;

/// The largest message either side takes, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// The most attempts a worker can run side by side.
pub const MAX_SLOTS: u32 = 256;

/// The longest name, incarnation or device of a worker, in bytes.
pub const MAX_NAME_BYTES: usize = 256;

/// The most attempts that a worker can say it holds: those that run, and those whose end is not acknowledged yet.
pub const MAX_HELD: usize = 4 * MAX_SLOTS as usize;
/// The pieces that an artifact is sent in, in bytes.
pub const ARTIFACT_PIECE: usize = 512 << 10;

/// The largest piece of an artifact either side takes, in bytes.
pub const MAX_ARTIFACT_PIECE: usize = 1 << 20;

/// The largest artifact either side takes unless it is told otherwise, in bytes.
pub const MAX_ARTIFACT: u64 = 1 << 30;

/// The generated code.
pub mod v1 {
    #![expect(
        missing_docs,
        clippy::allow_attributes,
        reason = "generated; the .proto files have the comments"
    )]
    tonic::include_proto!("foldwise.v1");
}

/// The encoded file descriptors, for reflection.
pub const FILE_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

pub mod convert;

pub mod dial;

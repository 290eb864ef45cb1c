//! Why a training failed, told apart as far as the coordinator retries differently.

use tch::TchError;

use super::checkpoint::CheckpointError;
use super::optimizer::RestoreError;
use crate::model::BuildError;

/// Why a training failed.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The task cannot work, here or elsewhere.
    #[error("{0}")]
    Invalid(String),
    /// The device has too little memory, now or ever.
    #[error("out of memory: {0}")]
    OutOfMemory(String),
    /// What the training was to go on from cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The loss does not fall, whatever is tried.
    #[error("{0}")]
    Diverged(String),
    /// libtorch failed in another way.
    #[error("libtorch failed: {0}")]
    Torch(String),
}

impl From<TchError> for TrainError {
    fn from(error: TchError) -> Self {
        let text = match &error {
            TchError::Torch(text) => text.clone(),
            other => other.to_string(),
        };
        // The rest is the C++ stack.
        let first = text.lines().next().unwrap_or_default().to_owned();
        if is_out_of_memory(&text) { TrainError::OutOfMemory(first) } else { TrainError::Torch(first) }
    }
}

impl From<BuildError> for TrainError {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Shape(message) => TrainError::Invalid(message),
            BuildError::Torch(error) => error.into(),
        }
    }
}

impl From<RestoreError> for TrainError {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Unfit(message) => CheckpointError(message).into(),
            RestoreError::Torch(error) => error.into(),
        }
    }
}

/// libtorch has no error codes, only these words: of its CUDA allocator and the CUDA runtime, cuBLAS, cuDNN 8 and 9, its
/// CPU allocator, and C++. The CUDA allocator gives back all that it has cached and tries again before it says so, and
/// what the failed fold held is free for the next one once its tensors are dropped: nothing is left to empty.
fn is_out_of_memory(text: &str) -> bool {
    [
        "out of memory",
        "CUBLAS_STATUS_ALLOC_FAILED",
        "CUDNN_STATUS_ALLOC_FAILED",
        "ALLOCATION_FAILED",
        "can't allocate memory",
        "not enough memory",
        "std::bad_alloc",
    ]
    .iter()
    .any(|words| text.contains(words))
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    #[test]
    fn a_lack_of_memory_is_told_apart() {
        let error = Tensor::f_empty([1 << 60], (Kind::Float, Device::Cpu)).expect_err("no machine has that");
        assert!(matches!(TrainError::from(error), TrainError::OutOfMemory(_)));
        let cuda =
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...\nException raised from malloc";
        let error = TrainError::from(TchError::Torch(cuda.into()));
        assert_eq!(
            error.to_string(),
            "out of memory: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ..."
        );
    }

    #[test]
    fn every_library_says_it_in_its_own_words() {
        for (text, memory) in [
            ("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported", true),
            ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", true),
            ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", true),
            ("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED", true),
            (
                "[enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: can't allocate memory",
                true,
            ),
            ("std::bad_alloc", true),
            ("CUDA error: an illegal memory access was encountered", false),
            ("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`", false),
            ("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", false),
        ] {
            let error = TrainError::from(TchError::Torch(text.into()));
            assert_eq!(matches!(error, TrainError::OutOfMemory(_)), memory, "{text}");
        }
    }

    #[test]
    fn another_error_is_one_line() {
        let left = Tensor::f_zeros([2, 3], (Kind::Float, Device::Cpu)).expect("small");
        let error = TrainError::from(left.f_mm(&left).expect_err("shapes differ"));
        assert!(
            matches!(&error, TrainError::Torch(text) if text.contains("mat1 and mat2") && !text.contains('\n'))
        );
    }
}

//! Looking at codes: their principal components, their t-SNE, and how far their classes stand apart. Numbers in, numbers
//! out, on one thread of the CPU; nothing here needs libtorch.
//!
//! [`Codes`] checks its numbers once, so that what is computed of them need not.

pub mod pca;
pub mod separation;
pub mod tsne;

mod neighbors;

use std::ops::ControlFlow;

pub use pca::{Pca, pca};
pub use separation::{knn_accuracy, silhouette};
pub use tsne::{Embedding, TsneSettings, tsne};

/// Codes: a row for each image, finite numbers.
#[derive(Debug, Clone, Copy)]
pub struct Codes<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
}

/// Why nothing can be computed of some codes.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EmbedError {
    /// The numbers don't fit the shape.
    #[error("{values} numbers are not {rows} codes of {columns} dimensions, of both at least 1")]
    Shape {
        /// Numbers there are.
        values: usize,
        /// Codes there should be.
        rows: usize,
        /// Dimensions of each.
        columns: usize,
    },
    /// Infinite, or not a number.
    #[error("the code of image {row} has {value} in dimension {column}; codes must be finite")]
    NotFinite {
        /// Which code.
        row: usize,
        /// Which of its dimensions.
        column: usize,
        /// What is there.
        value: f32,
    },
    /// More neighbors are asked for than there are.
    #[error(
        "a perplexity of {perplexity} needs at least {needed} codes (3 times as many and 1), and there are {rows}; take at \
         most {most}"
    )]
    Perplexity {
        /// The perplexity.
        perplexity: f64,
        /// Codes that it needs.
        needed: usize,
        /// Codes there are.
        rows: usize,
        /// The largest perplexity for these codes.
        most: usize,
    },
    /// Below 1, or no number.
    #[error("a perplexity of {0}; it is the number of neighbors that count, from 1")]
    NoPerplexity(f64),
    /// As many labels as codes are needed.
    #[error("{labels} labels for {rows} codes; there must be one for each")]
    Labels {
        /// Labels there are.
        labels: usize,
        /// Codes there are.
        rows: usize,
    },
    /// Neighbors are others.
    #[error("{k} neighbors of each of {rows} codes; there must be at least 1, and fewer than codes")]
    Neighbors {
        /// Neighbors asked for.
        k: usize,
        /// Codes there are.
        rows: usize,
    },
    /// What is compared is not there twice.
    #[error(
        "{rows} codes in {classes} classes; it takes at least two classes and one code more than classes"
    )]
    Classes {
        /// Codes there are.
        rows: usize,
        /// Classes that occur.
        classes: usize,
    },
    /// One point has no variance.
    #[error("the principal components of 1 code; there must be at least 2")]
    OneCode,
}

impl<'a> Codes<'a> {
    /// Codes as `rows` times `columns` numbers, row by row.
    ///
    /// # Errors
    /// [`EmbedError::Shape`] or [`EmbedError::NotFinite`].
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Result<Self, EmbedError> {
        if values.is_empty() || rows.checked_mul(columns) != Some(values.len()) {
            return Err(EmbedError::Shape { values: values.len(), rows, columns });
        }
        if let Some((at, value)) = values.iter().enumerate().find(|(_, value)| !value.is_finite()) {
            return Err(EmbedError::NotFinite { row: at / columns, column: at % columns, value: *value });
        }
        Ok(Self { values, rows, columns })
    }

    /// How many there are; never 0.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Dimensions of each; never 0.
    pub fn columns(&self) -> usize {
        self.columns
    }

    fn rows(&self) -> std::slice::ChunksExact<'a, f32> {
        self.values.chunks_exact(self.columns)
    }

    fn check_labels(&self, labels: &[u8]) -> Result<(), EmbedError> {
        if labels.len() == self.rows {
            return Ok(());
        }
        Err(EmbedError::Labels { labels: labels.len(), rows: self.rows })
    }
}

/// Is asked while something long is computed, several times a second, whether to go on.
pub type Watch<'a> = &'a mut dyn FnMut(Step) -> ControlFlow<()>;

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// So many codes have their neighbors.
    Neighbors(usize),
    /// So many iterations are done.
    Iteration(u32),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_checked_once() {
        assert_eq!(Codes::new(&[0.0; 6], 3, 2).map(|codes| (codes.len(), codes.columns())), Ok((3, 2)));
        for (count, rows, columns) in [(0, 0, 2), (0, 3, 0), (6, 2, 2), (6, usize::MAX, 2)] {
            let error = Codes::new(&[0.0; 6][..count], rows, columns).expect_err("no shape");
            assert_eq!(error, EmbedError::Shape { values: count, rows, columns });
        }
        let error = Codes::new(&[0.0, 1.0, 2.0, f32::INFINITY], 2, 2).expect_err("infinite");
        assert_eq!(error.to_string(), "the code of image 1 has inf in dimension 1; codes must be finite");
        assert!(Codes::new(&[f32::NAN], 1, 1).is_err());
    }
}

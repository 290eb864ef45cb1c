//! Principal components.

use nalgebra::{DMatrix, SymmetricEigen};

use super::{Codes, EmbedError};

/// Codes in the plane of their two principal components.
#[derive(Debug, Clone, PartialEq)]
pub struct Pca {
    /// Two coordinates for each code, from their mean. Of codes of one dimension the second is 0.
    pub points: Vec<[f32; 2]>,
    /// The share of the variance that lies along each; both 0 where all codes are the same.
    pub explained_variance: [f64; 2],
}

/// The two principal components: the eigenvectors of the covariance with the largest eigenvalues. Of the two directions of each
/// the one is taken whose largest part is positive, so that the same codes give the same picture.
///
/// # Errors
/// [`EmbedError::OneCode`].
pub fn pca(codes: Codes<'_>) -> Result<Pca, EmbedError> {
    if codes.len() < 2 {
        return Err(EmbedError::OneCode);
    }
    let columns = codes.columns();
    let count = codes.len() as f64;
    let mut mean = vec![0.0; columns];
    for row in codes.rows() {
        for (sum, value) in mean.iter_mut().zip(row) {
            *sum += f64::from(*value);
        }
    }
    mean.iter_mut().for_each(|sum| *sum /= count);

    let mut covariance = DMatrix::<f64>::zeros(columns, columns);
    let mut centered = vec![0.0; columns];
    for row in codes.rows() {
        for ((centered, value), mean) in centered.iter_mut().zip(row).zip(&mean) {
            *centered = f64::from(*value) - mean;
        }
        for (left, mut column) in centered.iter().zip(covariance.column_iter_mut()) {
            for (sum, right) in column.iter_mut().zip(&centered) {
                *sum += left * right;
            }
        }
    }
    covariance /= count - 1.0;

    let total = covariance.trace();
    let eigen = SymmetricEigen::new(covariance);
    let mut order: Vec<usize> = (0..columns).collect();
    order.sort_by(|left, right| eigen.eigenvalues[*right].total_cmp(&eigen.eigenvalues[*left]));
    let mut axes = [vec![0.0; columns], vec![0.0; columns]];
    let mut explained_variance = [0.0; 2];
    for ((axis, share), which) in axes.iter_mut().zip(&mut explained_variance).zip(&order) {
        let vector = eigen.eigenvectors.column(*which);
        let largest = vector.iter().copied().max_by(|left, right| left.abs().total_cmp(&right.abs()));
        let sign = largest.unwrap_or(1.0).signum();
        axis.iter_mut().zip(vector.iter()).for_each(|(part, value)| *part = sign * value);
        if total > 0.0 {
            *share = (eigen.eigenvalues[*which] / total).clamp(0.0, 1.0);
        }
    }
    let along = |row: &[f32], axis: &[f64]| {
        let parts =
            row.iter().zip(&mean).zip(axis).map(|((value, mean), part)| (f64::from(*value) - mean) * part);
        parts.sum::<f64>() as f32
    };
    let points = codes.rows().map(|row| [along(row, &axes[0]), along(row, &axes[1])]).collect();
    Ok(Pca { points, explained_variance })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn components(values: &[f32], columns: usize) -> Pca {
        pca(Codes::new(values, values.len() / columns, columns).expect("codes")).expect("components")
    }

    #[test]
    fn a_cross_has_the_components_of_a_hand() {
        // Along (3, 4)/5 the values 5 and -5, along (4, -3)/5 the values 2 and -2, around (10, 20).
        let cross = [13.0, 24.0, 7.0, 16.0, 11.6, 18.8, 8.4, 21.2];
        let found = components(&cross, 2);
        for (point, expected) in found.points.iter().zip([[5.0, 0.0], [-5.0, 0.0], [0.0, 2.0], [0.0, -2.0]]) {
            for (value, expected) in point.iter().zip(expected) {
                assert!((value - expected).abs() < 1e-5, "{:?}", found.points);
            }
        }
        // Squares 50 and 8 of 58.
        assert!((found.explained_variance[0] - 50.0 / 58.0).abs() < 1e-6);
        assert!((found.explained_variance[1] - 8.0 / 58.0).abs() < 1e-6);
    }

    #[test]
    fn one_dimension_and_no_variance() {
        let line = components(&[1.0, 2.0, 6.0], 1);
        assert_eq!(line.points, [[-2.0, 0.0], [-1.0, 0.0], [3.0, 0.0]]);
        assert_eq!(line.explained_variance, [1.0, 0.0]);
        let still = components(&[7.0; 6], 2);
        assert_eq!((still.points, still.explained_variance), (vec![[0.0; 2]; 3], [0.0; 2]));
        let one = Codes::new(&[1.0, 2.0], 1, 2).expect("a code");
        assert_eq!(pca(one), Err(EmbedError::OneCode));
    }
}

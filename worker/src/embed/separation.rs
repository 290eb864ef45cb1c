//! How far classes stand apart among codes.

use std::ops::ControlFlow;

use super::neighbors::{self, Columns, Neighbor};
use super::{Codes, EmbedError, Watch};

/// Up to so many codes every silhouette is computed (a few seconds); of more only those of [`SAMPLE`] codes.
const EXACT: usize = 20_000;

/// Silhouettes that are averaged where there are too many.
const SAMPLE: usize = 2_000;

/// The share of codes whose class is the most frequent among their `k` nearest others (leave one out). Where several classes are
/// as frequent, the one of them that comes nearest counts. None if the watch says stop.
///
/// # Errors
/// As many labels as codes, `k` of at least 1 and below the number of codes.
pub fn knn_accuracy(
    codes: Codes<'_>,
    labels: &[u8],
    k: usize,
    watch: Watch<'_>,
) -> Result<Option<f64>, EmbedError> {
    codes.check_labels(labels)?;
    if k == 0 || k >= codes.len() {
        return Err(EmbedError::Neighbors { k, rows: codes.len() });
    }
    let Some(neighbors) = neighbors::nearest(codes, k, watch) else { return Ok(None) };
    let hits =
        neighbors.chunks_exact(k).zip(labels).filter(|(near, label)| vote(near, labels) == **label).count();
    Ok(Some(hits as f64 / codes.len() as f64))
}

/// The most frequent class; the nearest of equally frequent ones.
fn vote(nearest: &[Neighbor], labels: &[u8]) -> u8 {
    let mut votes = [0_u32; 256];
    let classes = || nearest.iter().map(|near| labels[near.index as usize]);
    classes().for_each(|class| votes[usize::from(class)] += 1);
    let most = votes.iter().max();
    classes().find(|class| votes.get(usize::from(*class)) == most).unwrap_or_default()
}

/// The mean silhouette (Rousseeuw 1987) of the codes by class: 1 where classes are far apart and each close together, 0 where
/// they lie in one another. Exact up to 20,000 codes; of more, that of 2,000 codes spread evenly over the classes, each
/// against all.
/// A class of one code has silhouette 0. None if the watch says stop.
///
/// # Errors
/// As many labels as codes, at least two classes, and fewer classes than codes.
pub fn silhouette(codes: Codes<'_>, labels: &[u8], watch: Watch<'_>) -> Result<Option<f64>, EmbedError> {
    let sample = if codes.len() > EXACT { SAMPLE } else { codes.len() };
    silhouette_of(codes, labels, sample, watch)
}

fn silhouette_of(
    codes: Codes<'_>,
    labels: &[u8],
    sample: usize,
    watch: Watch<'_>,
) -> Result<Option<f64>, EmbedError> {
    codes.check_labels(labels)?;
    let mut counts = [0_usize; 256];
    labels.iter().for_each(|label| counts[usize::from(*label)] += 1);
    let classes = counts.iter().filter(|count| **count > 0).count();
    if classes < 2 || classes >= codes.len() {
        return Err(EmbedError::Classes { rows: codes.len(), classes });
    }

    // By class, so that the distances to a class lie beside one another.
    let mut order: Vec<usize> = (0..codes.len()).collect();
    order.sort_by_key(|row| labels[*row]);
    let sorted: Vec<f32> =
        order.iter().flat_map(|row| &codes.values[row * codes.columns..][..codes.columns]).copied().collect();
    let sorted = Codes { values: &sorted, ..codes };
    let columns = Columns::new(sorted);
    let mut distances = vec![0.0; codes.len()];
    let mut sum = 0.0;
    for nth in 0..sample {
        if nth % 64 == 0 && watch(super::Step::Neighbors(nth)) == ControlFlow::Break(()) {
            return Ok(None);
        }
        let row = nth * codes.len() / sample;
        let own = labels[order[row]];
        columns.squared_distances(&sorted.values[row * codes.columns..][..codes.columns], &mut distances);
        distances.iter_mut().for_each(|distance| *distance = distance.sqrt());
        let (mut within, mut nearest) = (None, f64::INFINITY);
        let mut rest = &distances[..];
        for (class, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let (of_class, after) = rest.split_at(*count);
            rest = after;
            let total: f64 = of_class.chunks(256).map(|part| f64::from(part.iter().sum::<f32>())).sum();
            if class == usize::from(own) {
                within = (*count > 1).then(|| total / (count - 1) as f64);
            } else {
                nearest = nearest.min(total / *count as f64);
            }
        }
        if let Some(within) = within
            && within.max(nearest) > 0.0
        {
            sum += (nearest - within) / within.max(nearest);
        }
    }
    Ok(Some(sum / sample as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn go_on(_: super::super::Step) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Codes of one dimension.
    fn line(values: &[f32]) -> Codes<'_> {
        Codes::new(values, values.len(), 1).expect("codes")
    }

    #[test]
    fn neighbors_vote_and_the_nearest_breaks_a_tie() {
        let codes = [0.0, 1.0, 2.5, 10.0, 11.0, 12.5];
        let accuracy = |labels: &[u8], k| {
            knn_accuracy(line(&codes), labels, k, &mut go_on).expect("an accuracy").expect("not stopped")
        };
        assert_eq!(accuracy(&[1, 1, 1, 2, 2, 2], 2), 1.0);
        // Its nearest neighbor tells of each but the third (1.0 is a 2) and 1.0 (0.0 is a 1).
        assert_eq!(accuracy(&[1, 2, 2, 3, 3, 3], 1), 4.0 / 6.0);
        // Of two neighbors with different classes the nearer one counts: 2.5 has its own, 1.0 another; 0.0 has none.
        assert_eq!(accuracy(&[2, 1, 1, 3, 3, 3], 2), 4.0 / 6.0);
        assert_eq!(accuracy(&[1, 2, 3, 4, 5, 6], 5), 0.0);
        assert_eq!(
            knn_accuracy(line(&codes), &[1; 6], 6, &mut go_on),
            Err(EmbedError::Neighbors { k: 6, rows: 6 })
        );
        assert_eq!(
            knn_accuracy(line(&codes), &[1; 5], 2, &mut go_on),
            Err(EmbedError::Labels { labels: 5, rows: 6 })
        );
    }

    #[test]
    fn silhouettes_of_a_hand() {
        // Within 1 and 1; to the other class 9.5 and 8.5, 8.5 and 9.5.
        let expected = (8.5 / 9.5 + 7.5 / 8.5) / 2.0;
        let found = silhouette(line(&[0.0, 9.0, 1.0, 10.0]), &[7, 3, 7, 3], &mut go_on);
        assert!((found.expect("defined").expect("not stopped") - expected).abs() < 1e-6);
        // A class of one counts as 0: the others have 1 within.
        let expected = ((9.0 - 1.0) / 9.0 + (10.0 - 1.0) / 10.0) / 3.0;
        let found = silhouette(line(&[0.0, 9.0, 10.0]), &[0, 1, 1], &mut go_on);
        assert!((found.expect("defined").expect("not stopped") - expected).abs() < 1e-6);
        let same = silhouette(line(&[4.0; 4]), &[0, 1, 0, 1], &mut go_on);
        assert_eq!(same, Ok(Some(0.0)));
        for labels in [[1, 1, 1], [1, 2, 3]] {
            assert!(matches!(
                silhouette(line(&[0.0, 9.0, 10.0]), &labels, &mut go_on),
                Err(EmbedError::Classes { rows: 3, .. })
            ));
        }
        let stopped = silhouette(line(&[0.0, 9.0, 10.0]), &[1, 2, 2], &mut |_| ControlFlow::Break(()));
        assert_eq!(stopped, Ok(None));
    }

    #[test]
    fn a_sample_is_close_to_all() {
        let values: Vec<f32> =
            (0..900).map(|at| ((at * 7919) % 1009) as f32 + 2000.0 * (at % 3) as f32).collect();
        let labels: Vec<u8> = (0..900).map(|at| (at % 3) as u8).collect();
        let of = |sample| {
            silhouette_of(line(&values), &labels, sample, &mut go_on).expect("defined").expect("not stopped")
        };
        assert!((of(300) - of(900)).abs() < 0.01, "{} {}", of(300), of(900));
    }
}

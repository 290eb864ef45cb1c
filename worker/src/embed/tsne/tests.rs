use super::super::{knn_accuracy, silhouette};
use super::*;

fn go_on(_: Step) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Gaussian heaps of codes around corners of a cube, class by class in turn.
fn heaps(count: usize, classes: usize, columns: usize, apart: f32) -> (Vec<f32>, Vec<u8>) {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let labels: Vec<u8> = (0..count).map(|at| (at % classes) as u8).collect();
    let values = labels.iter().flat_map(|label| {
        let draw = |column: usize| {
            let drawn: f32 = StandardNormal.sample(&mut rng);
            drawn + if column == usize::from(*label) { apart } else { 0.0 }
        };
        (0..columns).map(draw).collect::<Vec<_>>()
    });
    (values.collect(), labels)
}

fn embed(codes: Codes<'_>, perplexity: f64, seed: u64) -> Embedding {
    tsne(codes, TsneSettings { perplexity, seed }, &mut go_on)
        .expect("settings that fit")
        .expect("not stopped")
}

#[test]
fn heaps_that_are_apart_stay_apart() {
    let (values, labels) = heaps(300, 4, 6, 12.0);
    let codes = Codes::new(&values, 300, 6).expect("codes");
    let found = embed(codes, 20.0, 1);
    let flat = found.points.as_flattened();
    let points = Codes::new(flat, 300, 2).expect("points");
    let accuracy = knn_accuracy(points, &labels, 10, &mut go_on).expect("an accuracy");
    assert_eq!(accuracy, Some(1.0));
    let silhouette = silhouette(points, &labels, &mut go_on).expect("a silhouette").expect("not stopped");
    assert!(silhouette > 0.6, "{silhouette}");
    // scikit-learn 1.9.1 ends at 0.50 to 0.53 on such codes.
    assert!(found.kl_divergence > 0.45 && found.kl_divergence < 0.56, "{}", found.kl_divergence);
    let mean = flat.iter().step_by(2).sum::<f32>() / 300.0;
    assert!(mean.abs() < 1e-3, "{mean}");
}

#[test]
fn the_same_seed_gives_the_same_points() {
    let (values, _) = heaps(120, 3, 5, 4.0);
    let codes = Codes::new(&values, 120, 5).expect("codes");
    let first = embed(codes, 10.0, 1);
    assert_eq!(first, embed(codes, 10.0, 1));
    assert_ne!(first.points, embed(codes, 10.0, 2).points);
}

#[test]
fn the_gradient_is_the_slope_of_the_divergence() {
    let (values, _) = heaps(40, 3, 5, 3.0);
    let codes = Codes::new(&values, 40, 5).expect("codes");
    let affinities = Affinities::new(codes, 5.0, &mut go_on).expect("it fits").expect("not stopped");
    let (places, _) = heaps(40, 2, 2, 2.0);
    let (points, _) = places.as_chunks::<2>();
    let mut gradient = vec![[0.0; 2]; 40];
    gradient_at(&affinities, points, 1.0, 0.0, &mut Repulsion::new(), &mut gradient);
    let step = 1e-2_f32;
    let largest = gradient.as_flattened().iter().fold(0.0_f32, |most, part| most.max(part.abs()));
    for (code, slopes) in gradient.iter().enumerate() {
        for (axis, slope) in slopes.iter().enumerate() {
            let divergence = |by: f32| {
                let mut moved = points.to_vec();
                moved[code][axis] += by;
                affinities.kl_divergence(&moved)
            };
            let expected = (divergence(step) - divergence(-step)) / f64::from(2.0 * step);
            let difference = (f64::from(*slope) - expected).abs();
            assert!(difference < 1e-3 * f64::from(largest), "{code} {axis}: {slope} {expected}");
        }
    }
    // Barnes-Hut is near it, and not the same.
    let mut close = vec![[0.0; 2]; 40];
    gradient_at(&affinities, points, 1.0, 0.5, &mut Repulsion::new(), &mut close);
    let pairs = close.as_flattened().iter().zip(gradient.as_flattened());
    let difference = pairs.fold(0.0_f32, |most, (left, right)| most.max((left - right).abs()));
    assert!(difference > 0.0 && difference < 0.02 * largest, "{difference} {largest}");
}

#[test]
fn the_divergence_becomes_smaller() {
    let (values, _) = heaps(150, 3, 5, 3.0);
    let codes = Codes::new(&values, 150, 5).expect("codes");
    let affinities = Affinities::new(codes, 10.0, &mut go_on).expect("it fits").expect("not stopped");
    let after = |iterations| {
        let points = start(codes, 0).expect("a start");
        let points = descend(&affinities, points, iterations, &mut go_on).expect("not stopped");
        affinities.kl_divergence(&points)
    };
    let [start, exaggerated, end] = [after(0), after(250), after(1000)];
    assert!(start > end && exaggerated > end, "{start} {exaggerated} {end}");
}

#[test]
fn codes_that_are_the_same_or_lie_on_a_line_are_laid_out_too() {
    for (values, columns) in [(vec![2.0; 80], 2), ((0..40).map(|at| at as f32).collect(), 1)] {
        let codes = Codes::new(&values, 40, columns).expect("codes");
        let found = embed(codes, 5.0, 3);
        assert!(found.points.as_flattened().iter().all(|value| value.is_finite()));
        assert!(found.kl_divergence.is_finite());
        assert_ne!(found.points[0], found.points[1]);
    }
    let huge: Vec<f32> = (0..40).map(|at| if at % 2 == 0 { f32::MAX } else { f32::MIN }).collect();
    let found = embed(Codes::new(&huge, 40, 1).expect("codes"), 5.0, 3);
    assert!(found.points.as_flattened().iter().all(|value| value.is_finite()));
}

#[test]
fn a_perplexity_that_does_not_fit_is_refused() {
    let values: Vec<f32> = (0..20).map(|at| at as f32).collect();
    let codes = Codes::new(&values, 10, 2).expect("codes");
    let run = |perplexity| tsne(codes, TsneSettings { perplexity, seed: 0 }, &mut go_on);
    assert_eq!(
        run(30.0).expect_err("too large").to_string(),
        "a perplexity of 30 needs at least 91 codes (3 times as many and 1), and there are 10; take at most 3"
    );
    assert!(run(3.0).is_ok());
    assert!(matches!(run(3.1), Err(EmbedError::Perplexity { needed: 11, .. })));
    for none in [0.5, 0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(run(none), Err(EmbedError::NoPerplexity(_))), "{none}");
    }
}

#[test]
fn it_stops_when_it_is_told() {
    let (values, _) = heaps(100, 2, 3, 2.0);
    let codes = Codes::new(&values, 100, 3).expect("codes");
    for last in [Step::Neighbors(0), Step::Neighbors(64), Step::Iteration(0), Step::Iteration(777)] {
        let mut seen = Vec::new();
        let mut watch = |step| {
            seen.push(step);
            if step == last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let settings = TsneSettings { perplexity: 10.0, seed: 0 };
        assert_eq!(tsne(codes, settings, &mut watch), Ok(None));
        assert_eq!(seen.last(), Some(&last));
    }
}

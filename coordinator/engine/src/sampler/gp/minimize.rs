//! Minimizing a smooth function within bounds, from its gradient.

/// Steps whose curvature is remembered.
const MEMORY: usize = 8;
/// Shorter steps that are tried before a direction is given up.
const TRIES: usize = 12;
/// What a step becomes when it was too long.
const SHORTER: f64 = 0.4;

/// A step and what it did to the gradient.
struct Curvature {
    step: Vec<f64>,
    change: Vec<f64>,
    inverse_dot: f64,
}

/// A minimum of `function` near `start`, and the value there: limited-memory BFGS (Nocedal 1980), projected onto the
/// bounds. `function` gets a place and writes its gradient.
pub(super) fn minimize(
    start: Vec<f64>,
    low: &[f64],
    high: &[f64],
    most_steps: usize,
    mut function: impl FnMut(&[f64], &mut [f64]) -> f64,
) -> (Vec<f64>, f64) {
    let mut place = start;
    let mut gradient = vec![0.0; place.len()];
    let mut value = function(&place, &mut gradient);
    let mut memory: Vec<Curvature> = Vec::new();
    for _ in 0..most_steps {
        // What presses against its bound stays there.
        let held: Vec<bool> = (0..place.len())
            .map(|i| (place[i] <= low[i] && gradient[i] > 0.0) || (place[i] >= high[i] && gradient[i] < 0.0))
            .collect();
        let Some(direction) = descent(&gradient, &held, &memory) else {
            if memory.is_empty() {
                break;
            }
            memory.clear();
            continue;
        };
        let mut new_gradient = vec![0.0; place.len()];
        let mut length = 1.0;
        let mut found = None;
        for _ in 0..TRIES {
            let moved = |i: usize| (place[i] - length * direction[i]).clamp(low[i], high[i]);
            let next: Vec<f64> = (0..place.len()).map(moved).collect();
            let next_value = function(&next, &mut new_gradient);
            let step: Vec<f64> = next.iter().zip(&place).map(|(to, from)| to - from).collect();
            if next_value <= value + 1e-4 * dot(&gradient, &step) {
                found = Some((next, next_value, step));
                break;
            }
            length *= SHORTER;
        }
        let Some((next, next_value, step)) = found else { break };
        let change: Vec<f64> = new_gradient.iter().zip(&gradient).map(|(new, old)| new - old).collect();
        let curvature = dot(&step, &change);
        if curvature > 1e-12 {
            memory.push(Curvature { step, change, inverse_dot: 1.0 / curvature });
            if memory.len() > MEMORY {
                memory.remove(0);
            }
        }
        let gained = value - next_value;
        (place, value) = (next, next_value);
        gradient.copy_from_slice(&new_gradient);
        if gained <= 1e-9 * value.abs().max(1.0) {
            break;
        }
    }
    (place, value)
}

/// The direction to subtract, from the remembered curvature (two-loop recursion); none where nothing goes down.
fn descent(gradient: &[f64], held: &[bool], memory: &[Curvature]) -> Option<Vec<f64>> {
    let free = |vector: &mut Vec<f64>| {
        for (number, held) in vector.iter_mut().zip(held) {
            if *held {
                *number = 0.0;
            }
        }
    };
    let mut direction = gradient.to_vec();
    free(&mut direction);
    let steepness = libm::sqrt(dot(&direction, &direction));
    if steepness < 1e-5 {
        return None;
    }
    let mut shares = Vec::with_capacity(memory.len());
    for Curvature { step, change, inverse_dot } in memory.iter().rev() {
        let share = inverse_dot * dot(step, &direction);
        add(&mut direction, -share, change);
        shares.push(share);
    }
    let scale = match memory.last() {
        Some(last) => 1.0 / (last.inverse_dot * dot(&last.change, &last.change)),
        None => 0.3f64.min(1.0 / steepness),
    };
    for number in &mut direction {
        *number *= scale;
    }
    for (Curvature { step, change, inverse_dot }, share) in memory.iter().zip(shares.iter().rev()) {
        let back = inverse_dot * dot(change, &direction);
        add(&mut direction, share - back, step);
    }
    free(&mut direction);
    (dot(&direction, gradient) > 0.0).then_some(direction)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f64], times: f64, vector: &[f64]) {
    for (to, number) in to.iter_mut().zip(vector) {
        *to += times * number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(start: [f64; 2], low: [f64; 2], high: [f64; 2], expected: [f64; 2]) {
        // Rosenbrock's valley.
        let function = |x: &[f64], gradient: &mut [f64]| {
            let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
            gradient[0] = -2.0 * a - 400.0 * x[0] * b;
            gradient[1] = 200.0 * b;
            a * a + 100.0 * b * b
        };
        let (place, value) = minimize(start.to_vec(), &low, &high, 200, function);
        assert!(place.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-3), "{place:?} {value}");
    }

    #[test]
    fn minima_within_and_on_the_bounds() {
        check([-1.2, 1.0], [-2.0, -2.0], [2.0, 2.0], [1.0, 1.0]);
        check([-1.2, 1.0], [-2.0, -2.0], [0.5, 2.0], [0.5, 0.25]);
        check([2.0, -1.0], [1.5, -2.0], [3.0, 2.0], [1.5, 2.0]);
    }

    #[test]
    fn a_function_without_a_number_stays_where_it_was() {
        let (place, _) = minimize(vec![0.5], &[0.0], &[1.0], 10, |_, gradient| {
            gradient[0] = f64::NAN;
            f64::NAN
        });
        assert_eq!(place, [0.5]);
    }
}

//! Digits drawn from strokes, the same on every machine: a generator named by its algorithm, sines from `libm`, and
//! otherwise only additions, products, quotients and square roots, which IEEE 754 rounds alike everywhere.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::Shape;

const SIDE: usize = 28;
/// The seed of the data set `synthetic-digits`.
pub(crate) const SEED: u64 = 1;
/// Straight pieces for each span between two control points of a curve.
const PIECES: usize = 6;

type Point = (f64, f64);

/// A line of the pen through control points, in a box from (0, 0), top left, to (1, 1).
enum Stroke {
    /// Straight from point to point.
    Line(&'static [Point]),
    /// A Catmull-Rom curve through the points.
    Curve(&'static [Point]),
    /// The same, closed.
    Loop(&'static [Point]),
}

use Stroke::{Curve, Line, Loop};

/// The ways to write each digit; one is chosen for each image.
const DIGITS: [&[&[Stroke]]; 10] = [
    &[&[Loop(&[
        (0.50, 0.00),
        (0.78, 0.14),
        (0.86, 0.50),
        (0.78, 0.86),
        (0.50, 1.00),
        (0.22, 0.86),
        (0.14, 0.50),
        (0.22, 0.14),
    ])]],
    &[
        &[Line(&[(0.50, 0.00), (0.50, 1.00)])],
        &[Line(&[(0.28, 0.24), (0.54, 0.00), (0.54, 1.00)])],
        &[Line(&[(0.28, 0.22), (0.52, 0.00), (0.52, 1.00)]), Line(&[(0.28, 1.00), (0.76, 1.00)])],
    ],
    &[
        &[
            Curve(&[
                (0.18, 0.24),
                (0.32, 0.05),
                (0.56, 0.00),
                (0.78, 0.14),
                (0.74, 0.40),
                (0.48, 0.70),
                (0.16, 1.00),
            ]),
            Line(&[(0.16, 1.00), (0.84, 0.98)]),
        ],
        &[Curve(&[
            (0.20, 0.20),
            (0.48, 0.00),
            (0.76, 0.16),
            (0.68, 0.46),
            (0.42, 0.82),
            (0.22, 0.98),
            (0.13, 0.86),
            (0.30, 0.76),
            (0.56, 0.94),
            (0.88, 0.92),
        ])],
    ],
    &[
        &[
            Curve(&[(0.20, 0.14), (0.46, 0.00), (0.74, 0.11), (0.70, 0.35), (0.42, 0.47)]),
            Curve(&[(0.42, 0.47), (0.76, 0.55), (0.82, 0.80), (0.52, 1.00), (0.18, 0.88)]),
        ],
        &[
            Line(&[(0.22, 0.02), (0.78, 0.02), (0.44, 0.42)]),
            Curve(&[(0.44, 0.42), (0.76, 0.52), (0.80, 0.82), (0.50, 1.00), (0.18, 0.90)]),
        ],
    ],
    &[
        &[Line(&[(0.62, 0.00), (0.14, 0.64), (0.88, 0.64)]), Line(&[(0.64, 0.32), (0.64, 1.00)])],
        &[Line(&[(0.24, 0.02), (0.18, 0.52), (0.80, 0.52)]), Line(&[(0.76, 0.00), (0.72, 1.00)])],
    ],
    &[
        &[
            Line(&[(0.78, 0.02), (0.30, 0.02), (0.25, 0.44)]),
            Curve(&[(0.25, 0.44), (0.54, 0.37), (0.81, 0.56), (0.76, 0.86), (0.46, 1.00), (0.16, 0.90)]),
        ],
        &[
            Curve(&[(0.34, 0.06), (0.28, 0.42), (0.60, 0.42), (0.80, 0.66), (0.62, 0.96), (0.18, 0.94)]),
            Line(&[(0.34, 0.06), (0.82, 0.00)]),
        ],
    ],
    &[
        &[Curve(&[
            (0.66, 0.00),
            (0.36, 0.24),
            (0.19, 0.60),
            (0.28, 0.93),
            (0.55, 1.00),
            (0.79, 0.82),
            (0.71, 0.58),
            (0.46, 0.52),
            (0.23, 0.72),
        ])],
        &[
            Curve(&[(0.38, 0.00), (0.24, 0.34), (0.22, 0.72)]),
            Loop(&[(0.22, 0.76), (0.44, 0.54), (0.74, 0.62), (0.76, 0.88), (0.50, 1.00), (0.28, 0.93)]),
        ],
    ],
    &[
        &[Line(&[(0.18, 0.04), (0.82, 0.04), (0.42, 1.00)])],
        &[Line(&[(0.18, 0.06), (0.82, 0.02), (0.44, 1.00)]), Line(&[(0.34, 0.50), (0.80, 0.50)])],
        &[Curve(&[(0.16, 0.20), (0.20, 0.04), (0.52, 0.06), (0.82, 0.00), (0.60, 0.40), (0.46, 1.00)])],
    ],
    &[
        &[Loop(&[
            (0.50, 0.46),
            (0.25, 0.28),
            (0.30, 0.06),
            (0.52, 0.00),
            (0.74, 0.07),
            (0.75, 0.26),
            (0.50, 0.46),
            (0.21, 0.70),
            (0.27, 0.94),
            (0.50, 1.00),
            (0.75, 0.93),
            (0.79, 0.70),
        ])],
        &[
            Loop(&[(0.50, 0.00), (0.72, 0.10), (0.70, 0.36), (0.50, 0.45), (0.30, 0.36), (0.28, 0.10)]),
            Loop(&[(0.50, 0.45), (0.77, 0.58), (0.76, 0.90), (0.50, 1.00), (0.24, 0.90), (0.23, 0.58)]),
        ],
    ],
    &[
        &[
            Loop(&[(0.52, 0.00), (0.76, 0.12), (0.74, 0.38), (0.50, 0.50), (0.25, 0.38), (0.27, 0.12)]),
            Line(&[(0.76, 0.16), (0.66, 1.00)]),
        ],
        &[Curve(&[
            (0.76, 0.20),
            (0.54, 0.00),
            (0.26, 0.14),
            (0.28, 0.42),
            (0.54, 0.48),
            (0.76, 0.22),
            (0.76, 0.62),
            (0.58, 0.97),
            (0.24, 0.94),
        ])],
    ],
];

/// A part of the data set `synthetic-digits`; the parts share no image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// 12,000 images.
    Train,
    /// 2,000 images.
    Test,
}

impl Part {
    pub(crate) fn shape(self) -> Shape {
        let count = match self {
            Part::Train => 12_000,
            Part::Test => 2_000,
        };
        Shape { count, height: SIDE, width: SIDE, channels: 1 }
    }

    /// The digest of the part's images for the seed of the data set. Whoever changes the drawing changes this: it
    /// names the file in the cache.
    pub(crate) fn digest(self) -> &'static str {
        match self {
            Part::Train => "4f2fa09031492ed3d6ba95f87e39547bb6e93c2bde58aa465e1ba0ece5f6ee20",
            Part::Test => "f2f279928bfb42e24ba03a07da14b56dcc84c63642ddceb9ffb5e68553d70f7a",
        }
    }

    pub(crate) fn labels(self) -> Vec<u8> {
        (0..self.shape().count).map(label).collect()
    }

    /// Each image has a stream of its own, so that any one of them can be drawn alone.
    fn stream(self, index: usize) -> u64 {
        let part = match self {
            Part::Train => 0,
            Part::Test => 1,
        };
        part << 32 | index as u64
    }
}

/// Draws the first `count` images of a part for a seed: `count * 28 * 28` bytes. Image `i` shows the digit `i % 10`.
pub fn draw_synthetic_digits(seed: u64, part: Part, count: usize) -> Vec<u8> {
    let mut key = *b"........foldwise digits 1.......";
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut images = Vec::with_capacity(count * SIDE * SIDE);
    for index in 0..count {
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(part.stream(index));
        images.extend(draw(DIGITS[usize::from(label(index))], &mut Draws(rng)));
    }
    images
}

fn label(index: usize) -> u8 {
    (index % 10) as u8
}

/// One image: a way to write the digit, deformed, and drawn with a pen of random width.
fn draw(ways: &[&[Stroke]], draws: &mut Draws) -> [u8; SIDE * SIDE] {
    let way = ways[draws.below(ways.len())];
    let hand = Hand::draw(draws);
    let half_width = draws.between(0.85, 1.9);
    let edge = draws.between(0.9, 1.6);
    let ink = draws.between(0.8, 1.0);

    let mut squared = [f64::INFINITY; SIDE * SIDE];
    for stroke in way {
        let path = flatten(stroke, draws);
        for piece in path.windows(2) {
            let (start, end) = (hand.place(piece[0]), hand.place(piece[1]));
            lower_distances(&mut squared, start, end, half_width + edge);
        }
    }
    squared.map(|squared| {
        // Full ink inside the line, falling to none over the width of its edge.
        let coverage = 0.5 + (half_width - libm::sqrt(squared)) / edge;
        (coverage.clamp(0.0, 1.0) * ink * 255.0 + 0.5) as u8
    })
}

/// How a digit is put on the paper: bent, slanted, stretched, turned and shifted.
struct Hand {
    bend: [f64; 4],
    slant: f64,
    scale: Point,
    turn: Point,
    shift: Point,
}

impl Hand {
    fn draw(draws: &mut Draws) -> Hand {
        let bend = [0.5, 0.4, 0.4, 0.4].map(|reach| draws.around_zero(reach));
        let slant = draws.around_zero(0.6) - 0.1;
        let scale = (draws.between(12.0, 21.0), draws.between(16.5, 21.5));
        let angle = draws.around_zero(0.35);
        let shift = (draws.around_zero(3.0), draws.around_zero(2.5));
        Hand { bend, slant, scale, turn: (libm::cos(angle), libm::sin(angle)), shift }
    }

    /// From the box of the strokes to pixels.
    fn place(&self, (x, y): Point) -> Point {
        let (u, v) = (x - 0.5, y - 0.5);
        let [b0, b1, b2, b3] = self.bend;
        let bent = (u + b0 * (v * v - 0.08) + b1 * u * v, v + b2 * (u * u - 0.04) + b3 * u * v);
        let (wide, high) = (bent.0 * self.scale.0, bent.1 * self.scale.1);
        let slanted = wide - self.slant * high;
        let (cos, sin) = self.turn;
        let middle = SIDE as f64 / 2.0;
        (
            middle + self.shift.0 + cos * slanted - sin * high,
            middle + self.shift.1 + sin * slanted + cos * high,
        )
    }
}

/// A stroke as a chain of short straight pieces, each control point moved a little.
fn flatten(stroke: &Stroke, draws: &mut Draws) -> Vec<Point> {
    let (Line(points) | Curve(points) | Loop(points)) = stroke;
    let moved: Vec<Point> =
        points.iter().map(|(x, y)| (x + draws.around_zero(0.05), y + draws.around_zero(0.05))).collect();
    let count = moved.len();
    let (spans, closed) = match stroke {
        Line(_) => return moved,
        Curve(_) => (count - 1, false),
        Loop(_) => (count, true),
    };
    let at = |index: isize| match closed {
        true => moved[index.rem_euclid(count as isize) as usize],
        false => moved[index.clamp(0, count as isize - 1) as usize],
    };
    let mut path = vec![at(0)];
    for span in 0..spans as isize {
        let four = [at(span - 1), at(span), at(span + 1), at(span + 2)];
        path.extend((1..=PIECES).map(|piece| catmull_rom(four, piece as f64 / PIECES as f64)));
    }
    path
}

/// The uniform Catmull-Rom curve from the second to the third point (Catmull and Rom 1974).
fn catmull_rom(points: [Point; 4], t: f64) -> Point {
    let along = |p: [f64; 4]| {
        let linear = p[2] - p[0];
        let square = 2.0 * p[0] - 5.0 * p[1] + 4.0 * p[2] - p[3];
        let cube = 3.0 * p[1] - p[0] - 3.0 * p[2] + p[3];
        p[1] + 0.5 * t * (linear + t * (square + t * cube))
    };
    (along(points.map(|point| point.0)), along(points.map(|point| point.1)))
}

/// Lowers each pixel's squared distance to the drawn lines to that of one more piece, where it is within `reach`.
fn lower_distances(squared: &mut [f64; SIDE * SIDE], start: Point, end: Point, reach: f64) {
    let pixels = |a: f64, b: f64| {
        let first = (a.min(b) - reach).max(0.0) as usize;
        let last = (a.max(b) + reach + 1.0).clamp(0.0, SIDE as f64) as usize;
        first.min(last)..last
    };
    let (dx, dy) = (end.0 - start.0, end.1 - start.1);
    let length_squared = dx * dx + dy * dy;
    for row in pixels(start.1, end.1) {
        for column in pixels(start.0, end.0) {
            let (px, py) = (column as f64 + 0.5 - start.0, row as f64 + 0.5 - start.1);
            let along = match length_squared > 0.0 {
                true => ((px * dx + py * dy) / length_squared).clamp(0.0, 1.0),
                false => 0.0,
            };
            let (ex, ey) = (px - along * dx, py - along * dy);
            let distance = &mut squared[row * SIDE + column];
            *distance = distance.min(ex * ex + ey * ey);
        }
    }
}

/// Random numbers as the drawing needs them.
struct Draws(ChaCha8Rng);

impl Draws {
    /// Uniform in [0, 1), in steps of 2^-24.
    fn unit(&mut self) -> f64 {
        f64::from(self.0.next_u32() >> 8) / f64::from(1 << 24)
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Bell-shaped (the mean of three uniform draws), between `-reach` and `reach`.
    fn around_zero(&mut self, reach: f64) -> f64 {
        reach * ((self.unit() + self.unit() + self.unit()) * 2.0 / 3.0 - 1.0)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.unit() * bound as f64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest;

    #[test]
    fn the_bytes_are_the_golden_ones() {
        for part in [Part::Train, Part::Test] {
            let images = draw_synthetic_digits(SEED, part, part.shape().count);
            assert_eq!(digest::hex(&digest::of_images(part.shape(), &images)), part.digest(), "{part:?}");
        }
    }

    #[test]
    fn seeds_parts_and_images_differ_and_any_start_is_the_same() {
        let train = draw_synthetic_digits(SEED, Part::Train, 40);
        assert_eq!(train[..10 * SIDE * SIDE], draw_synthetic_digits(SEED, Part::Train, 10));
        assert_ne!(train, draw_synthetic_digits(SEED, Part::Test, 40));
        assert_ne!(train, draw_synthetic_digits(SEED + 1, Part::Train, 40));
        let mut images: Vec<_> = train.chunks_exact(SIDE * SIDE).collect();
        images.sort_unstable();
        images.dedup();
        assert_eq!(images.len(), 40);
    }

    #[test]
    fn every_image_has_ink_and_paper_and_mostly_stays_off_the_border() {
        let images = draw_synthetic_digits(SEED, Part::Train, 2_000);
        let mut on_border = 0;
        for image in images.chunks_exact(SIDE * SIDE) {
            let mean = image.iter().map(|&value| f64::from(value)).sum::<f64>() / (255 * SIDE * SIDE) as f64;
            assert!((0.03..0.4).contains(&mean), "mean brightness {mean}");
            assert!(image.iter().any(|&value| value > 190), "a faint image");
            let border = |at: usize| matches!(at / SIDE, 0 | 27) || matches!(at % SIDE, 0 | 27);
            on_border += usize::from(image.iter().enumerate().any(|(at, &value)| value > 100 && border(at)));
        }
        assert!(on_border < 100, "{on_border} of 2000 are cut by the border");
    }

    /// A nearest-mean classifier tells the digits apart far better than chance, and far from perfectly: the labels
    /// fit the pictures, and the pictures vary.
    #[test]
    fn the_labels_can_be_learned() {
        let train = draw_synthetic_digits(SEED, Part::Train, 2_000);
        let mut means = vec![[0.0; SIDE * SIDE]; 10];
        for (index, image) in train.chunks_exact(SIDE * SIDE).enumerate() {
            for (mean, &value) in means[index % 10].iter_mut().zip(image) {
                *mean += f64::from(value) / 200.0;
            }
        }
        let test = draw_synthetic_digits(SEED, Part::Test, 500);
        let right = test.chunks_exact(SIDE * SIDE).enumerate().filter(|(index, image)| {
            let distance = |mean: &[f64; SIDE * SIDE]| -> f64 {
                mean.iter().zip(*image).map(|(mean, &value)| (mean - f64::from(value)).powi(2)).sum()
            };
            let nearest = (0..10).min_by(|&a, &b| distance(&means[a]).total_cmp(&distance(&means[b])));
            nearest == Some(index % 10)
        });
        let right = right.count();
        assert!((200..470).contains(&right), "{right} of 500");
    }
}

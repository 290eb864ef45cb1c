//! From one class to another, in steps through the latent space.

use super::faces::sheet;
use super::read::{Images, Tensors};
use crate::report::plot::{Anchor, Canvas, Raster, clip};
use crate::report::{Picture, Table};

/// The pairs that have a picture of their own: what looks alike, and what does not.
const PAIRS: [(u8, u8); 4] = [(4, 9), (6, 9), (3, 8), (0, 1)];
/// Columns of strips in the picture of all pairs.
const COLUMNS: usize = 3;

struct Steps<'a> {
    images: Images<'a>,
    classes: usize,
    steps: usize,
}

impl Steps<'_> {
    fn put(&self, raster: &mut Raster, (from, to): (usize, usize), column: usize, row: usize) {
        for step in 0..self.steps {
            if let Some(tile) = self.images.get((from * self.classes + to) * self.steps + step) {
                raster.put(column + step, row, tile);
            }
        }
    }

    fn tile(&self) -> (usize, usize) {
        (self.images.height, self.images.width)
    }
}

/// `classes` are those that the pictures are of, in order; all from 0 on if there are none.
pub(super) fn pictures(
    pictures: &Tensors,
    classes: &[u8],
    names: &dyn Fn(usize) -> Vec<String>,
    name: &str,
) -> Vec<Picture> {
    let Some(images) = pictures.images("morphing") else { return Vec::new() };
    let Some([count, other, steps, ..]) = pictures.get("morphing").map(|tensor| tensor.shape.as_slice())
    else {
        return Vec::new();
    };
    if count != other || *count < 2 || images.count != count * count * steps {
        return Vec::new();
    }
    let steps = Steps { images, classes: *count, steps: *steps };
    let names = names(steps.classes);
    [chosen(&steps, classes, &names, name), all(&steps, &names, name)].into_iter().flatten().collect()
}

fn pair_name(names: &[String], (from, to): (usize, usize)) -> String {
    format!("{} \u{2192} {}", clip(&names[from]), clip(&names[to]))
}

fn chosen(steps: &Steps<'_>, classes: &[u8], names: &[String], name: &str) -> Option<Picture> {
    let place = |class: u8| match classes {
        [] => Some(usize::from(class)),
        classes => classes.iter().position(|other| *other == class),
    };
    let place = |class: u8| place(class).filter(|at| *at < steps.classes);
    let mut pairs: Vec<(usize, usize)> =
        PAIRS.into_iter().filter_map(|(from, to)| place(from).zip(place(to))).collect();
    if pairs.is_empty() {
        pairs.push((0, steps.classes - 1));
    }
    let (height, width) = steps.tile();
    let mut raster = Raster::new(steps.steps, pairs.len(), height, width);
    let mut table = Table::new(&["from", "to"]);
    let mut rows = Vec::new();
    for (row, pair) in pairs.iter().enumerate() {
        steps.put(&mut raster, *pair, 0, row);
        rows.push(pair_name(names, *pair));
        table.row([names[pair.0].clone(), names[pair.1].clone()]);
    }
    Some(Picture {
        name: format!("{name}-morphing"),
        title: "From one class to another".into(),
        caption: "Points on the straight line between the mean codes of two classes, each decoded.".into(),
        canvas: sheet(&raster, &[], &rows, (height, width), 62.0)?,
        table,
    })
}

fn all(steps: &Steps<'_>, names: &[String], name: &str) -> Option<Picture> {
    let pairs: Vec<(usize, usize)> =
        (0..steps.classes).flat_map(|from| (from + 1..steps.classes).map(move |to| (from, to))).collect();
    if pairs.len() < 2 || pairs.len() > 400 {
        return None;
    }
    let (height, width) = steps.tile();
    let rows = pairs.len().div_ceil(COLUMNS);
    let size = 26.0;
    let tall = size * height as f64 / width as f64 + 4.0;
    let longest = names.iter().map(|name| clip(name).chars().count()).max().unwrap_or(1) as f64;
    let label = 24.0 + longest * 2.0 * 6.0;
    let strip = label + size * steps.steps as f64 + 10.0;
    let mut canvas = Canvas::new(strip * COLUMNS as f64 + 6.0, rows as f64 * tall + 10.0);
    let mut table = Table::new(&["from", "to"]);
    for (at, pair) in pairs.iter().enumerate() {
        let (column, row) = (at / rows, at % rows);
        let mut raster = Raster::new(steps.steps, 1, height, width);
        steps.put(&mut raster, *pair, 0, 0);
        let (x, y) = (column as f64 * strip + label, row as f64 * tall + 6.0);
        let text = pair_name(names, *pair);
        canvas.text((x - 6.0, y + tall / 2.0 + 2.0), Anchor::End, 9.5, "ink", &text);
        canvas.image((x, y), (size * steps.steps as f64, tall - 4.0), &raster.png()?, false);
        table.row([names[pair.0].clone(), names[pair.1].clone()]);
    }
    Some(Picture {
        name: format!("{name}-morphing-all"),
        title: "Between any two classes".into(),
        caption: "As above, for every pair of classes.".into(),
        canvas,
        table,
    })
}

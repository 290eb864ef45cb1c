//! Images side by side: originals, corrupted input, reconstructions, decoded codes.

use super::read::{Part, Tensors, error};
use crate::report::plot::{Anchor, Canvas, LETTER, Raster, clip};
use crate::report::{Picture, Table};

/// Pixels on the screen for an image.
const SIZE: f64 = 62.0;
/// Degrees by which names are turned that are too wide for an image.
const TURN: f64 = 40.0;
/// Images in a row at most.
const COLUMNS: usize = 12;

/// A sheet of images with a name before each row and above each column.
pub(super) fn sheet(
    raster: &Raster,
    columns: &[String],
    rows: &[String],
    tile: (usize, usize),
    size: f64,
) -> Option<Canvas> {
    let longest = |names: &[String]| names.iter().map(|name| name.chars().count()).max().unwrap_or(0) as f64;
    let left = if longest(rows) > 0.0 { 18.0 + longest(rows) * 6.9 } else { 8.0 };
    // Names that would touch each other are turned.
    let columns: Vec<String> = columns.iter().map(|name| clip(name)).collect();
    let widest = longest(&columns) * 10.0 * LETTER;
    let is_turned = widest > size - 4.0;
    let top = match columns.is_empty() {
        true => 8.0,
        false if is_turned => 20.0 + widest * TURN.to_radians().sin(),
        false => 24.0,
    };
    let right = if is_turned { (widest * TURN.to_radians().cos() - size / 2.0).max(0.0) } else { 0.0 };
    let (height, width) = tile;
    let tall = size * height as f64 / width as f64;
    let (across, down) = raster.size();
    let (count_x, count_y) = ((across - 1) / (width + 1), (down - 1) / (height + 1));
    let mut canvas =
        Canvas::new(left + size * count_x as f64 + right + 8.0, top + tall * count_y as f64 + 8.0);
    canvas.image((left, top), (size * count_x as f64, tall * count_y as f64), &raster.png()?, false);
    for (at, name) in columns.iter().enumerate() {
        let place = (left + (at as f64 + 0.5) * size, top - 8.0);
        match is_turned {
            true => canvas.turned_text(place, -TURN, Anchor::Start, 10.0, "ink", name),
            false => canvas.text(place, Anchor::Middle, 10.0, "ink", name),
        }
    }
    for (at, name) in rows.iter().enumerate() {
        canvas.text((left - 8.0, top + (at as f64 + 0.5) * tall + 4.0), Anchor::End, 11.0, "ink", name);
    }
    Some(canvas)
}

/// Originals over what was made of them, for each corruption that there is.
pub(super) fn corrupted(pictures: &Tensors, part: Part, name: &str) -> Vec<Picture> {
    let kinds = [
        ("plain", "Reconstructions", "their reconstructions"),
        (
            "noise",
            "Noisy input",
            "the same with Gaussian noise of deviation 0.5; below those, what the model makes of that",
        ),
        (
            "occlusion",
            "Hidden input",
            "the same with a fifth of the pixels hidden by a square; below those, what the model makes of that",
        ),
        (
            "own",
            "Its own corruption",
            "the same, corrupted as in the training of this model; below those, what it makes of that",
        ),
    ];
    let picture = |(kind, title, below): &(&str, &str, &str)| {
        triple(pictures, kind, title, format!("Above, {part} images; below them, {below}."), name)
    };
    kinds.iter().filter_map(picture).collect()
}

fn triple(pictures: &Tensors, kind: &str, title: &str, caption: String, name: &str) -> Option<Picture> {
    let parts: Vec<(&str, _)> = ["original", "corrupted", "reconstructed"]
        .into_iter()
        .filter_map(|part| Some((part, pictures.images(&format!("{kind}.{part}"))?)))
        .collect();
    let original = parts.first().filter(|(part, _)| *part == "original")?.1;
    let columns = original.count.min(COLUMNS);
    let mut raster = Raster::new(columns, parts.len(), original.height, original.width);
    for (row, (_, images)) in parts.iter().enumerate() {
        (0..columns)
            .filter_map(|at| Some((at, images.get(at)?)))
            .for_each(|(at, tile)| raster.put(at, row, tile));
    }
    let rows: Vec<String> = parts.iter().map(|(part, _)| (*part).to_owned()).collect();
    let canvas = sheet(&raster, &[], &rows, (original.height, original.width), SIZE)?;
    let mut table = Table::new(&["image", "mse"]);
    let reconstructed = parts.iter().find(|(part, _)| *part == "reconstructed").map(|(_, images)| *images);
    for at in 0..original.count {
        if let Some((a, b)) = original.get(at).zip(reconstructed.and_then(|images| images.get(at))) {
            table.row([at.to_string(), error(a, b).to_string()]);
        }
    }
    Some(Picture { name: format!("{name}-{kind}-images"), title: title.into(), caption, canvas, table })
}

/// The decoded mean codes of the classes, a row a model.
pub(super) fn centroids(
    models: &[(&str, &Tensors)],
    names: &dyn Fn(usize) -> Vec<String>,
    name: &str,
) -> Option<Picture> {
    rows(
        models,
        "centroids",
        Some(names),
        (
            format!("{name}-centroids"),
            "Decoded centroids".into(),
            "The mean code of each class, decoded: the image that the model takes for typical.".into(),
        ),
    )
}

/// Decoded random codes, rows for each model.
pub(super) fn random(models: &[(&str, &Tensors)], name: &str) -> Option<Picture> {
    rows(
        models,
        "random",
        None,
        (
            format!("{name}-random"),
            "Decoded random codes".into(),
            "Codes drawn at random, decoded. What looks like an image shows that the latent space has no holes there.".into(),
        ),
    )
}

fn rows(
    models: &[(&str, &Tensors)],
    tensor: &str,
    names: Option<&dyn Fn(usize) -> Vec<String>>,
    (file, title, caption): (String, String, String),
) -> Option<Picture> {
    let found: Vec<(&str, _)> =
        models.iter().filter_map(|(model, pictures)| Some((*model, pictures.images(tensor)?))).collect();
    let first = found.first()?.1;
    let found: Vec<_> = found
        .into_iter()
        .filter(|(_, images)| (images.height, images.width) == (first.height, first.width))
        .collect();
    let most = found.iter().map(|(_, images)| images.count).max()?;
    let columns = if names.is_some() { most.min(20) } else { most.min(COLUMNS) };
    let mut labels = Vec::new();
    let mut places = Vec::new();
    for (model, images) in &found {
        let shown = if names.is_some() { images.count.min(columns) } else { images.count.min(columns * 3) };
        for row in 0..shown.div_ceil(columns) {
            let is_named = found.len() > 1 && row == 0;
            let first_row = labels.len();
            labels.push(if is_named { (*model).to_owned() } else { String::new() });
            for column in 0..columns {
                places.push((
                    column,
                    first_row,
                    images.get(row * columns + column).filter(|_| row * columns + column < shown),
                ));
            }
        }
    }
    let mut raster = Raster::new(columns, labels.len(), first.height, first.width);
    let mut table = Table::new(&["row", "column", "mean_pixel"]);
    for (column, row, tile) in places {
        let Some(tile) = tile else { continue };
        raster.put(column, row, tile);
        let mean =
            tile.pixels.iter().map(|pixel| f64::from(*pixel)).sum::<f64>() / tile.pixels.len() as f64 / 255.0;
        table.row([row.to_string(), column.to_string(), mean.to_string()]);
    }
    let heads = names.map_or_else(Vec::new, |names| names(columns));
    let canvas = sheet(&raster, &heads, &labels, (first.height, first.width), SIZE)?;
    Some(Picture { name: file, title, caption, canvas, table })
}

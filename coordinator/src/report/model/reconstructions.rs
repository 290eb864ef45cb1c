//! One image, reconstructed after epochs.

use super::read::{Tensors, error};
use super::{Run, shown_epochs};
use crate::report::plot::{Anchor, Canvas, Raster};
use crate::report::{Picture, Section, Table};

/// Pixels on the screen for an image.
const SIZE: f64 = 84.0;

pub(super) fn picture(run: &Run, name: &str, notes: &mut Section) -> Option<Picture> {
    let there = run.files.iter().filter(|file| file.kind == "reconstruction").filter_map(|file| file.epoch);
    let mut shown = Vec::new();
    for epoch in shown_epochs(there.collect()) {
        let is_it = |file: &&super::File| file.kind == "reconstruction" && file.epoch == Some(epoch);
        let Some(file) = run.files.iter().find(is_it) else { continue };
        match Tensors::read(&file.bytes) {
            Ok(tensors) => shown.push((epoch, tensors)),
            Err(error) => {
                notes.notes.push(format!("The reconstruction after epoch {epoch} cannot be shown: {error}."));
            }
        }
    }
    let first = shown.first()?.1.images("input")?;
    let (height, width) = (first.height, first.width);
    let is_corrupted = shown.iter().any(|(_, tensors)| tensors.get("corrupted").is_some());
    let rows = if is_corrupted { 2 } else { 1 };
    let columns = shown.len() + 1;
    let mut sheet = Raster::new(columns, rows, height, width);
    let mut table = Table::new(&["epoch", "mse"]);
    for (at, (epoch, tensors)) in shown.iter().enumerate() {
        let tile = |name: &str| tensors.images(name).and_then(|images| images.get(0));
        let (input, output) = (tile("input"), tile("output"));
        if let Some(input) = input.filter(|_| at == 0) {
            sheet.put(0, 0, input);
        }
        if let Some(corrupted) = tile("corrupted") {
            sheet.put(at + 1, 0, corrupted);
        }
        if let Some(output) = output {
            sheet.put(at + 1, rows - 1, output);
        }
        if let Some((input, output)) = input.zip(output) {
            table.row([epoch.to_string(), error(input, output).to_string()]);
        }
    }
    let (left, top) = (if is_corrupted { 84.0 } else { 10.0 }, 26.0);
    let tall = SIZE * height as f64 / width as f64;
    let mut canvas = Canvas::new(left + SIZE * columns as f64 + 12.0, top + tall * rows as f64 + 12.0);
    let size = (SIZE * columns as f64, tall * rows as f64);
    canvas.image((left, top), size, &sheet.png()?, false);
    canvas.text((left + SIZE / 2.0, 17.0), Anchor::Middle, 11.0, "ink", "image");
    for (at, (epoch, _)) in shown.iter().enumerate() {
        let x = left + (at as f64 + 1.5) * SIZE;
        canvas.text((x, 17.0), Anchor::Middle, 11.0, "ink", &format!("epoch {epoch}"));
    }
    if is_corrupted {
        canvas.text((left - 8.0, top + tall * 0.5 + 4.0), Anchor::End, 11.0, "soft", "input");
        canvas.text((left - 8.0, top + tall * 1.5 + 4.0), Anchor::End, 11.0, "soft", "output");
    }
    Some(Picture {
        name: format!("{name}-reconstructions"),
        title: "Reconstructions by epoch".into(),
        caption: "One image, and what the model makes of it after some of the epochs.".into(),
        canvas,
        table,
    })
}

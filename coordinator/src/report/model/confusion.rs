//! What a classifier takes for what.

use super::Transfer;
use super::read::class_name;
use crate::report::plot::{Anchor, Canvas, ColorMap, clip};
use crate::report::{Picture, Table};

/// Pixels on the screen for a cell.
const CELL: f64 = 46.0;
/// Classes that still fit.
const CLASSES: usize = 30;

pub(super) fn picture(transfer: &Transfer, name: &str) -> Option<Picture> {
    let classes = transfer.confusion.len();
    let is_square = transfer.confusion.iter().all(|row| row.len() == classes);
    if classes == 0 || classes > CLASSES || !is_square {
        return None;
    }
    let names: Vec<String> = (0..classes).map(|class| class_name(&transfer.class_names, class)).collect();
    // The last name is turned out over the edge.
    let (left, top, right) = (126.0, 96.0, 64.0);
    let size = CELL * classes as f64;
    let mut canvas = Canvas::new(left + size + right, top + size + 16.0);
    canvas.text((left + size / 2.0, 18.0), Anchor::Middle, 12.0, "ink", "taken for");
    canvas.turned_text((16.0, top + size / 2.0), -90.0, Anchor::Middle, 12.0, "ink", "is");
    let mut table = Table { header: vec!["class".into()], rows: Vec::new() };
    table.header.extend(names.iter().cloned());
    for (row, counts) in transfer.confusion.iter().enumerate() {
        let all = counts.iter().sum::<u64>().max(1) as f64;
        let y = top + row as f64 * CELL;
        canvas.text((left - 8.0, y + CELL / 2.0 + 4.0), Anchor::End, 11.0, "soft", &clip(&names[row]));
        for (column, count) in counts.iter().enumerate() {
            let x = left + column as f64 * CELL;
            // By its root, so that rare mistakes are seen; the darkest is none.
            let share = (*count as f64 / all).sqrt();
            let [red, green, blue] = ColorMap::rgb(share);
            canvas.rect(
                (x + 0.5, y + 0.5),
                (CELL - 1.0, CELL - 1.0),
                &format!("#{red:02x}{green:02x}{blue:02x}"),
                "",
            );
            let ink = if share > 0.62 { "#10141a" } else { "#ffffff" };
            if *count > 0 {
                canvas.colored_text(
                    (x + CELL / 2.0, y + CELL / 2.0 + 4.0),
                    Anchor::Middle,
                    10.5,
                    ink,
                    &count.to_string(),
                );
            }
        }
        let mut cells = vec![names[row].clone()];
        cells.extend(counts.iter().map(ToString::to_string));
        table.rows.push(cells);
    }
    for (column, name) in names.iter().enumerate() {
        let x = left + (column as f64 + 0.5) * CELL;
        canvas.turned_text((x, top - 8.0), -40.0, Anchor::Start, 11.0, "soft", &clip(name));
    }
    Some(Picture {
        name: format!("{name}-confusion"),
        title: "Confusion matrix".into(),
        caption: format!(
            "How many {} images of each class (row) were taken for each class (column); brighter is more.",
            transfer.part
        ),
        canvas,
        table,
    })
}

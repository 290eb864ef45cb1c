//! The loss while the learning rate grows.

use foldwise_shared::value::short;

use super::RangeTest;
use crate::report::plot::{Anchor, Area, Canvas, Frame, Scale, category, line_legend};
use crate::report::search::WIDTH;
use crate::report::table::cell;
use crate::report::{Picture, Table};

pub(super) fn picture(test: &RangeTest, name: &str) -> Option<Picture> {
    let points = |losses: &[Option<f64>]| -> Vec<(f64, f64)> {
        test.learning_rate
            .iter()
            .zip(losses)
            .filter_map(|(rate, loss)| Some((*rate, (*loss)?)))
            .filter(|(rate, loss)| *rate > 0.0 && loss.is_finite())
            .collect()
    };
    let (raw, smoothed) = (points(&test.loss), points(&test.smoothed));
    if smoothed.len() < 2 {
        return None;
    }
    // What happens once it diverges would flatten all the rest.
    let low = smoothed.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let start = smoothed.first()?.1;
    let high = start + (start - low).abs() * 0.5;
    let within = |point: &&(f64, f64)| point.1 <= high;
    let x = Scale::around(smoothed.iter().filter(within).map(|point| point.0), true);
    let shown = raw.iter().chain(&smoothed).filter(within).map(|point| point.1);
    let area = Area { left: 76.0, top: 16.0, width: WIDTH - 226.0, height: 280.0 };
    let mut canvas = Canvas::new(WIDTH, 352.0);
    let frame = Frame { area, x, y: Scale::around(shown, false) };
    frame.draw(&mut canvas, "learning rate", "loss");
    let inside = |points: &[(f64, f64)]| points.iter().filter(within).copied().collect::<Vec<_>>();
    frame.curve(&mut canvas, &inside(&raw), category(4), 1.0, "stroke-opacity=\"0.8\"");
    frame.curve(&mut canvas, &inside(&smoothed), category(0), 2.2, "");
    let nearest = smoothed.iter().min_by(|a, b| {
        let far = |point: &(f64, f64)| (point.0 / test.chosen).ln().abs();
        far(a).total_cmp(&far(b))
    });
    if let Some((_, loss)) = nearest.filter(|_| test.chosen > 0.0) {
        let (x, y) = frame.point(test.chosen, *loss);
        canvas.polyline(
            &[(x, area.top), (x, area.top + area.height)],
            category(1),
            1.4,
            "stroke-dasharray=\"5 4\"",
        );
        canvas.circle((x, y), 4.5, category(1), "");
        let (place, x) =
            if frame.x.place(test.chosen) > 0.6 { (Anchor::End, x - 9.0) } else { (Anchor::Start, x + 9.0) };
        canvas.colored_text(
            (x, area.top + 14.0),
            place,
            11.5,
            category(1),
            &format!("chosen: {}", short(test.chosen)),
        );
    }
    let entries = [(category(4), "", "loss".to_owned()), (category(0), "", "smoothed".to_owned())];
    line_legend(&mut canvas, (area.left + area.width + 18.0, 30.0), entries.into_iter());
    let mut table = Table::new(&["learning_rate", "loss", "smoothed"]);
    for (at, rate) in test.learning_rate.iter().enumerate() {
        let of = |losses: &[Option<f64>]| cell(losses.get(at).copied().flatten());
        table.row([rate.to_string(), of(&test.loss), of(&test.smoothed)]);
    }
    Some(Picture {
        name: format!("{name}-range-test"),
        title: "Learning-rate range test".into(),
        caption: "The loss of a short training in which the learning rate grows from batch to batch. The chosen one is where the \
                  smoothed loss falls most steeply; where it has grown far above its start it is not drawn."
            .into(),
        canvas,
        table,
    })
}

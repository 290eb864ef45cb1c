//! Axes: a rectangle of a canvas in which values have places.

use super::canvas::{Anchor, Canvas};
use super::scale::{Scale, clip};

/// A rectangle of a canvas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Area {
    /// Its left edge.
    pub left: f64,
    /// Its upper edge.
    pub top: f64,
    /// Its width.
    pub width: f64,
    /// Its height.
    pub height: f64,
}

/// Axes around an area.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// Where values are.
    pub area: Area,
    /// From left to right.
    pub x: Scale,
    /// From the bottom up.
    pub y: Scale,
}

/// The shape of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    /// A disk.
    Disk,
    /// A ring.
    Ring,
    /// A cross.
    Cross,
}

/// How wide a letter is, as a share of its size: a digit of the font.
pub const LETTER: f64 = 0.62;

impl Frame {
    /// Where a value is from left to right.
    pub fn px(&self, value: f64) -> f64 {
        self.area.left + self.x.place(value).clamp(-0.02, 1.02) * self.area.width
    }

    /// Where a value is from top to bottom.
    pub fn py(&self, value: f64) -> f64 {
        self.area.top + (1.0 - self.y.place(value).clamp(-0.02, 1.02)) * self.area.height
    }

    /// Where two values are.
    pub fn point(&self, x: f64, y: f64) -> (f64, f64) {
        (self.px(x), self.py(y))
    }

    /// Draws grid, ticks and the names of both axes.
    pub fn draw(&self, canvas: &mut Canvas, x_name: &str, y_name: &str) {
        self.draw_y(canvas, y_name);
        self.draw_x(canvas, x_name);
    }

    /// Draws what belongs to the vertical axis.
    pub fn draw_y(&self, canvas: &mut Canvas, name: &str) {
        let Area { left, top, width, height } = self.area;
        let ticks = self.y.ticks((height / 38.0) as usize);
        let mut widest = 0_usize;
        for tick in &ticks {
            let y = top + (1.0 - tick.place) * height;
            if !matches!(self.y, Scale::Bands(_)) {
                canvas.line((left, y), (left + width, y), "grid", 1.0);
            }
            canvas.text((left - 6.0, y + 4.0), Anchor::End, 11.0, "soft", &tick.label);
            widest = widest.max(tick.label.chars().count());
        }
        canvas.line((left, top), (left, top + height), "axis", 1.0);
        if !name.is_empty() {
            let x = (left - 14.0 - widest as f64 * 11.0 * LETTER).max(12.0);
            canvas.turned_text((x, top + height / 2.0), -90.0, Anchor::Middle, 12.0, "ink", name);
        }
    }

    /// Draws what belongs to the horizontal axis.
    pub fn draw_x(&self, canvas: &mut Canvas, name: &str) {
        let Area { left, top, width, height } = self.area;
        let bottom = top + height;
        let ticks = self.x.ticks((width / 64.0) as usize);
        let longest = ticks.iter().map(|tick| tick.label.chars().count()).max().unwrap_or(0) as f64;
        // Names that would touch each other are turned.
        let room = width / ticks.len().max(1) as f64;
        let is_turned = matches!(self.x, Scale::Bands(_)) && longest * 11.0 * LETTER > room - 4.0;
        for tick in &ticks {
            let x = left + tick.place * width;
            if !matches!(self.x, Scale::Bands(_)) {
                canvas.line((x, top), (x, bottom), "grid", 1.0);
            }
            if is_turned {
                canvas.turned_text((x + 3.0, bottom + 13.0), -28.0, Anchor::End, 10.0, "soft", &tick.label);
            } else {
                canvas.text((x, bottom + 16.0), Anchor::Middle, 11.0, "soft", &tick.label);
            }
        }
        canvas.line((left, bottom), (left + width, bottom), "axis", 1.0);
        if !name.is_empty() {
            let down = if is_turned { 22.0 + longest * 10.0 * LETTER * 0.47 } else { 34.0 };
            canvas.text((left + width / 2.0, bottom + down), Anchor::Middle, 12.0, "ink", name);
        }
    }

    /// A point.
    pub fn mark(&self, canvas: &mut Canvas, (x, y): (f64, f64), marker: Marker, radius: f64, color: &str) {
        let (x, y) = self.point(x, y);
        match marker {
            Marker::Disk => canvas.circle((x, y), radius, color, "fill-opacity=\"0.85\""),
            Marker::Ring => {
                let style = format!("stroke=\"{color}\" stroke-width=\"1.3\"");
                canvas.circle((x, y), radius, "none", &style);
            }
            Marker::Cross => {
                use super::canvas::number;
                let [left, right, top, bottom] = [x - radius, x + radius, y - radius, y + radius].map(number);
                let path = format!("M{left} {top}L{right} {bottom}M{left} {bottom}L{right} {top}");
                canvas.path(&path, &format!("stroke=\"{color}\" stroke-width=\"1.5\" fill=\"none\""));
            }
        }
    }

    /// A line through values.
    pub fn curve(&self, canvas: &mut Canvas, points: &[(f64, f64)], color: &str, width: f64, style: &str) {
        let places: Vec<(f64, f64)> = points
            .iter()
            .filter(|(x, y)| x.is_finite() && y.is_finite())
            .map(|(x, y)| self.point(*x, *y))
            .collect();
        canvas.polyline(&places, color, width, style);
    }
}

/// A legend of disks in a column, from its upper left corner.
pub fn legend<'a>(
    canvas: &mut Canvas,
    (x, y): (f64, f64),
    entries: impl Iterator<Item = (Marker, &'a str, String)>,
) {
    for (at, (marker, color, name)) in entries.enumerate() {
        let y = y + at as f64 * 18.0;
        let frame = Frame {
            area: Area { left: x, top: y - 8.0, width: 10.0, height: 8.0 },
            x: Scale::Linear { low: 0.0, high: 1.0 },
            y: Scale::Linear { low: 0.0, high: 1.0 },
        };
        frame.mark(canvas, (0.5, 0.5), marker, 4.0, color);
        canvas.text((x + 16.0, y), Anchor::Start, 11.0, "ink", &clip_legend(&name));
    }
}

/// A legend of short lines in a column, from its upper left corner: color, dash, name.
pub fn line_legend<'a>(
    canvas: &mut Canvas,
    (x, y): (f64, f64),
    entries: impl Iterator<Item = (&'a str, &'a str, String)>,
) {
    for (at, (color, style, name)) in entries.enumerate() {
        let y = y + at as f64 * 18.0;
        canvas.polyline(&[(x, y - 4.0), (x + 18.0, y - 4.0)], color, 2.0, style);
        canvas.text((x + 24.0, y), Anchor::Start, 11.0, "ink", &clip_legend(&name));
    }
}

fn clip_legend(name: &str) -> String {
    if name.chars().count() <= 22 { name.to_owned() } else { clip(name) }
}

/// A bar of the colors from the best to the worst value, with both.
pub fn color_bar(
    canvas: &mut Canvas,
    area: Area,
    colors: &super::color::ColorMap,
    minimize: bool,
    name: &str,
) {
    const STEPS: usize = 32;
    let height = area.height / STEPS as f64;
    for step in 0..STEPS {
        let [red, green, blue] = super::color::ColorMap::rgb(step as f64 / (STEPS - 1) as f64);
        let color = format!("#{red:02x}{green:02x}{blue:02x}");
        canvas.rect((area.left, area.top + step as f64 * height), (area.width, height + 0.5), &color, "");
    }
    let (good, bad) = colors.ends();
    let shown = foldwise_shared::value::short;
    let beyond = if minimize { "\u{2265}" } else { "\u{2264}" };
    let x = area.left + area.width + 6.0;
    canvas.text((area.left, area.top - 8.0), Anchor::Start, 11.0, "ink", name);
    canvas.text((x, area.top + 9.0), Anchor::Start, 11.0, "soft", &shown(good));
    canvas.text(
        (x, area.top + area.height),
        Anchor::Start,
        11.0,
        "soft",
        &format!("{beyond} {}", shown(bad)),
    );
}

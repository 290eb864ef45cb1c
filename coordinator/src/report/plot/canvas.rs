//! What is drawn, as the elements of an SVG picture.
//!
//! Ink that must be seen on white and on black has a class in place of a color (`ink`, `soft`, `axis`, `grid`, `paper`):
//! in a file of its own the picture brings the colors for white, in a page the page says them.

use std::fmt::Write;

/// The colors of the classes in a file of its own.
const STYLE: &str = ".ink{fill:#1b1f24}.soft{fill:#57606a}.axis{stroke:#57606a}.grid{stroke:#d8dee4}.paper{fill:#ffffff}\
    .mark{stroke:#1b1f24}";
/// The letters of every picture.
const FONT: &str = "'Foldwise Sans','DejaVu Sans',Verdana,sans-serif";

/// Where a text stands beside its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// It begins there.
    Start,
    /// Its middle is there.
    Middle,
    /// It ends there.
    End,
}

impl Anchor {
    fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

/// A picture in the making. All lengths are pixels, from the upper left corner.
#[derive(Debug, Clone, PartialEq)]
pub struct Canvas {
    /// Its width.
    pub width: f64,
    /// Its height.
    pub height: f64,
    body: String,
}

impl Canvas {
    /// An empty one.
    pub fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        // A string takes all that is written.
        let _ = self.body.write_fmt(element);
        self.body.push('\n');
    }

    /// A line of text in the color of a class.
    pub fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, size: f64, class: &str, text: &str) {
        let (x, y, anchor, text) = (number(x), number(y), anchor.as_str(), escape(text));
        self.push(format_args!(
            r#"<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}" class="{class}">{text}</text>"#
        ));
    }

    /// A line of text in a color of its own.
    pub fn colored_text(&mut self, (x, y): (f64, f64), anchor: Anchor, size: f64, color: &str, text: &str) {
        let (x, y, anchor, text) = (number(x), number(y), anchor.as_str(), escape(text));
        self.push(format_args!(
            r#"<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}" fill="{color}">{text}</text>"#
        ));
    }

    /// A line of text that is turned by so many degrees around its point.
    pub fn turned_text(
        &mut self,
        (x, y): (f64, f64),
        degrees: f64,
        anchor: Anchor,
        size: f64,
        class: &str,
        text: &str,
    ) {
        let (x, y, anchor, text) = (number(x), number(y), anchor.as_str(), escape(text));
        self.push(format_args!(
            r#"<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}" class="{class}" transform="rotate({degrees} {x} {y})">{text}</text>"#
        ));
    }

    /// A straight line in the color of a class.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str, width: f64) {
        let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(number);
        if (&x1, &y1) == (&x2, &y2) {
            return;
        }
        self.push(format_args!(
            r#"<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" class="{class}" stroke-width="{width}"/>"#
        ));
    }

    /// A line through points; `style` are further attributes, such as a dash.
    pub fn polyline(&mut self, points: &[(f64, f64)], color: &str, width: f64, style: &str) {
        if points.len() < 2 {
            if let [only] = points {
                self.circle(*only, width.max(1.5), color, style);
            }
            return;
        }
        let mut path = String::with_capacity(points.len() * 12);
        for (at, (x, y)) in points.iter().enumerate() {
            let _ = write!(path, "{}{} {}", if at == 0 { "M" } else { "L" }, number(*x), number(*y));
        }
        self.push(format_args!(
            r#"<path d="{path}" fill="none" stroke="{color}" stroke-width="{width}" stroke-linejoin="round" {style}/>"#
        ));
    }

    /// A path of your own, filled with a color.
    pub fn path(&mut self, path: &str, attributes: &str) {
        self.push(format_args!(r#"<path d="{path}" {attributes}/>"#));
    }

    /// A disk; `style` are further attributes.
    pub fn circle(&mut self, (x, y): (f64, f64), radius: f64, color: &str, style: &str) {
        let (x, y) = (number(x), number(y));
        self.push(format_args!(r#"<circle cx="{x}" cy="{y}" r="{radius}" fill="{color}" {style}/>"#));
    }

    /// A rectangle in a color; `style` are further attributes.
    pub fn rect(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), color: &str, style: &str) {
        let [x, y, width, height] = [x, y, width.max(0.0), height.max(0.0)].map(number);
        self.push(format_args!(
            r#"<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{color}" {style}/>"#
        ));
    }

    /// A picture of pixels (a PNG in base64), stretched over a rectangle.
    pub fn image(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), png: &str, smooth: bool) {
        let [x, y, width, height] = [x, y, width, height].map(number);
        let rendering = if smooth { "" } else { "style=\"image-rendering:pixelated\"" };
        self.push(format_args!(
            r#"<image x="{x}" y="{y}" width="{width}" height="{height}" preserveAspectRatio="none" {rendering} href="data:image/png;base64,{png}"/>"#
        ));
    }

    /// As a file of its own, on white.
    pub fn file(&self) -> String {
        let (width, height) = (number(self.width), number(self.height));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"{FONT}\">\n<style>{STYLE}</style>\n\
             <rect width=\"{width}\" height=\"{height}\" class=\"paper\"/>\n{}</svg>\n",
            self.body
        )
    }

    /// As a part of a page, which gives the classes their colors. `label` is read to people who do not see it.
    pub fn inline(&self, label: &str) -> String {
        let (width, height) = (number(self.width), number(self.height));
        format!(
            "<svg role=\"img\" aria-label=\"{}\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             font-family=\"{FONT}\">\n{}</svg>",
            escape(label),
            self.body
        )
    }
}

/// A length with at most two decimals.
pub fn number(length: f64) -> String {
    if !length.is_finite() {
        return "0".into();
    }
    let text = format!("{length:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.to_owned() }
}

/// Text that means nothing else in XML; what XML cannot hold is left out.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\n' | '\t' => safe.push(' '),
            letter if letter.is_control() || ('\u{fffe}'..='\u{ffff}').contains(&letter) => {}
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_wrote_is_only_text() {
        let mut canvas = Canvas::new(10.0, 10.0);
        canvas.text((0.0, 5.0), Anchor::Start, 11.0, "ink", "</text><script>\u{0}\"&");
        assert!(canvas.file().contains("&lt;/text&gt;&lt;script&gt;&quot;&amp;</text>"), "{}", canvas.file());
        assert!(canvas.inline("a\"b").contains(r#"aria-label="a&quot;b""#));
    }

    #[test]
    fn lengths_are_short() {
        for (length, text) in [(1.0, "1"), (0.126, "0.13"), (-0.001, "0"), (12.5, "12.5"), (f64::NAN, "0")] {
            assert_eq!(number(length), text);
        }
    }
}

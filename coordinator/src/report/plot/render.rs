//! From SVG to PNG, with the font that the program brings along: it looks the same on a machine that has none.

use std::sync::Arc;

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

/// A subset of DejaVu Sans; see the license beside it.
const FONT: &[u8] = include_bytes!("../font/FoldwiseSans.ttf");
/// Pixels of the PNG for each of the SVG.
const ZOOM: f32 = 2.0;

/// Why a picture did not become a PNG.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// It is no SVG.
    #[error("failed to read the SVG: {0}")]
    Svg(#[from] resvg::usvg::Error),
    /// It has no pixels, or too many.
    #[error("a picture of {width} x {height} pixels cannot be made")]
    Size {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// The pixels could not be packed.
    #[error("failed to write the PNG: {0}")]
    Png(String),
}

/// Makes PNGs.
#[derive(Debug, Clone)]
pub struct Renderer {
    fonts: Arc<fontdb::Database>,
}

impl Renderer {
    /// With the one font.
    pub fn new() -> Self {
        let mut fonts = fontdb::Database::new();
        fonts.load_font_data(FONT.to_vec());
        fonts.set_sans_serif_family("Foldwise Sans");
        Self { fonts: Arc::new(fonts) }
    }

    /// A picture as PNG, twice as large as it says.
    ///
    /// # Errors
    /// Something that is no SVG, or is too large.
    pub fn png(&self, svg: &str) -> Result<Vec<u8>, RenderError> {
        let options = Options {
            font_family: "Foldwise Sans".into(),
            fontdb: Arc::clone(&self.fonts),
            ..Options::default()
        };
        let tree = Tree::from_str(svg, &options)?;
        let size = tree.size();
        let (width, height) = ((size.width() * ZOOM).ceil() as u32, (size.height() * ZOOM).ceil() as u32);
        let mut pixels = Pixmap::new(width, height).ok_or(RenderError::Size { width, height })?;
        resvg::render(&tree, Transform::from_scale(ZOOM, ZOOM), &mut pixels.as_mut());
        pixels.encode_png().map_err(|error| RenderError::Png(error.to_string()))
    }
}

impl Default for Renderer {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::super::canvas::{Anchor, Canvas};
    use super::*;

    #[test]
    fn letters_are_drawn_without_a_font_on_the_machine() {
        let dark = |text: &str| {
            let mut canvas = Canvas::new(60.0, 20.0);
            canvas.text((4.0, 15.0), Anchor::Start, 14.0, "ink", text);
            let png = Renderer::new().png(&canvas.file()).expect("a PNG");
            let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().expect("a header");
            let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
            let frame = reader.next_frame(&mut pixels).expect("pixels");
            assert_eq!((frame.width, frame.height), (120, 40));
            pixels.chunks(4).filter(|pixel| pixel[0] < 128).count()
        };
        assert_eq!(dark(""), 0);
        assert!(dark("0.02 \u{2265}") > 100);
    }

    #[test]
    fn what_is_no_svg_is_refused() {
        assert!(matches!(Renderer::new().png("<html>"), Err(RenderError::Svg(_))));
    }
}

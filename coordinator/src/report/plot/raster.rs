//! Pictures of pixels: images in a grid, and fields of color.

use base64::Engine;

/// Gray images side by side on one sheet, with a pixel between them.
#[derive(Debug, Clone, PartialEq)]
pub struct Raster {
    columns: usize,
    rows: usize,
    tile: (usize, usize),
    pixels: Vec<u8>,
}

/// One gray image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tile<'a> {
    /// Its rows.
    pub height: usize,
    /// Its columns.
    pub width: usize,
    /// Its pixels by rows, 0 black.
    pub pixels: &'a [u8],
}

/// The gray between images.
const GAP: u8 = 128;

impl Raster {
    /// An empty sheet for so many images of one size.
    pub fn new(columns: usize, rows: usize, height: usize, width: usize) -> Self {
        let pixels = vec![GAP; (columns * (width + 1) + 1) * (rows * (height + 1) + 1)];
        Self { columns, rows, tile: (height, width), pixels }
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (usize, usize) {
        (self.columns * (self.tile.1 + 1) + 1, self.rows * (self.tile.0 + 1) + 1)
    }

    /// Puts an image into its place; one of another size, or outside, is left out.
    pub fn put(&mut self, column: usize, row: usize, tile: Tile<'_>) {
        let (height, width) = self.tile;
        if column >= self.columns || row >= self.rows || tile.pixels.len() != height * width {
            return;
        }
        let line = self.size().0;
        for y in 0..height {
            let start = (row * (height + 1) + 1 + y) * line + column * (width + 1) + 1;
            self.pixels[start..start + width].copy_from_slice(&tile.pixels[y * width..(y + 1) * width]);
        }
    }

    /// As a PNG in base64; none if it has no pixels.
    pub fn png(&self) -> Option<String> {
        let (width, height) = self.size();
        encode(width, height, png::ColorType::Grayscale, &self.pixels)
    }
}

/// A field of colors, by rows from the top, as a PNG in base64.
pub fn field(width: usize, height: usize, pixels: &[[u8; 3]]) -> Option<String> {
    let bytes: Vec<u8> = pixels.iter().flatten().copied().collect();
    encode(width, height, png::ColorType::Rgb, &bytes)
}

fn encode(width: usize, height: usize, color: png::ColorType, pixels: &[u8]) -> Option<String> {
    let mut bytes = Vec::new();
    let (width, height) = (u32::try_from(width).ok()?, u32::try_from(height).ok()?);
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(color);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().ok()?;
    writer.write_image_data(pixels).ok()?;
    writer.finish().ok()?;
    Some(base64::engine::general_purpose::STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_lie_where_they_were_put() {
        let mut sheet = Raster::new(2, 1, 2, 2);
        assert_eq!(sheet.size(), (7, 4));
        sheet.put(1, 0, Tile { height: 2, width: 2, pixels: &[1, 2, 3, 4] });
        sheet.put(0, 0, Tile { height: 1, width: 2, pixels: &[9, 9] });
        sheet.put(2, 0, Tile { height: 2, width: 2, pixels: &[9; 4] });
        assert_eq!(sheet.pixels[7..14], [128, 128, 128, 128, 1, 2, 128]);
        assert_eq!(sheet.pixels[14..21], [128, 128, 128, 128, 3, 4, 128]);
        assert!(!sheet.pixels.contains(&9));
        assert!(sheet.png().expect("a PNG").starts_with("iVBOR"));
    }
}

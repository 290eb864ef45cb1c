//! Images as text, for a look in the terminal.

use crate::Images;

/// From black to white.
const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];
const MAX_COLUMNS: usize = 28;

/// Draws the images with these indices side by side, one character for about twice as many rows as columns; a wide
/// image is made smaller. The first line tells the labels, where there are some. Indices past the end are left out.
pub fn sketch(images: &Images, indices: &[usize]) -> String {
    let columns = images.width().min(MAX_COLUMNS);
    // A character is about twice as high as it is wide.
    let rows = (images.height() * columns).div_ceil(images.width() * 2).max(1);
    let chosen: Vec<_> = indices.iter().filter_map(|&index| Some((index, images.image(index)?))).collect();
    let mut text = String::new();
    if let Some(labels) = images.labels() {
        let heads = chosen.iter().map(|(index, _)| format!("{:<columns$}", labels[*index]));
        push_line(&mut text, heads.collect::<Vec<_>>().join("  "));
    }
    for row in 0..rows {
        let parts = chosen.iter().map(|(_, pixels)| {
            (0..columns)
                .map(|column| shade(images, pixels, (row, rows), (column, columns)))
                .collect::<String>()
        });
        push_line(&mut text, parts.collect::<Vec<_>>().join("  "));
    }
    text
}

/// The mean brightness of the pixels under one character, as a shade.
fn shade(images: &Images, pixels: &[u8], row: (usize, usize), column: (usize, usize)) -> char {
    let span = |(at, of): (usize, usize), size: usize| {
        let start = at * size / of;
        start..((at + 1) * size / of).max(start + 1)
    };
    let (mut sum, mut count) = (0, 0);
    for y in span(row, images.height()) {
        for x in span(column, images.width()) {
            sum += usize::from(pixels[y * images.width() + x]);
            count += 1;
        }
    }
    let mean = sum / count;
    // Rounded to the nearest of the five shades.
    SHADES[(mean * (SHADES.len() - 1) + 127) / 255]
}

fn push_line(text: &mut String, line: String) {
    text.push_str(line.trim_end());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Shape;
    use crate::images::Bytes;

    fn images(height: usize, width: usize, bytes: Vec<u8>, labels: Option<Vec<u8>>) -> Images {
        let shape = Shape { count: bytes.len() / (height * width), height, width, channels: 1 };
        Images::new(shape, Bytes::Memory(bytes), labels)
    }

    #[test]
    fn two_rows_become_one_line_of_shades() {
        let pair = images(2, 3, vec![0, 255, 128, 0, 255, 128, 255, 0, 0, 255, 0, 60], Some(vec![4, 9]));
        assert_eq!(sketch(&pair, &[0, 1, 7]), "4    9\n █▒  █\n");
    }

    #[test]
    fn sizes_from_one_pixel_to_a_wide_strip_can_be_drawn() {
        assert_eq!(sketch(&images(1, 1, vec![255], None), &[0]), "█\n");
        let strip = sketch(&images(3, 224, vec![255; 672], None), &[0]);
        assert_eq!(strip, format!("{}\n", "█".repeat(28)));
        assert_eq!(sketch(&images(112, 56, vec![255; 112 * 56], None), &[0]).lines().count(), 28);
    }
}

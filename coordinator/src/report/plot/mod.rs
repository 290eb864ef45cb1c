//! Drawing: scales and their ticks, a canvas that becomes SVG, axes on it, colors, and the way from SVG to PNG.

mod canvas;
mod color;
mod frame;
mod raster;
mod render;
mod scale;

pub use self::canvas::{Anchor, Canvas, number};
pub use self::color::{ColorMap, category, states};
pub use self::frame::{Area, Frame, LETTER, Marker, color_bar, legend, line_legend};
pub use self::raster::{Raster, Tile, field};
pub use self::render::{RenderError, Renderer};
pub use self::scale::{Scale, Tick, clip};

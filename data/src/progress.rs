//! A progress bar for downloads, on standard error; plain lines where that is no terminal.

use indicatif::{ProgressBar, ProgressStyle};

use crate::FetchEvent;

const TEMPLATE: &str = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";

/// A reader of [`FetchEvent`]s for [`fetch`](crate::fetch) that draws one bar a file.
pub fn terminal_progress() -> impl FnMut(FetchEvent<'_>) {
    let bar = ProgressBar::no_length();
    if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
        bar.set_style(style);
    }
    let line = |bar: &ProgressBar, text: String| match bar.is_hidden() {
        true => eprintln!("{text}"),
        false => bar.println(text),
    };
    move |event| match event {
        FetchEvent::Started { file, url, position, total } => {
            bar.set_message(file.to_owned());
            match total {
                Some(total) => bar.set_length(total),
                None => bar.unset_length(),
            }
            bar.set_position(position);
            bar.reset_eta();
            if bar.is_hidden() {
                eprintln!("downloading {url}");
            }
        }
        FetchEvent::Advanced { position } => bar.set_position(position),
        FetchEvent::Finished { file } => {
            bar.set_position(0);
            line(&bar, format!("{file}: whole and checked"));
        }
        FetchEvent::MirrorFailed { url, reason } => line(&bar, format!("{url}: {reason}")),
    }
}

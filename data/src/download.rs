//! Downloading one file: from the first mirror that gives the right bytes, over cut connections, into a `.part` file
//! that gets its name only when its content has the published SHA-256.

use std::fs::{self, File};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use flate2::bufread::MultiGzDecoder;
use ureq::http::{HeaderMap, StatusCode, header};

use crate::catalog::PublishedFile;
use crate::{DataError, FetchEvent, FetchedFile, digest, temporary};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A mirror that sends nothing for so long is given up.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections to one mirror for one file. Each after the first needs the one before to have brought something.
const MAX_CONNECTIONS: usize = 10;

/// Fetches files into one folder.
pub(crate) struct Downloader<'a> {
    agent: ureq::Agent,
    folder: &'a Path,
    progress: &'a mut dyn FnMut(FetchEvent<'_>),
}

/// Why a transfer did not end well.
enum Setback {
    /// Another connection to the same mirror may help.
    Cut(String),
    /// This mirror is of no use.
    Mirror(String),
    /// Our own disk.
    Disk(DataError),
}

impl<'a> Downloader<'a> {
    pub fn new(
        folder: &'a Path,
        proxy: Option<ureq::Proxy>,
        progress: &'a mut dyn FnMut(FetchEvent<'_>),
    ) -> Downloader<'a> {
        let agent = ureq::Agent::config_builder()
            .proxy(proxy)
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_per_read(Some(SILENCE_TIMEOUT))
            .user_agent(concat!("foldwise/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Downloader { agent, folder, progress }
    }

    /// Has `file` in the folder in the end, or gives one line for each mirror that failed. Two processes that fetch
    /// the same file take turns.
    pub fn fetch(
        &mut self,
        file: &PublishedFile,
        mirrors: &[&str],
    ) -> Result<Result<FetchedFile, Vec<String>>, DataError> {
        let target = self.folder.join(file.name);
        let part_path = self.folder.join(format!("{}.part", file.name));
        if let Some(present) = present(&target, file) {
            return Ok(Ok(present));
        }
        let mut part = temporary::lock(&part_path).map_err(DataError::io("write", &part_path))?;
        if let Some(present) = present(&target, file) {
            let _ = fs::remove_file(&part_path);
            return Ok(Ok(present));
        }

        let mut failures = Vec::new();
        for mirror in mirrors {
            let url = format!("{mirror}{}", file.name);
            match self.try_mirror(&url, file, &mut part, &part_path) {
                Ok(()) => {
                    temporary::publish(&part, &part_path, &target)
                        .map_err(DataError::io("write", &target))?;
                    (self.progress)(FetchEvent::Finished { file: file.name });
                    let bytes = length(&part, &target)?;
                    return Ok(Ok(FetchedFile { path: target, bytes, downloaded_from: Some(url) }));
                }
                Err(Setback::Disk(error)) => return Err(error),
                Err(Setback::Cut(reason) | Setback::Mirror(reason)) => {
                    (self.progress)(FetchEvent::MirrorFailed { url: &url, reason: &reason });
                    failures.push(format!("{url}: {reason}"));
                }
            }
        }
        if length(&part, &part_path)? == 0 {
            let _ = fs::remove_file(&part_path);
        }
        Ok(Err(failures))
    }

    fn try_mirror(
        &mut self,
        url: &str,
        file: &PublishedFile,
        part: &mut File,
        part_path: &Path,
    ) -> Result<(), Setback> {
        let mut last_cut = None;
        for _ in 0..MAX_CONNECTIONS {
            let before = length(part, part_path).map_err(Setback::Disk)?;
            match self.transfer(url, file, part, part_path) {
                Ok(()) => match check(part, file) {
                    Ok(()) => return Ok(()),
                    Err(reason) => {
                        part.set_len(0).map_err(DataError::io("write", part_path)).map_err(Setback::Disk)?;
                        // What was there before may be to blame: once more from the start.
                        if before == 0 {
                            return Err(Setback::Mirror(reason));
                        }
                        last_cut = Some(reason);
                    }
                },
                Err(Setback::Cut(reason)) => {
                    let after = length(part, part_path).map_err(Setback::Disk)?;
                    if after == before {
                        return Err(Setback::Cut(reason));
                    }
                    last_cut = Some(reason);
                }
                Err(setback) => return Err(setback),
            }
        }
        Err(Setback::Cut(last_cut.unwrap_or_default()))
    }

    /// One request, appended to what `part` holds.
    fn transfer(
        &mut self,
        url: &str,
        file: &PublishedFile,
        part: &mut File,
        part_path: &Path,
    ) -> Result<(), Setback> {
        let disk = |error| Setback::Disk(DataError::io("write", part_path)(error));
        let mut position = part.seek(SeekFrom::End(0)).map_err(disk)?;
        let mut request = self.agent.get(url);
        if position > 0 {
            request = request.header(header::RANGE, format!("bytes={position}-"));
        }
        let response = request.call().map_err(|error| Setback::Mirror(error.to_string()))?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT if range_start(response.headers()) == Some(position) => {}
            // The whole file, from a server that does not do ranges.
            StatusCode::OK => {
                part.set_len(0).map_err(disk)?;
                position = part.seek(SeekFrom::Start(0)).map_err(disk)?;
            }
            StatusCode::RANGE_NOT_SATISFIABLE if position > 0 => {
                part.set_len(0).map_err(disk)?;
                return Err(Setback::Cut(
                    "the part that was here is longer than the mirror's file".to_owned(),
                ));
            }
            status => return Err(Setback::Mirror(format!("the server answers {status}"))),
        }
        let total = content_length(response.headers()).map(|length| position.saturating_add(length));
        (self.progress)(FetchEvent::Started { file: file.name, url, position, total });

        // Gzip never makes a file longer by more than this.
        let limit = file.content_bytes + (64 << 10);
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) => return Err(Setback::Cut(format!("cut off after {position} bytes ({error})"))),
            };
            position += count as u64;
            if position > limit {
                part.set_len(0).map_err(disk)?;
                return Err(Setback::Mirror(format!("sends more than the {limit} bytes the file can have")));
            }
            part.write_all(&buffer[..count]).map_err(disk)?;
            (self.progress)(FetchEvent::Advanced { position });
        }
        match total {
            Some(total) if position < total => {
                Err(Setback::Cut(format!("cut off after {position} of {total} bytes")))
            }
            _ => Ok(()),
        }
    }
}

/// Whether a gzipped file unpacks to the published bytes; if not, what is wrong.
pub(crate) fn check(mut packed: &File, file: &PublishedFile) -> Result<(), String> {
    let content = packed
        .seek(SeekFrom::Start(0))
        .and_then(|_| {
            let decoder = MultiGzDecoder::new(BufReader::with_capacity(1 << 16, packed));
            digest::of_reader(decoder.take(file.content_bytes + 1))
        })
        .map_err(|error| format!("what it sends is no whole gzip file ({error})"))?;
    let found = digest::hex(&content);
    if found != file.content_sha256 {
        let expected = file.content_sha256;
        return Err(format!("its content has SHA-256 {found}, the published file has {expected}"));
    }
    Ok(())
}

fn present(target: &Path, file: &PublishedFile) -> Option<FetchedFile> {
    let opened = File::open(target).ok()?;
    check(&opened, file).ok()?;
    let bytes = opened.metadata().ok()?.len();
    Some(FetchedFile { path: target.to_owned(), bytes, downloaded_from: None })
}

fn length(file: &File, path: &Path) -> Result<u64, DataError> {
    Ok(file.metadata().map_err(DataError::io("look at", path))?.len())
}

/// The first byte's position in `Content-Range: bytes 5-9/10`.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::BufRead;
    use std::net::{TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;

    use super::*;
    use crate::idx::tests::{gzip, labels_file};

    /// A mirror on a port of its own. It serves one file and keeps the `Range` header of each request; the n-th
    /// answer follows the n-th of its manners, and the last one from then on.
    struct Mirror {
        base: String,
        ranges: Arc<Mutex<Vec<Option<String>>>>,
    }

    #[derive(Clone, Copy)]
    enum Manner {
        Whole,
        /// Promises all, and hangs up after so many bytes.
        Cut(usize),
        /// Ignores the range.
        NoRanges,
        Missing,
    }

    impl Mirror {
        fn start(content: Vec<u8>, manners: &[Manner]) -> Mirror {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let base = format!("http://{}/", listener.local_addr().expect("bound"));
            let ranges = Arc::new(Mutex::new(Vec::new()));
            let (kept, manners) = (ranges.clone(), manners.to_vec());
            std::thread::spawn(move || {
                for (number, stream) in listener.incoming().enumerate() {
                    let manner = manners.get(number).or(manners.last()).copied().unwrap_or(Manner::Whole);
                    let Ok(stream) = stream else { return };
                    let _ = answer(stream, &content, manner, &kept);
                }
            });
            Mirror { base, ranges }
        }

        fn ranges(&self) -> Vec<Option<String>> {
            self.ranges.lock().expect("not poisoned").clone()
        }
    }

    fn answer(
        mut stream: TcpStream,
        content: &[u8],
        manner: Manner,
        ranges: &Mutex<Vec<Option<String>>>,
    ) -> std::io::Result<()> {
        let mut range = None;
        for line in BufReader::new(stream.try_clone()?).lines() {
            let line = line?.to_lowercase();
            if line.is_empty() {
                break;
            }
            range = line.strip_prefix("range: bytes=").map(str::to_owned).or(range);
        }
        ranges.lock().expect("not poisoned").push(range.clone());
        let start = range.and_then(|range| range.trim_end_matches('-').parse::<usize>().ok());
        let (start, status) = match (manner, start) {
            (Manner::Missing, _) => {
                return stream
                    .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            }
            (Manner::NoRanges, _) | (_, None) => (0, "200 OK".to_owned()),
            (_, Some(start)) if start >= content.len() => {
                return stream.write_all(
                    b"HTTP/1.1 416 Range Not Satisfiable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                );
            }
            (_, Some(start)) => {
                let (last, length) = (content.len() - 1, content.len());
                (start, format!("206 Partial Content\r\ncontent-range: bytes {start}-{last}/{length}"))
            }
        };
        let rest = &content[start..];
        let head =
            format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", rest.len());
        stream.write_all(head.as_bytes())?;
        match manner {
            Manner::Cut(after) => stream.write_all(&rest[..after.min(rest.len())]),
            _ => stream.write_all(rest),
        }
    }

    /// A file of labels with little to compress, gzipped, and its entry of the catalog.
    fn published() -> (Vec<u8>, PublishedFile) {
        let noise: Vec<u8> = (0..40_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let content = labels_file(&noise);
        let content_sha256 = digest::hex(&digest::of_bytes(&content)).leak();
        let file = PublishedFile { name: "x.gz", content_bytes: content.len() as u64, content_sha256 };
        (gzip(&content), file)
    }

    fn fetch(folder: &Path, file: &PublishedFile, mirrors: &[&Mirror]) -> Result<FetchedFile, Vec<String>> {
        let bases: Vec<_> = mirrors.iter().map(|mirror| mirror.base.as_str()).collect();
        Downloader::new(folder, None, &mut |_| {}).fetch(file, &bases).expect("the disk works")
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("there");
        entries.map(|entry| entry.expect("there").file_name().display().to_string()).collect()
    }

    #[test]
    fn a_file_is_downloaded_once() {
        let (packed, file) = published();
        let mirror = Mirror::start(packed.clone(), &[Manner::Whole]);
        let folder = tempfile::tempdir().expect("a folder");
        let mut events = Vec::new();
        let mut record = |event: FetchEvent<'_>| {
            events.push(match event {
                FetchEvent::Started { position, total, .. } => format!("start {position} of {total:?}"),
                FetchEvent::Advanced { position } => format!("at {position}"),
                other => format!("{other:?}"),
            });
        };
        let fetched = Downloader::new(folder.path(), None, &mut record)
            .fetch(&file, &[&mirror.base])
            .expect("the disk works")
            .expect("a good mirror");
        assert_eq!(fs::read(&fetched.path).expect("there"), packed);
        assert_eq!(fetched.downloaded_from, Some(format!("{}x.gz", mirror.base)));
        assert_eq!(fetched.bytes, packed.len() as u64);
        assert_eq!(events.first(), Some(&format!("start 0 of Some({})", packed.len())));
        assert_eq!(
            events[events.len() - 2..],
            [format!("at {}", packed.len()), "Finished { file: \"x.gz\" }".into()]
        );

        let again = fetch(folder.path(), &file, &[&mirror]).expect("present");
        assert_eq!(again.downloaded_from, None);
        assert_eq!(mirror.ranges(), [None], "the second fetch asks nobody");
        assert_eq!(names(folder.path()), ["x.gz"]);
    }

    #[test]
    fn a_cut_connection_goes_on_where_it_stopped() {
        let (packed, file) = published();
        let mirror = Mirror::start(packed.clone(), &[Manner::Cut(1_000), Manner::Cut(500), Manner::Whole]);
        let folder = tempfile::tempdir().expect("a folder");
        let fetched = fetch(folder.path(), &file, &[&mirror]).expect("whole in the end");
        assert_eq!(fs::read(&fetched.path).expect("there"), packed);
        assert_eq!(mirror.ranges(), [None, Some("1000-".to_owned()), Some("1500-".to_owned())]);
    }

    #[test]
    fn a_part_of_an_earlier_run_is_continued_and_survives_failure() {
        let (packed, file) = published();
        let folder = tempfile::tempdir().expect("a folder");
        let failing = Mirror::start(packed.clone(), &[Manner::Cut(700), Manner::Missing]);
        let failures = fetch(folder.path(), &file, &[&failing]).expect_err("no whole file");
        assert!(failures[0].contains("404"), "{failures:?}");
        assert_eq!(fs::read(folder.path().join("x.gz.part")).expect("kept"), packed[..700]);

        let mirror = Mirror::start(packed.clone(), &[Manner::Whole]);
        let fetched = fetch(folder.path(), &file, &[&mirror]).expect("a good mirror");
        assert_eq!(fs::read(&fetched.path).expect("there"), packed);
        assert_eq!(mirror.ranges(), [Some("700-".to_owned())]);
    }

    #[test]
    fn a_bad_part_is_thrown_away_and_the_file_loaded_anew() {
        let (packed, file) = published();
        for bad in [vec![7; 900], vec![7; packed.len() + 5], packed[..packed.len() - 1].to_vec()] {
            for manner in [Manner::Whole, Manner::NoRanges] {
                let folder = tempfile::tempdir().expect("a folder");
                fs::write(folder.path().join("x.gz.part"), &bad).expect("written");
                let mirror = Mirror::start(packed.clone(), &[manner]);
                let fetched = fetch(folder.path(), &file, &[&mirror]).expect("a good mirror");
                assert_eq!(fs::read(&fetched.path).expect("there"), packed);
            }
        }
    }

    #[test]
    fn wrong_bytes_never_reach_the_cache() {
        let (packed, file) = published();
        let other = gzip(&labels_file(&[1, 2, 3]));
        let truncated = packed[..packed.len() / 2].to_vec();
        let too_long = vec![0; packed.len() + (1 << 20)];
        for (content, reason) in [
            (other, "its content has SHA-256 "),
            (b"<html>log in first</html>".to_vec(), "no whole gzip file"),
            (truncated, "no whole gzip file"),
            (too_long, "sends more than the"),
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            let mirror = Mirror::start(content, &[Manner::Whole]);
            let failures = fetch(folder.path(), &file, &[&mirror]).expect_err("a bad mirror");
            assert_eq!(failures.len(), 1);
            assert!(failures[0].starts_with(&mirror.base) && failures[0].contains(reason), "{failures:?}");
            assert_eq!(names(folder.path()), Vec::<String>::new());
        }
    }

    #[test]
    fn the_next_mirror_helps_out() {
        let (packed, file) = published();
        let dead = Mirror { base: "http://127.0.0.1:9/".to_owned(), ranges: Arc::default() };
        let empty = Mirror::start(packed.clone(), &[Manner::Missing]);
        let stalling = Mirror::start(packed.clone(), &[Manner::Cut(300), Manner::Cut(0)]);
        let good = Mirror::start(packed.clone(), &[Manner::Whole]);
        let folder = tempfile::tempdir().expect("a folder");
        let fetched =
            fetch(folder.path(), &file, &[&dead, &empty, &stalling, &good]).expect("the last is good");
        assert_eq!(fetched.downloaded_from, Some(format!("{}x.gz", good.base)));
        assert_eq!(stalling.ranges(), [None, Some("300-".to_owned())]);
        assert_eq!(good.ranges(), [Some("300-".to_owned())], "what one mirror sent counts at the next");
        assert_eq!(fs::read(&fetched.path).expect("there"), packed);
    }

    #[test]
    fn a_damaged_file_of_the_cache_is_replaced() {
        let (packed, file) = published();
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("x.gz"), &packed[..50]).expect("written");
        let mirror = Mirror::start(packed.clone(), &[Manner::Whole]);
        fetch(folder.path(), &file, &[&mirror]).expect("a good mirror");
        assert_eq!(fs::read(folder.path().join("x.gz")).expect("there"), packed);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_cuts_with_progress_give_the_whole_file(cuts in prop::collection::vec(1..6_000_usize, 0..9)) {
            let (packed, file) = published();
            let manners: Vec<_> = cuts.into_iter().map(Manner::Cut).chain([Manner::Whole]).collect();
            let mirror = Mirror::start(packed.clone(), &manners);
            let folder = tempfile::tempdir().expect("a folder");
            let fetched = fetch(folder.path(), &file, &[&mirror]).expect("whole in the end");
            prop_assert_eq!(fs::read(&fetched.path).expect("there"), packed);
        }
    }
}

//! The folder of a report: whole, or not there.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread::available_parallelism;

use super::page::Report;
use super::plot::{RenderError, Renderer};

/// What lies in a folder that a report made, and in no other.
const PAGE: &str = "index.html";
/// How the page begins that this program wrote, so that it may write it again.
const MARK: &str = ".foldwise-report";

/// Why a report was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The folder is no report.
    #[error("{} is there and holds no report", path.display())]
    Foreign {
        /// Which.
        path: PathBuf,
    },
    /// The folder is a report that somebody keeps something in.
    #[error("{} holds a report and `{name}`, which is no part of it", path.display())]
    Mixed {
        /// Which.
        path: PathBuf,
        /// What is in it.
        name: String,
    },
    /// The folder cannot be made or written.
    #[error("failed to write {}: {source}", path.display())]
    Unwritable {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A picture cannot be drawn.
    #[error("failed to draw the picture `{name}`: {source}")]
    Picture {
        /// Which.
        name: String,
        /// Why.
        source: RenderError,
    },
    /// Numbers cannot be written.
    #[error("failed to write the numbers of `{name}`: {source}")]
    Numbers {
        /// Of what.
        name: String,
        /// Why.
        source: csv::Error,
    },
}

/// Whether a folder is a report.
pub fn is_report(folder: &Path) -> bool {
    folder.join(MARK).is_file()
}

/// Whether a report may be written there: it is not there, empty, or an older report and nothing else.
///
/// # Errors
/// [`WriteError::Foreign`], [`WriteError::Mixed`], or it cannot be looked at.
pub fn check(folder: &Path) -> Result<(), WriteError> {
    let unwritable = |source| WriteError::Unwritable { path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory && folder.symlink_metadata().is_ok() => {
            return Err(WriteError::Foreign { path: folder.to_owned() });
        }
        entries => entries.map_err(unwritable)?,
    };
    let entries: Vec<fs::DirEntry> = entries.collect::<Result<_, _>>().map_err(unwritable)?;
    if !entries.is_empty() && !is_report(folder) {
        return Err(WriteError::Foreign { path: folder.to_owned() });
    }
    match entries.iter().find(|entry| !is_part(entry)) {
        None => Ok(()),
        Some(entry) => {
            let name = entry.file_name().to_string_lossy().into_owned();
            Err(WriteError::Mixed { path: folder.to_owned(), name })
        }
    }
}

/// Whether it may be a file of a report.
fn is_part(entry: &fs::DirEntry) -> bool {
    let path = PathBuf::from(entry.file_name());
    let is_picture =
        path.extension().is_some_and(|end| ["svg", "png", "csv"].iter().any(|known| end == *known));
    let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
    is_file && (is_picture || [PAGE, MARK].iter().any(|known| path == Path::new(known)))
}

/// Writes the page, and each picture as SVG, PNG and CSV, into a folder beside; which then takes the place of `folder`.
///
/// # Errors
/// See [`WriteError`]; then `folder` is as it was.
pub fn write(report: &Report, folder: &Path) -> Result<(), WriteError> {
    check(folder)?;
    let (part, old) = (beside(folder, ".part"), beside(folder, ".old"));
    // They are about to be removed, so nothing of somebody else's may be in them.
    check(&part)?;
    check(&old)?;
    let unwritable = |path: &Path| {
        let path = path.to_owned();
        move |source| WriteError::Unwritable { path, source }
    };
    if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(unwritable(parent))?;
    }
    // What an interrupted report left.
    remove(&part).map_err(unwritable(&part))?;
    fs::create_dir(&part).map_err(unwritable(folder))?;
    let written = fill(report, &part).and_then(|()| replace(&part, &old, folder));
    if written.is_err() {
        // Its name says that it is not whole, if it cannot be removed.
        let _ = remove(&part);
    }
    written
}

/// A folder beside, of a name that nobody gives by hand.
fn beside(folder: &Path, end: &str) -> PathBuf {
    // `a/b/` is called b, too.
    let folder: PathBuf = folder.components().collect();
    let mut name = OsString::from(&folder);
    name.push(format!(".foldwise{end}"));
    name.into()
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn replace(part: &Path, old: &Path, folder: &Path) -> Result<(), WriteError> {
    let unwritable = |source| WriteError::Unwritable { path: folder.to_owned(), source };
    remove(old).map_err(unwritable)?;
    match fs::rename(folder, old) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unwritable(error)),
        _ => {}
    }
    if let Err(error) = fs::rename(part, folder) {
        // The older report is better than none.
        let _ = fs::rename(old, folder);
        return Err(unwritable(error));
    }
    // It is whole; what is left of the older one does no harm.
    let _ = remove(old);
    Ok(())
}

fn fill(report: &Report, folder: &Path) -> Result<(), WriteError> {
    let save = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).map_err(|source| WriteError::Unwritable { path, source })
    };
    save(MARK, b"Made by `foldwise report`, which may write this folder again.\n")?;
    for shown in report.tables() {
        let numbers = shown.table.csv();
        let numbers = numbers.map_err(|source| WriteError::Numbers { name: shown.name.clone(), source })?;
        save(&format!("{}.csv", shown.name), &numbers)?;
    }
    let renderer = Renderer::new();
    let pictures: Vec<_> = report.pictures().collect();
    let next = Mutex::new(pictures.into_iter());
    let threads = available_parallelism().map_or(1, usize::from).min(8);
    let draw = || {
        loop {
            // A panic in another thread has its own message.
            let picture = next.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
            let Some(picture) = picture else { return Ok(()) };
            let name = &picture.name;
            let svg = picture.canvas.file();
            save(&format!("{name}.svg"), svg.as_bytes())?;
            let png = renderer.png(&svg);
            save(
                &format!("{name}.png"),
                &png.map_err(|source| WriteError::Picture { name: name.clone(), source })?,
            )?;
            let numbers = picture.table.csv();
            let numbers = numbers.map_err(|source| WriteError::Numbers { name: name.clone(), source })?;
            save(&format!("{name}.csv"), &numbers)?;
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(draw)).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(drawn) => drawn,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    save(PAGE, report.html().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::plot::Canvas;
    use super::super::{Picture, Section, Table};
    use super::*;

    fn report(title: &str) -> Report {
        let mut table = Table::new(&["x"]);
        table.row(["1".into()]);
        let mut section = Section::new("part");
        section.pictures.push(Picture {
            name: "one".into(),
            title: "One".into(),
            caption: String::new(),
            canvas: Canvas::new(20.0, 10.0),
            table,
        });
        Report { title: title.into(), sections: vec![section] }
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_report_takes_the_place_of_an_older_one_and_of_nothing_else() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().join("a/report");
        write(&report("first"), &folder).expect("written");
        assert_eq!(names(&folder), [MARK, "index.html", "one.csv", "one.png", "one.svg"]);
        fs::write(folder.join("stale.svg"), "x").expect("written");
        write(&report("second"), &folder).expect("written again");
        assert!(!folder.join("stale.svg").exists());
        assert!(fs::read_to_string(folder.join(PAGE)).expect("a page").contains("second"));
        assert_eq!(names(&home.path().join("a")), ["report"]);

        fs::write(folder.join("model.json"), "{}").expect("written");
        let error = write(&report("third"), &folder).expect_err("it holds a model");
        assert!(error.to_string().contains("`model.json`, which is no part of it"), "{error}");
        assert!(folder.join("model.json").exists() && folder.join(PAGE).exists());

        let mine = home.path().join("mine");
        fs::create_dir(&mine).expect("made");
        write(&report("x"), &mine).expect("an empty folder may be used");
        fs::remove_file(mine.join(MARK)).expect("removed");
        let error = write(&report("x"), &mine).expect_err("foreign");
        assert!(matches!(error, WriteError::Foreign { .. }), "{error}");
        let file = home.path().join("file");
        fs::write(&file, "x").expect("written");
        assert!(matches!(write(&report("x"), &file), Err(WriteError::Foreign { .. })));
    }

    #[test]
    fn what_somebody_keeps_beside_a_report_stays() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().join("results");
        for beside in ["results.old", "results.part"] {
            fs::create_dir(home.path().join(beside)).expect("made");
            fs::write(home.path().join(beside).join("mine"), "x").expect("written");
        }
        write(&report("first"), &folder).expect("written");
        write(&report("second"), &folder).expect("written again");
        assert_eq!(names(home.path()), ["results", "results.old", "results.part"]);
        assert_eq!(names(&home.path().join("results.old")), ["mine"]);
        for end in [".part", ".old"] {
            let foreign = beside(&folder, end);
            fs::create_dir(&foreign).expect("made");
            fs::write(foreign.join("mine"), "x").expect("written");
            let error = write(&report("x"), &folder).expect_err("foreign");
            assert!(matches!(error, WriteError::Foreign { .. }), "{error}");
            assert!(foreign.join("mine").exists());
            fs::remove_dir_all(foreign).expect("removed");
        }
    }

    #[test]
    fn nothing_is_left_of_a_report_that_cannot_be_written() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().join("report");
        let mut broken = report("x");
        broken.sections[0].pictures[0].canvas.width = 1e9;
        let error = write(&broken, &folder).expect_err("no picture");
        assert!(error.to_string().contains("`one`"), "{error}");
        assert!(names(home.path()).is_empty());
        let sealed = home.path().join("none\0");
        let error = write(&report("x"), &sealed).expect_err("no folder");
        assert!(error.to_string().starts_with("failed to write "), "{error}");
        fs::write(home.path().join("file"), "x").expect("written");
        assert!(write(&report("x"), &home.path().join("file/report")).is_err());
    }
}

use sha2::{Digest, Sha256};

use super::*;
use crate::store::Store;

struct Place {
    _folder: tempfile::TempDir,
    _store: Store,
    artifacts: Arc<Artifacts>,
}

fn place(limit: Option<u64>) -> Place {
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("a.db");
    let store = Store::open(&database).expect("a database");
    let artifacts = Arc::new(Artifacts::of(&database, limit));
    Place { _folder: folder, _store: store, artifacts }
}

fn digest(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Place {
    fn put(&self, digest: &str, content: &[u8]) -> Result<Arrived, ArtifactError> {
        let mut incoming = self.artifacts.receive(digest, content.len() as u64)?;
        for piece in content.chunks(3) {
            incoming.write(piece)?;
        }
        incoming.finish()
    }

    fn names(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.artifacts.folder()) else { return Vec::new() };
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect()
    }
}

#[test]
fn a_file_is_there_whole_under_its_digest() {
    let place = place(None);
    let name = digest(b"content");
    let arrived = place.put(&name, b"content").expect("stored");
    assert_eq!(place.names(), std::slice::from_ref(&name));
    assert!(place.artifacts.folder().ends_with("a.db.artifacts"));
    let (mut file, length) = place.artifacts.open(&name).expect("there");
    let mut content = Vec::new();
    std::io::Read::read_to_end(&mut file, &mut content).expect("read");
    assert_eq!((content.as_slice(), length), (&b"content"[..], 7));
    // Once more is no mistake, and mends what somebody spoiled.
    fs::write(place.artifacts.folder().join(&name), "other").expect("written");
    drop(place.put(&name, b"content").expect("stored"));
    assert_eq!(fs::read(place.artifacts.folder().join(&name)).expect("read"), b"content");
    drop(arrived);
    assert_eq!(place.names(), [name]);
}

#[test]
fn what_is_not_what_was_said_leaves_nothing() {
    let place = place(Some(10));
    let error = place.put(&digest(b"other"), b"content").expect_err("another digest");
    assert!(matches!(error, ArtifactError::Digest { .. }), "{error}");
    let error = place.put(&digest(b"12345678901"), b"12345678901").expect_err("too long");
    assert!(error.to_string().contains("11 bytes; at most 10"), "{error}");
    let mut incoming = place.artifacts.receive(&digest(b"content"), 7).expect("begun");
    incoming.write(b"con").expect("written");
    assert_eq!(place.names().len(), 1, "a temporary file");
    drop(incoming);
    assert_eq!(place.names(), [""; 0]);
    assert!(place.artifacts.busy().is_empty());
}

#[test]
fn no_name_leads_out_of_the_folder() {
    let place = place(None);
    for name in ["", "..", "../a.db", "/etc/passwd", &format!("../{}", "a".repeat(61)), &"A".repeat(64)] {
        assert!(matches!(place.artifacts.receive(name, 1), Err(ArtifactError::NoDigest)), "{name}");
        assert!(matches!(place.artifacts.open(name), Err(ArtifactError::NoDigest)), "{name}");
    }
    // Neither does a link.
    fs::create_dir(place.artifacts.folder()).expect("a folder");
    let secret = place.artifacts.folder().with_file_name("secret");
    fs::write(&secret, "secret").expect("written");
    let name = digest(b"content");
    std::os::unix::fs::symlink(&secret, place.artifacts.folder().join(&name)).expect("a link");
    assert!(matches!(place.artifacts.open(&name), Err(ArtifactError::Unreadable { .. })));
    drop(place.put(&name, b"content").expect("stored in its place"));
    assert_eq!(fs::read(&secret).expect("read"), b"secret");
    assert!(place.artifacts.open(&name).is_ok());
    fs::remove_file(place.artifacts.folder().join(&name)).expect("removed");
    fs::create_dir(place.artifacts.folder().join(&name)).expect("a folder");
    assert!(matches!(place.artifacts.open(&name), Err(ArtifactError::Unreadable { .. })));
}

#[test]
fn what_nothing_refers_to_goes_but_not_while_it_comes() {
    let place = place(None);
    let name = digest(b"content");
    let arrived = place.put(&name, b"content").expect("stored");
    place.artifacts.tidy(std::slice::from_ref(&name));
    assert_eq!(place.names(), std::slice::from_ref(&name), "its answer is on its way");
    arrived.withdraw();
    assert_eq!(place.names(), [""; 0]);
    place.artifacts.tidy(&[name]);
}

#[test]
fn a_start_sweeps_what_was_left() {
    let place = place(None);
    let (name, coming) = (digest(b"content"), digest(b"coming"));
    drop(place.put(&name, b"content").expect("stored"));
    let folder = place.artifacts.folder().to_owned();
    fs::write(folder.join(format!("{name}{PART}1")), "cont").expect("written");
    fs::write(folder.join("notes.txt"), "mine").expect("written");
    let incoming = place.artifacts.receive(&coming, 6).expect("begun");
    drop(Janitor::start(Arc::clone(&place.artifacts)).expect("a thread"));
    let mut names = place.names();
    names.sort();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names[0].starts_with(&coming) || names[1].starts_with(&coming), "{names:?}");
    assert!(names.contains(&"notes.txt".to_owned()), "{names:?}");
    drop(incoming);
}

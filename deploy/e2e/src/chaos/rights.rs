//! What needs the rights of an administrator: a network of a worker's own, and a disk small enough to fill.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Runs a command of the system; what it says is the error.
fn system(program: &str, words: &str) -> Result<(), String> {
    let output = Command::new(program)
        .args(words.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().next().unwrap_or_default().trim_end_matches('.');
    Err(format!("`{program} {words}` says: {first}"))
}

/// A network namespace that is joined to ours by a pair of interfaces; gone on drop.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    outer: String,
    address: IpAddr,
}

impl Namespace {
    /// Makes one, named for this process.
    ///
    /// # Errors
    /// What the system says; most often that this takes other rights.
    pub fn create() -> Result<Self, String> {
        let id = std::process::id();
        let (name, outer, inner) = (format!("foldwise-{id}"), format!("fwo{id}"), format!("fwi{id}"));
        // A net of four addresses out of the range for benchmarks (RFC 2544), chosen by our id.
        let third = ((id >> 6) & 0xff) as u8;
        let fourth = ((id & 0x3f) << 2) as u8;
        let address = |last: u8| Ipv4Addr::new(198, 18, third, fourth + last);
        system("ip", &format!("netns add {name}"))?;
        // From here on the drop takes back what there is.
        let namespace = Self { name, outer, address: address(1).into() };
        let Self { name, outer, .. } = &namespace;
        for words in [
            format!("link add {outer} type veth peer name {inner} netns {name}"),
            format!("addr add {}/30 dev {outer}", address(1)),
            format!("link set {outer} up"),
            format!("-n {name} addr add {}/30 dev {inner}", address(2)),
            format!("-n {name} link set {inner} up"),
            format!("-n {name} link set lo up"),
        ] {
            system("ip", &words)?;
        }
        Ok(namespace)
    }

    /// Our own address, as seen from inside.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Takes the link down or up.
    ///
    /// # Errors
    /// What the system says.
    pub fn link(&self, up: bool) -> Result<(), String> {
        system("ip", &format!("link set {} {}", self.outer, if up { "up" } else { "down" }))
    }

    /// The same command inside of it.
    pub fn wrap(&self, command: &Command) -> Command {
        let mut wrapped = Command::new("ip");
        wrapped.args(["netns", "exec", &self.name]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            wrapped.current_dir(folder);
        }
        wrapped
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The interfaces go with either of them; nothing can be done about what fails.
        let _ = system("ip", &format!("link del {}", self.outer));
        let _ = system("ip", &format!("netns del {}", self.name));
    }
}

/// A small disk mounted on a folder; gone on drop.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts one of so many megabytes on a folder.
    ///
    /// # Errors
    /// What the system says; most often that this takes other rights.
    pub fn mount(folder: &Path, megabytes: u32) -> Result<Self, String> {
        system("mount", &format!("-t tmpfs -o size={megabytes}m,mode=0755 foldwise {}", folder.display()))?;
        Ok(Self { folder: folder.to_owned() })
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }

    /// Fills it to the last byte; gives the bytes that were free.
    ///
    /// # Errors
    /// Anything but that it is full.
    pub fn fill(&self) -> io::Result<u64> {
        let mut file = File::create(self.ballast())?;
        let mut written = 0;
        for size in [1 << 20, 4096, 1] {
            let chunk = vec![0xa5; size];
            loop {
                match file.write(&chunk) {
                    Ok(0) => break,
                    Ok(count) => written += count as u64,
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(written)
    }

    /// Makes room again.
    ///
    /// # Errors
    /// What the system says.
    pub fn free(&self) -> io::Result<()> {
        match fs::remove_file(self.ballast()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Brings the files of its folder to another one, for somebody to look at.
    ///
    /// # Errors
    /// What the system says.
    pub fn save(&self, to: &Path) -> io::Result<()> {
        self.free()?;
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                fs::copy(entry.path(), to.join(entry.file_name()))?;
            }
        }
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let folder = self.folder.display();
        if system("umount", &folder.to_string()).is_err() {
            // Somebody still looks at it: it goes when they do.
            let _ = system("umount", &format!("-l {folder}"));
        }
    }
}

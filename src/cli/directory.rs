//! The directory that quickstart makes and `client add` works in: its files, their names and modes.
//!
//! A file is never overwritten, and one with a secret never exists with a mode that lets others
//! read it, nor half written.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// An existing directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    path: PathBuf,
}

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// The owner only: keys, and what holds a key.
    Owner,
    /// Whoever may enter the directory.
    All,
}

/// What can go wrong with the directory.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The system refused.
    #[error("{}: {doing} failed: {source}", path.display())]
    System {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Quickstart does not scatter files among others.
    #[error("{} holds other things and was not made by quickstart: name an empty or new directory", .0.display())]
    Foreign(PathBuf),
    /// There is nothing that `client add` could add to.
    #[error("{} was not made by `ringway quickstart` (it has no {CA_CERTIFICATE}): name that directory with --directory", .0.display())]
    NotOurs(PathBuf),
}

impl Directory {
    /// Makes the directory, mode 0700, or takes one that is empty or was made by quickstart.
    ///
    /// # Errors
    /// It can't be made or read, or holds other things.
    pub fn make(path: &Path) -> Result<Self, DirectoryError> {
        let directory = Self {
            path: path.to_owned(),
        };
        match DirBuilder::new().mode(0o700).recursive(true).create(path) {
            Ok(()) => {}
            Err(source) => return Err(system(path, "making it", source)),
        }
        let mut entries =
            fs::read_dir(path).map_err(|source| system(path, "listing it", source))?;
        let ours = [CA_KEY, CA_CERTIFICATE]
            .iter()
            .any(|name| directory.has(name));
        if ours || entries.next().is_none() {
            Ok(directory)
        } else {
            Err(DirectoryError::Foreign(path.to_owned()))
        }
    }

    /// Takes a directory that quickstart made.
    ///
    /// # Errors
    /// It was not.
    pub fn open(path: &Path) -> Result<Self, DirectoryError> {
        let directory = Self {
            path: path.to_owned(),
        };
        if directory.has(CA_CERTIFICATE) {
            Ok(directory)
        } else {
            Err(DirectoryError::NotOurs(path.to_owned()))
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a file of it is.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether a file is there.
    pub fn has(&self, name: &str) -> bool {
        self.file(name).symlink_metadata().is_ok()
    }

    /// The text of a file.
    ///
    /// # Errors
    /// It can't be read.
    pub fn read(&self, name: &str) -> Result<Zeroizing<String>, DirectoryError> {
        let path = self.file(name);
        fs::read_to_string(&path)
            .map(Zeroizing::new)
            .map_err(|source| system(&path, "reading it", source))
    }

    /// Writes a file that is not there yet; it appears whole or not at all.
    ///
    /// # Errors
    /// It is there, or the system refuses.
    pub fn write(&self, name: &str, readers: Readers, text: &str) -> Result<(), DirectoryError> {
        let path = self.file(name);
        let unfinished = self.file(&format!("{name}{UNFINISHED}"));
        let written = write_new(&unfinished, readers, text)
            // Unlike a renaming, a link fails when the name is taken.
            .and_then(|()| fs::hard_link(&unfinished, &path));
        let _gone_already = fs::remove_file(&unfinished);
        written.map_err(|source| system(&path, "writing it", source))
    }

    /// Makes a directory inside, mode 0700, unless it is there.
    ///
    /// # Errors
    /// The system refuses.
    pub fn make_inside(&self, name: &str) -> Result<(), DirectoryError> {
        let path = self.file(name);
        DirBuilder::new()
            .mode(0o700)
            .recursive(true)
            .create(&path)
            .map_err(|source| system(&path, "making it", source))
    }
}

fn write_new(path: &Path, readers: Readers, text: &str) -> io::Result<()> {
    // What an interrupted run left behind is nobody's.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mode = match readers {
        Readers::Owner => 0o600,
        Readers::All => 0o644,
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn system(path: &Path, doing: &'static str, source: io::Error) -> DirectoryError {
    DirectoryError::System {
        path: path.to_owned(),
        doing,
        source,
    }
}

/// Where quickstart works unless it is told otherwise.
pub const DEFAULT_DIRECTORY: &str = "./ringway-quickstart";

/// The authority's private key.
pub const CA_KEY: &str = "ca.key";
/// The authority's certificate.
pub const CA_CERTIFICATE: &str = "ca.crt";
/// The server's private key.
pub const SERVER_KEY: &str = "server.key";
/// The server's certificate.
pub const SERVER_CERTIFICATE: &str = "server.crt";
/// The key that wraps the control channel.
pub const TLS_CRYPT_KEY: &str = "tls-crypt.key";
/// The server's configuration.
pub const SERVER_CONFIGURATION: &str = "server.conf";
/// What every client's configuration begins with; the administrator's to edit.
pub const CLIENT_TEMPLATE: &str = "client-template.ovpn";
/// The first client's configuration.
pub const FIRST_CLIENT: &str = "client.ovpn";
/// The directory of the certificates that were issued to clients, without keys.
pub const ISSUED: &str = "clients";

const UNFINISHED: &str = ".unfinished";

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_new_directory_and_its_secrets_are_the_owners_alone() {
        let parent = tempfile::tempdir().unwrap();
        let directory = Directory::make(&parent.path().join("a/b")).unwrap();
        directory.write(CA_KEY, Readers::Owner, "secret").unwrap();
        directory
            .write(CA_CERTIFICATE, Readers::All, "public")
            .unwrap();
        directory.make_inside(ISSUED).unwrap();
        assert_eq!(mode(directory.path()), 0o700);
        assert_eq!(mode(&directory.file(ISSUED)), 0o700);
        assert_eq!(mode(&directory.file(CA_KEY)), 0o600);
        assert_eq!(mode(&directory.file(CA_CERTIFICATE)), 0o644);
        assert_eq!(directory.read(CA_KEY).unwrap().as_str(), "secret");
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_unfinished_stays() {
        let parent = tempfile::tempdir().unwrap();
        let directory = Directory::make(parent.path()).unwrap();
        fs::write(directory.file("ca.key.unfinished"), "half").unwrap();
        directory.write(CA_KEY, Readers::Owner, "first").unwrap();
        let again = directory.write(CA_KEY, Readers::Owner, "second");
        assert!(
            matches!(&again, Err(DirectoryError::System { source, .. })
                if source.kind() == io::ErrorKind::AlreadyExists),
            "{again:?}"
        );
        assert_eq!(directory.read(CA_KEY).unwrap().as_str(), "first");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_of_somebody_else_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("letter.txt"), "dear").unwrap();
        assert!(matches!(
            Directory::make(parent.path()),
            Err(DirectoryError::Foreign(_))
        ));
        assert!(matches!(
            Directory::open(parent.path()),
            Err(DirectoryError::NotOurs(_))
        ));
        fs::write(parent.path().join(CA_CERTIFICATE), "").unwrap();
        assert!(Directory::make(parent.path()).is_ok());
        assert!(Directory::open(parent.path()).is_ok());
    }
}

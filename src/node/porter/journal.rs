//! Who is at the other end of a passed connection, for the web server, which sees our address: a file for
//! each, named as our end of the connection to it, with the client's address in it.
//!
//! Wire: names and content as of 2.6. The directory is held open, so that it is still there after `chroot`;
//! nobody else may read the files.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, open, openat, unlinkat};
use rustix::io::Errno;

use crate::node::event::FamilyAddress;

/// The directory.
#[derive(Debug)]
pub(super) struct Journal {
    directory: OwnedFd,
}

impl Journal {
    /// Opens the directory.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let directory = open(path, flags, Mode::empty())?;
        Ok(Self { directory })
    }

    /// Says who is behind a connection from our address `own`; the name of the file.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn write(&self, own: SocketAddr, client: SocketAddr) -> io::Result<String> {
        let name = FamilyAddress(own).to_string();
        let file = match self.create(&name) {
            // Of a process that was killed: no other connection can have our address now.
            Err(Errno::EXIST) => {
                unlinkat(&self.directory, &name, AtFlags::empty())?;
                self.create(&name)?
            }
            created => created?,
        };
        let written = File::from(file).write_all(FamilyAddress(client).to_string().as_bytes());
        if let Err(error) = written {
            self.remove(&name);
            return Err(error);
        }
        Ok(name)
    }

    fn create(&self, name: &str) -> Result<OwnedFd, Errno> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        openat(&self.directory, name, flags, Mode::RUSR | Mode::WUSR)
    }

    /// The connection is over.
    pub(super) fn remove(&self, name: &str) {
        // Whoever has removed it before is welcome.
        let _gone = unlinkat(&self.directory, name, AtFlags::empty());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    #[test]
    fn a_file_says_who_it_is_until_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::open(directory.path()).unwrap();
        let [own, client] = ["127.0.0.1:4711", "[2001:db8::7]:1"].map(|it| it.parse().unwrap());
        let name = journal.write(own, client).unwrap();
        assert_eq!(name, "[AF_INET]127.0.0.1:4711");
        let path = directory.path().join(&name);
        assert_eq!(std::fs::read(&path).unwrap(), b"[AF_INET6]2001:db8::7:1");
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
        journal.remove(&name);
        assert!(!path.exists());
    }

    /// A stale file goes; what a link leads to is neither written nor removed.
    #[test]
    fn what_stands_in_its_place_is_removed_and_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let (other, journal) = (directory.path().join("other"), directory.path().join("ps"));
        std::fs::create_dir(&journal).unwrap();
        std::fs::write(&other, "as it was").unwrap();
        symlink(&other, journal.join("[AF_INET]127.0.0.1:4711")).unwrap();
        let journal = Journal::open(&journal).unwrap();
        let [own, client] = ["127.0.0.1:4711", "192.0.2.7:1"].map(|it| it.parse().unwrap());
        for _ in 0..2 {
            journal.write(own, client).unwrap();
            let written = std::fs::read(directory.path().join("ps/[AF_INET]127.0.0.1:4711"));
            assert_eq!(written.unwrap(), b"[AF_INET]192.0.2.7:1");
            assert_eq!(std::fs::read(&other).unwrap(), b"as it was");
        }
    }

    #[test]
    fn a_journal_is_a_directory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(Journal::open(file.path()).is_err());
    }
}

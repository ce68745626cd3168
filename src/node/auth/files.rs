//! The files by which a script and the server talk: made for one login, for this user alone, and gone with
//! it.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::limits::SCRIPT_FILE_MAX;
use crate::random::{Random, SystemRandom};

/// A file that goes with this.
#[derive(Debug)]
pub(super) struct TemporaryFile {
    path: PathBuf,
}

impl TemporaryFile {
    /// A new file with this in it, named as stock names one of that kind.
    ///
    /// # Errors
    /// The directory does not take it.
    pub(super) fn create(directory: &Path, kind: &str, content: &[u8]) -> io::Result<Self> {
        let mut random = [0; 16];
        SystemRandom.fill(&mut random);
        let unique: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = directory.join(format!("openvpn_{kind}_{unique}.tmp"));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let created = Self { path };
        file.write_all(content)?;
        Ok(created)
    }

    /// Its name, for a script.
    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Whether nothing is written yet: a question that costs less than reading.
    pub(super) fn is_empty(&self) -> bool {
        std::fs::metadata(&self.path).map_or(true, |file| file.len() == 0)
    }

    /// What a script has written, as far as anybody reads it.
    pub(super) fn read(&self) -> String {
        self.read_up_to(SCRIPT_FILE_MAX)
    }

    /// So many bytes of what a script has written.
    pub(super) fn read_up_to(&self, bytes: u64) -> String {
        let mut content = Vec::new();
        // Who may not be read has written nothing.
        if let Ok(file) = OpenOptions::new().read(true).open(&self.path) {
            let _read = file.take(bytes).read_to_end(&mut content);
        }
        String::from_utf8_lossy(&content).into_owned()
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _gone_already = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_for_its_user_alone_and_gone_with_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let file = TemporaryFile::create(directory.path(), "up", b"anna\n").unwrap();
        let path = PathBuf::from(file.name());
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(
            name.starts_with("openvpn_up_") && name.ends_with(".tmp"),
            "{name}"
        );
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(file.read(), "anna\n");
        drop(file);
        assert!(!path.exists());
        assert!(TemporaryFile::create(Path::new("/absent"), "up", b"").is_err());
    }
}

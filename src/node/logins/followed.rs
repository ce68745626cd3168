//! A file that is read again when it has changed. What can't be read then leaves what was read before.

use std::fmt::Display;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use crate::limits::USER_FILE_MAX;

/// The file, and what was read of it last.
pub struct Followed<T> {
    path: PathBuf,
    parse: Parse<T>,
    state: Mutex<State<T>>,
    /// Hears of a file that can't be read any more, once for each time that it changes.
    complain: Box<dyn Fn(String) + Send + Sync>,
}

/// How its text is read.
type Parse<T> = Box<dyn Fn(&str) -> Result<T, String> + Send + Sync>;

struct State<T> {
    stamp: Stamp,
    content: Arc<T>,
}

/// By which a file is known to be another: device, inode, length, and when it was written, with nanoseconds.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

impl<T: 'static> Followed<T> {
    /// Reads it for the first time.
    ///
    /// # Errors
    /// It can't be read, or says what it may not.
    pub fn read<E: Display + 'static>(
        path: &Path,
        parse: fn(&str) -> Result<T, E>,
    ) -> Result<Self, String> {
        let parse: Parse<T> = Box::new(move |text| parse(text).map_err(|error| error.to_string()));
        let stamp = stamp(path);
        let content = Arc::new(content(path, &parse)?);
        Ok(Self {
            path: path.to_owned(),
            parse,
            state: Mutex::new(State { stamp, content }),
            complain: Box::new(|_| {}),
        })
    }

    /// The same file; `complain` hears why it can't be read again.
    #[must_use]
    pub fn heard_by(self, complain: impl Fn(String) + Send + Sync + 'static) -> Self {
        let complain = Box::new(complain);
        Self { complain, ..self }
    }

    /// What it says now. Reads it, if it has changed: not for a shard.
    pub fn now(&self) -> Arc<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamp(&self.path);
        if stamp != state.stamp {
            state.stamp = stamp;
            match content(&self.path, &self.parse) {
                Ok(content) => state.content = Arc::new(content),
                Err(why) => (self.complain)(format!("{why}; what it said before still holds")),
            }
        }
        Arc::clone(&state.content)
    }
}

fn stamp(path: &Path) -> Stamp {
    let about = fs::metadata(path).ok()?;
    let (seconds, nanoseconds) = (about.mtime(), about.mtime_nsec());
    Some((about.dev(), about.ino(), about.len(), seconds, nanoseconds))
}

fn content<T>(path: &Path, parse: &Parse<T>) -> Result<T, String> {
    let failed = |why: String| format!("'{}': {why}", path.display());
    let length = fs::metadata(path).map_err(|error| failed(error.to_string()))?;
    if length.len() > USER_FILE_MAX {
        return Err(failed(format!("it has more than {USER_FILE_MAX} bytes")));
    }
    let text = fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|error| failed(error.to_string()))?;
    parse(&text).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn number(text: &str) -> Result<u32, String> {
        text.trim().parse().map_err(|_| "no number".to_owned())
    }

    #[test]
    fn a_file_that_changes_is_read_again_and_a_bad_one_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("number");
        let missing = Followed::read(&path, number).err();
        assert!(missing.is_some_and(|why| why.contains("number'")));
        fs::write(&path, "1").unwrap();
        let (say, said) = mpsc::channel();
        let say = Mutex::new(say);
        let file = Followed::read(&path, number).unwrap().heard_by(move |why| {
            say.lock().unwrap().send(why).unwrap();
        });
        assert_eq!(*file.now(), 1);
        let replace = |text: &str| {
            let new = directory.path().join("new");
            fs::write(&new, text).unwrap();
            fs::rename(&new, &path).unwrap();
        };
        replace("22");
        assert_eq!(*file.now(), 22);
        replace("many");
        assert_eq!((*file.now(), *file.now()), (22, 22));
        let complaints: Vec<_> = said.try_iter().collect();
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        assert!(complaints[0].contains("no number"), "{complaints:?}");
        fs::remove_file(&path).unwrap();
        assert_eq!(*file.now(), 22);
        replace("3");
        assert_eq!(*file.now(), 3);
    }
}

//! Names and hashes of passwords in a file, a line each: `anna:$argon2id$v=19$m=19456,t=2,p=1$...`.
//!
//! Lines that begin with `#` and empty ones are kept and mean nothing. The hash is a PHC string of
//! Argon2id, as other tools write it too; `ringway passwd` writes such a file.

use std::collections::HashMap;

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};

use crate::random::Random;

/// Names with the hashes of their passwords.
pub struct PasswordFile {
    hashes: HashMap<String, String>,
}

/// What is wrong with the file, and on which line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct PasswordFileError {
    /// From 1.
    pub line: usize,
    problem: Problem,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("there is no colon: write `name:hash`, as `ringway passwd` does")]
    Form,
    #[error("the name is empty or has characters that a name can't have")]
    Name,
    #[error("there is a line with this name before")]
    Twice,
    #[error("behind the colon stands no hash of Argon2id: `ringway passwd` makes one")]
    Hash,
}

impl PasswordFile {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// The first line that is none.
    pub fn parse(text: &str) -> Result<Self, PasswordFileError> {
        let mut hashes = HashMap::new();
        for (line, name, hash) in entries(text) {
            let failed = |problem| PasswordFileError { line, problem };
            let name = name.ok_or_else(|| failed(Problem::Form))?;
            if !is_name(name) {
                return Err(failed(Problem::Name));
            }
            let parsed = PasswordHash::new(hash).map_err(|_| failed(Problem::Hash))?;
            if parsed.algorithm != argon2::ARGON2ID_IDENT || parsed.hash.is_none() {
                return Err(failed(Problem::Hash));
            }
            if hashes.insert(name.to_owned(), hash.to_owned()).is_some() {
                return Err(failed(Problem::Twice));
            }
        }
        Ok(Self { hashes })
    }

    /// Whether this is the password of that name. It takes as long for a name that nobody has as with a hash of
    /// `ringway passwd`; those of other tools may take another time.
    pub fn verify(&self, name: &str, password: &str) -> bool {
        let known = self.hashes.get(name);
        let hash = known.map_or(NOBODY, String::as_str);
        let Ok(hash) = PasswordHash::new(hash) else {
            return false;
        };
        let right = Argon2::default().verify_password(password.as_bytes(), &hash);
        right.is_ok() && known.is_some()
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether nobody can log in.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }
}

impl std::fmt::Debug for PasswordFile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "PasswordFile({} names)", self.hashes.len())
    }
}

/// The hash of a password, with a new salt.
pub fn hash(password: &str, random: &mut dyn Random) -> String {
    let mut salt = [0; 16];
    random.fill(&mut salt);
    let salt = SaltString::encode_b64(&salt);
    let hash = salt.and_then(|salt| {
        let hash = Argon2::default().hash_password(password.as_bytes(), &salt)?;
        Ok(hash.to_string())
    });
    // The salt has the length that is recommended, and a password any length up to 4 GB.
    hash.unwrap_or_default()
}

/// The text of a file with this hash for that name, in the place of the one before or at the end.
///
/// # Errors
/// A name that can't stand in the file.
pub fn with(text: &str, name: &str, hash: &str) -> Result<String, PasswordFileError> {
    if !is_name(name) {
        let (line, problem) = (text.lines().count() + 1, Problem::Name);
        return Err(PasswordFileError { line, problem });
    }
    let row = format!("{name}:{hash}");
    let mut found = false;
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines() {
        if name_of(line) == Some(name) {
            if !found {
                lines.push(&row);
            }
            found = true;
        } else {
            lines.push(line);
        }
    }
    if !found {
        lines.push(&row);
    }
    Ok(lines.join("\n") + "\n")
}

/// The text of a file without this name; `None` if it is not there.
pub fn removed(text: &str, name: &str) -> Option<String> {
    let others = text.lines().filter(|line| name_of(line) != Some(name));
    let others: Vec<&str> = others.collect();
    let gone = others.len() < text.lines().count();
    gone.then(|| others.iter().map(|line| format!("{line}\n")).collect())
}

/// The lines that mean something: number, name (`None` without a colon) and what stands behind it.
pub(super) fn entries(text: &str) -> impl Iterator<Item = (usize, Option<&str>, &str)> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    let lines = lines.filter(|(_, line)| !line.starts_with('#') && !line.trim().is_empty());
    lines.map(|(number, line)| match line.split_once(':') {
        Some((name, hash)) => (number, Some(name), hash.trim()),
        None => (number, None, ""),
    })
}

fn name_of(line: &str) -> Option<&str> {
    entries(line).next()?.1
}

/// Names as clients send them: their characters are made harmless before they come here.
pub(super) fn is_name(name: &str) -> bool {
    let harmless = |it: char| !it.is_control() && it != ':';
    !name.is_empty() && !name.starts_with('#') && name.chars().all(harmless)
}

/// A hash that no password has, of the same cost: a name that is not there takes as long.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGlzIGhlcmU$\
                      AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    fn anna() -> String {
        hash("sesame", &mut SystemRandom)
    }

    #[test]
    fn the_right_password_of_the_right_name_is_known() {
        let text = format!("# people\n\nanna:{}\n", anna());
        let file = PasswordFile::parse(&text).unwrap();
        assert!(file.verify("anna", "sesame"));
        for (name, password) in [
            ("anna", "Sesame"),
            ("anna", ""),
            ("bert", "sesame"),
            ("", ""),
        ] {
            assert!(!file.verify(name, password), "{name} {password}");
        }
        assert_eq!((file.len(), file.is_empty()), (1, false));
        assert!(!format!("{file:?}").contains("argon2"));
    }

    #[test]
    fn a_name_that_is_not_there_costs_as_much() {
        let nobody = PasswordHash::new(NOBODY).unwrap();
        let anna = anna();
        let anna = PasswordHash::new(&anna).unwrap();
        assert_eq!(nobody.params, anna.params);
        assert_eq!(nobody.version, anna.version);
        assert_eq!(
            nobody.hash.unwrap().len(),
            anna.hash.unwrap().len(),
            "as long"
        );
    }

    /// As the reference implementation's tool writes it:
    /// `echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1 -e`.
    #[test]
    fn a_hash_of_another_tool_is_taken() {
        let text = "bert:$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$\
                    CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let file = PasswordFile::parse(text).unwrap();
        assert!(file.verify("bert", "password"));
        assert!(!file.verify("bert", "passwort"));
    }

    #[test]
    fn salts_differ() {
        assert_ne!(anna(), anna());
    }

    #[test]
    fn names_are_added_changed_and_removed() {
        let first = with("# people\n", "anna", "A").unwrap();
        assert_eq!(first, "# people\nanna:A\n");
        let second = with(&first, "bert", "B").unwrap();
        let second = with(&second, "anna", "C").unwrap();
        assert_eq!(second, "# people\nanna:C\nbert:B\n");
        assert_eq!(removed(&second, "anna").unwrap(), "# people\nbert:B\n");
        assert_eq!(removed(&second, "carl"), None);
        for name in ["", "a:b", "a\nb", "#a"] {
            assert!(with("", name, "A").is_err(), "{name:?}");
        }
    }

    #[test]
    fn each_slip_is_told_with_its_line() {
        let said = |text: &str| PasswordFile::parse(text).unwrap_err().to_string();
        let anna = anna();
        for (text, words) in [
            ("anna", "line 1: there is no colon"),
            ("\n:x", "line 2: the name is empty"),
            ("anna:sesame", "line 1: behind the colon stands no hash"),
            (
                "anna:$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$\
                 CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
                "line 1: behind the colon stands no hash of Argon2id",
            ),
            (
                &format!("anna:{anna}\nanna:{anna}"),
                "line 2: there is a line with this name before",
            ),
        ] {
            assert!(said(text).starts_with(words), "{}", said(text));
        }
    }
}

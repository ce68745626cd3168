//! `ringway client add NAME`: a certificate, and a self-contained configuration to hand over.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;

use jiff::civil::Date;
use zeroize::Zeroizing;

use super::directory::{
    CA_CERTIFICATE, CLIENT_TEMPLATE, DEFAULT_DIRECTORY, Directory, ISSUED, Readers, TLS_CRYPT_KEY,
};
use super::pki::{Authority, PkiError, Purpose, day};
use crate::limits::COMMON_NAME_MAX;
use crate::random::{Random, SystemRandom};
use crate::time::Now;

/// `ringway client ...`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Subcommand)]
pub enum ClientCommand {
    /// Issue a certificate and write NAME.ovpn, all that this client needs.
    Add {
        /// The client's name, which becomes the certificate's common name.
        name: String,
        /// The directory that quickstart made.
        #[arg(long, value_name = "D", default_value = DEFAULT_DIRECTORY)]
        directory: PathBuf,
    },
}

/// A name that may stand in a certificate, a file name, a log line and a status file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientName(String);

/// Why a name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing.
    #[error("a client needs a name")]
    Empty,
    /// Longer than a common name may be.
    #[error("a client's name has at most {COMMON_NAME_MAX} bytes")]
    TooLong,
    /// A character that means something to a shell, a path or a list.
    #[error("a client's name can't contain {0:?}")]
    Character(char),
    /// A file name that hides, or looks like an option.
    #[error("a client's name can't begin with {0:?}")]
    Beginning(char),
    /// A name that nobody could type again.
    #[error("a client's name can't begin or end with a blank")]
    Blank,
}

/// Why no client was added.
#[derive(Debug, thiserror::Error)]
pub enum AddClientError {
    /// Its name won't do.
    #[error(transparent)]
    Name(#[from] NameError),
    /// There is one.
    #[error("there is a client of that name already: {} is there", .0.display())]
    Exists(PathBuf),
    /// Keys or files failed.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The account of it could not be printed.
    #[error("printing failed: {0}")]
    Output(#[from] io::Error),
}

/// Does what the command says, and says what to do with the result.
///
/// # Errors
/// The name won't do or is taken, or keys or files failed.
pub fn run(command: &ClientCommand) -> Result<(), AddClientError> {
    let ClientCommand::Add { name, directory } = command;
    let name = ClientName::new(name)?;
    let directory = Directory::open(directory).map_err(PkiError::from)?;
    let today = day(Now::read().unix);
    let file = add_client(&directory, &name, today, &mut SystemRandom)?;
    writeln!(
        io::stdout(),
        "{} holds the private key of {}: copy it with scp, then on the client, as root:\n\
         \n    openvpn --config {}\n",
        file.display(),
        name.as_str(),
        shell_word(&file.file_name().unwrap_or_default().to_string_lossy()),
    )?;
    Ok(())
}

impl ClientName {
    /// Checks a name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(name: &str) -> Result<Self, NameError> {
        let first = name.chars().next().ok_or(NameError::Empty)?;
        if name.len() > COMMON_NAME_MAX {
            return Err(NameError::TooLong);
        }
        if name.trim() != name {
            return Err(NameError::Blank);
        }
        if let Some(bad) = name.chars().find(|&character| is_forbidden(character)) {
            return Err(NameError::Character(bad));
        }
        if matches!(first, '.' | '-') {
            return Err(NameError::Beginning(first));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Issues a certificate to `name` and writes its configuration beside the others.
///
/// # Errors
/// The client exists, or keys or files failed.
pub fn add_client(
    directory: &Directory,
    name: &ClientName,
    today: Date,
    random: &mut dyn Random,
) -> Result<PathBuf, AddClientError> {
    let file = format!("{}.ovpn", name.as_str());
    for taken in [record(name), file.clone()] {
        if directory.has(&taken) {
            return Err(AddClientError::Exists(directory.file(&taken)));
        }
    }
    issue_client(directory, name, &file, today, random)?;
    Ok(directory.file(&file))
}

/// Issues a certificate to `name`, writes its configuration to `file`, and keeps a record.
pub(super) fn issue_client(
    directory: &Directory,
    name: &ClientName,
    file: &str,
    today: Date,
    random: &mut dyn Random,
) -> Result<(), PkiError> {
    let authority = Authority::of(directory, today, random)?;
    let issued = authority.issue(name.as_str(), Purpose::Client, today, random)?;
    let text = configuration(directory, name, &issued.certificate, &issued.key)?;
    directory.write(file, Readers::Owner, &text)?;
    directory.make_inside(ISSUED)?;
    directory.write(&record(name), Readers::All, &issued.certificate)?;
    Ok(())
}

/// The certificate's copy, which says that the name is taken even after its configuration was
/// handed over and removed.
pub(super) fn record(name: &ClientName) -> String {
    format!("{ISSUED}/{}.crt", name.as_str())
}

fn configuration(
    directory: &Directory,
    name: &ClientName,
    certificate: &str,
    key: &str,
) -> Result<Zeroizing<String>, PkiError> {
    let template = directory.read(CLIENT_TEMPLATE)?;
    let authority = directory.read(CA_CERTIFICATE)?;
    let wrapping = directory.read(TLS_CRYPT_KEY)?;
    let blocks = [
        ("ca", authority.as_str()),
        ("cert", certificate),
        ("key", key),
        ("tls-crypt", wrapping.as_str()),
    ];
    let room = blocks
        .iter()
        .map(|(tag, text)| text.len() + 2 * tag.len() + 8);
    // Reserved at once: growing would leave copies of the key behind.
    let capacity = template.len() + COMMON_NAME_MAX + 128 + room.sum::<usize>();
    let mut text = Zeroizing::new(String::with_capacity(capacity));
    // Writing to a String cannot fail.
    let _infallible = writeln!(
        text,
        "# The client {}. This file holds its private key.",
        name.as_str()
    );
    text.push_str(&template);
    for (tag, content) in blocks {
        let _infallible = write!(text, "<{tag}>\n{}\n</{tag}>\n", content.trim_end());
    }
    Ok(text)
}

/// A word as a shell takes it; a client's name has no quotes of its own.
fn shell_word(word: &str) -> String {
    let plain = |character: char| {
        character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_' | '@')
    };
    if word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{word}'")
    }
}

/// Characters that mean something in a path, in a configuration, in a comma-separated status file,
/// or that nobody sees.
fn is_forbidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '/' | '\\' | '"' | '\'' | ',' | '\u{2028}' | '\u{2029}'
        )
        || (character.is_whitespace() && character != ' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_is_quoted_for_the_shell_when_it_must_be() {
        assert_eq!(shell_word("anna.ovpn"), "anna.ovpn");
        assert_eq!(shell_word("Anna $HOME.ovpn"), "'Anna $HOME.ovpn'");
    }

    #[test]
    fn names_are_judged() {
        for (name, verdict) in [
            ("client1", None),
            ("Anna's laptop", Some(NameError::Character('\''))),
            ("Anna laptop", None),
            ("anna.b-c_d@example.org", None),
            ("Jürgen", None),
            ("", Some(NameError::Empty)),
            ("..", Some(NameError::Beginning('.'))),
            (".hidden", Some(NameError::Beginning('.'))),
            ("-rf", Some(NameError::Beginning('-'))),
            ("a/b", Some(NameError::Character('/'))),
            ("../a", Some(NameError::Character('/'))),
            ("a\nb", Some(NameError::Character('\n'))),
            ("a\0", Some(NameError::Character('\0'))),
            ("a\u{85}b", Some(NameError::Character('\u{85}'))),
            ("a,b", Some(NameError::Character(','))),
            (" a", Some(NameError::Blank)),
            ("a ", Some(NameError::Blank)),
        ] {
            assert_eq!(ClientName::new(name).err(), verdict, "{name:?}");
        }
        assert!(ClientName::new(&"x".repeat(64)).is_ok());
        assert_eq!(
            ClientName::new(&"x".repeat(65)).err(),
            Some(NameError::TooLong)
        );
        assert_eq!(
            ClientName::new(&"ü".repeat(33)).err(),
            Some(NameError::TooLong),
            "bytes count"
        );
    }
}

//! `ringway genkey` and OpenVPN's `--genkey`: keys for the control channel and for tokens.

use std::fs::{OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use data_encoding::BASE64;
use zeroize::Zeroizing;

use crate::crypto::{
    KeyFileError, Metadata, MetadataTooLong, StaticKey, TlsCryptV2ClientKey, TlsCryptV2ServerKey,
    auth_token_key_file,
};
use crate::random::Random;
use crate::time::Now;

/// What is asked for.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct GenkeyOptions {
    /// What the key is for.
    kind: KeyKind,
    /// The file, for its owner only; without one the key is printed. A key is never overwritten.
    file: Option<PathBuf>,
    /// For tls-crypt-v2-client: what the server shall know of the key, in base64; the time of now if
    /// nothing is said.
    metadata: Option<String>,
    /// For tls-crypt-v2-client: the file of the server's key.
    #[arg(long, value_name = "FILE")]
    server_key: Option<PathBuf>,
}

/// The kinds of keys, under OpenVPN's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KeyKind {
    /// A server's key of tls-crypt-v2.
    TlsCryptV2Server,
    /// A client's key of tls-crypt-v2, for the server with --server-key.
    TlsCryptV2Client,
    /// The shared key of tls-crypt.
    TlsCrypt,
    /// The shared key of tls-auth.
    TlsAuth,
    /// The same under its old name.
    Secret,
    /// The key of a server that hands out tokens.
    AuthToken,
}

/// Why no key was made.
#[derive(Debug, thiserror::Error)]
pub enum GenkeyError {
    /// A kind that nobody knows.
    #[error("Options error: unknown --genkey type: {0}: write {kinds}", kinds = kinds())]
    Kind(String),
    /// A word of the command line that says nothing about a key.
    #[error("Options error: `{0}` does not go with --genkey")]
    Word(String),
    /// A client's key is sealed with the server's.
    #[error(
        "Options error: --genkey tls-crypt-v2-client requires a server key to be set via \
         --tls-crypt-v2 (or --server-key) to create a client key"
    )]
    ServerKeyMissing,
    /// Only a client's key has it.
    #[error("only a tls-crypt-v2-client key has metadata and needs a server's key")]
    Superfluous,
    /// It is not base64.
    #[error("the metadata is not written in base64")]
    Metadata,
    /// It is too long.
    #[error("ERROR: {0}")]
    TooLong(#[from] MetadataTooLong),
    /// The server's key is none.
    #[error("{}: {source}", path.display())]
    ServerKey {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyFileError,
    },
    /// A file that has something in it.
    #[error("{}: it has something in it; what it holds may be in use, so remove it first", .0.display())]
    Exists(PathBuf),
    /// The system refused.
    #[error("{}: {source}", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl GenkeyOptions {
    /// What OpenVPN's words ask for; `None` if they do not ask for a key.
    ///
    /// # Errors
    /// They do, and say what can't be.
    pub fn from_directives(words: &[String]) -> Option<Result<Self, GenkeyError>> {
        words
            .iter()
            .any(|word| word == "--genkey")
            .then(|| Self::parse(words))
    }

    fn parse(words: &[String]) -> Result<Self, GenkeyError> {
        let mut options = Self {
            kind: KeyKind::Secret,
            file: None,
            metadata: None,
            server_key: None,
        };
        let mut rest = words;
        while let Some((name, after)) = rest.split_first() {
            let values = after.iter().take_while(|it| !it.starts_with("--")).count();
            let (values, next) = after.split_at(values);
            rest = next;
            let path = |word: &String| (!word.is_empty()).then(|| PathBuf::from(word));
            match (name.as_str(), values) {
                ("--genkey", []) => {}
                ("--genkey", [kind, further @ ..]) if further.len() <= 2 => {
                    options.kind = KeyKind::from_str(kind, false)
                        .map_err(|_| GenkeyError::Kind(kind.clone()))?;
                    options.file = further.first().and_then(path).or(options.file);
                    options.metadata = further.get(1).cloned();
                }
                ("--tls-crypt-v2", [file]) => options.server_key = path(file),
                // Wire: the form of 2.4, `--genkey --secret FILE`.
                ("--secret", [file]) => options.file = path(file),
                _ => return Err(GenkeyError::Word(name.clone())),
            }
        }
        Ok(options)
    }
}

/// Makes a key, and writes or prints it.
///
/// # Errors
/// Why there is none.
pub fn run(options: &GenkeyOptions, random: &mut dyn Random) -> Result<(), GenkeyError> {
    let text = make(options, random)?;
    match &options.file {
        Some(path) => write(path, &text),
        None => {
            let system = |source| GenkeyError::System {
                path: "standard output".into(),
                source,
            };
            io::stdout().write_all(text.as_bytes()).map_err(system)
        }
    }
}

fn make(
    options: &GenkeyOptions,
    random: &mut dyn Random,
) -> Result<Zeroizing<String>, GenkeyError> {
    let of_client = options.metadata.is_some() || options.server_key.is_some();
    if of_client && options.kind != KeyKind::TlsCryptV2Client {
        return Err(GenkeyError::Superfluous);
    }
    Ok(match options.kind {
        KeyKind::TlsCryptV2Server => TlsCryptV2ServerKey::generate(random).to_text(),
        KeyKind::TlsCryptV2Client => {
            let server = options.server_key.as_deref();
            let server = read_server_key(server.ok_or(GenkeyError::ServerKeyMissing)?)?;
            let metadata = metadata(options.metadata.as_deref())?;
            TlsCryptV2ClientKey::generate(&server, &metadata, random)?.to_text()
        }
        KeyKind::TlsCrypt | KeyKind::TlsAuth | KeyKind::Secret => {
            StaticKey::generate(random).to_text()
        }
        KeyKind::AuthToken => auth_token_key_file(random),
    })
}

fn metadata(written: Option<&str>) -> Result<Metadata, GenkeyError> {
    let Some(text) = written else {
        return Ok(Metadata::Timestamp(Now::read().unix));
    };
    let bytes = BASE64.decode(text.as_bytes());
    bytes.map(Metadata::User).map_err(|_| GenkeyError::Metadata)
}

fn read_server_key(path: &Path) -> Result<TlsCryptV2ServerKey, GenkeyError> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|source| system(path, source))?;
    TlsCryptV2ServerKey::parse(&text).map_err(|source| GenkeyError::ServerKey {
        path: path.to_owned(),
        source,
    })
}

/// Into a new file or one that is empty, as `mktemp` leaves it; never over another key.
fn write(path: &Path, text: &str) -> Result<(), GenkeyError> {
    let system = |source| system(path, source);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(OWNER_ONLY)
        .open(path)
        .map_err(system)?;
    let found = file.metadata().map_err(system)?;
    if found.len() > 0 {
        return Err(GenkeyError::Exists(path.to_owned()));
    }
    if found.is_file() {
        // Before the key is in it.
        let owner_only = Permissions::from_mode(OWNER_ONLY);
        file.set_permissions(owner_only).map_err(system)?;
    }
    file.write_all(text.as_bytes()).map_err(system)
}

fn system(path: &Path, source: io::Error) -> GenkeyError {
    GenkeyError::System {
        path: path.to_owned(),
        source,
    }
}

/// All kinds, as they are written.
fn kinds() -> String {
    let kinds = KeyKind::value_variants().iter();
    let names = kinds.filter_map(|kind| Some(kind.to_possible_value()?.get_name().to_owned()));
    names.collect::<Vec<_>>().join(", ")
}

const OWNER_ONLY: u32 = 0o600;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    fn parsed(words: &str) -> Option<Result<GenkeyOptions, String>> {
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        let parsed = GenkeyOptions::from_directives(&words)?;
        Some(parsed.map_err(|error| error.to_string()))
    }

    fn asked(
        kind: KeyKind,
        file: Option<&str>,
        metadata: Option<&str>,
        server_key: Option<&str>,
    ) -> Option<Result<GenkeyOptions, String>> {
        Some(Ok(GenkeyOptions {
            kind,
            file: file.map(PathBuf::from),
            metadata: metadata.map(str::to_owned),
            server_key: server_key.map(PathBuf::from),
        }))
    }

    #[test]
    fn openvpns_words() {
        use KeyKind::{AuthToken, Secret, TlsCryptV2Client, TlsCryptV2Server};
        let refused = |why: &str| Some(Err(why.to_owned()));
        for (words, verdict) in [
            ("--config server.conf", None),
            ("--genkey", asked(Secret, None, None, None)),
            (
                "--genkey secret ta.key",
                asked(Secret, Some("ta.key"), None, None),
            ),
            (
                "--genkey --secret ta.key",
                asked(Secret, Some("ta.key"), None, None),
            ),
            (
                "--genkey tls-crypt-v2-server a",
                asked(TlsCryptV2Server, Some("a"), None, None),
            ),
            ("--genkey auth-token", asked(AuthToken, None, None, None)),
            (
                "--tls-crypt-v2 s --genkey tls-crypt-v2-client c aGVsbG8=",
                asked(TlsCryptV2Client, Some("c"), Some("aGVsbG8="), Some("s")),
            ),
            (
                "--genkey tls-crypt-v2-client  aGVsbG8= --tls-crypt-v2 s",
                asked(TlsCryptV2Client, None, Some("aGVsbG8="), Some("s")),
            ),
            (
                "--genkey bogus x",
                refused(
                    "Options error: unknown --genkey type: bogus: write tls-crypt-v2-server, \
                     tls-crypt-v2-client, tls-crypt, tls-auth, secret, auth-token",
                ),
            ),
            (
                "--genkey secret a b c",
                refused("Options error: `--genkey` does not go with --genkey"),
            ),
            (
                "--genkey secret a --verb 3",
                refused("Options error: `--verb` does not go with --genkey"),
            ),
        ] {
            assert_eq!(parsed(words), verdict, "{words}");
        }
    }

    fn make_in(directory: &Path, words: &str) -> Result<(), String> {
        let words = words.replace("DIR", &directory.display().to_string());
        let options = parsed(&words).unwrap()?;
        run(&options, &mut SeededRandom::new(1)).map_err(|error| error.to_string())
    }

    #[test]
    fn files_are_their_owners_alone_and_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let path = directory.join("empty");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        for name in ["empty", "new"] {
            make_in(directory, &format!("--genkey tls-crypt DIR/{name}")).unwrap();
            let path = directory.join(name);
            let mode = path.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(StaticKey::parse(&text).is_ok(), "{name}");
            let again = make_in(directory, &format!("--genkey tls-crypt DIR/{name}"));
            assert!(again.unwrap_err().contains("remove it first"), "{name}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "{name}");
        }
    }

    #[test]
    fn a_clients_key_is_sealed_for_its_server() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let client = "--genkey tls-crypt-v2-client";
        make_in(directory, "--genkey tls-crypt-v2-server DIR/s").unwrap();
        let with_server = format!("--tls-crypt-v2 DIR/s {client}");
        make_in(directory, &format!("{with_server} DIR/c aGVsbG8=")).unwrap();
        let read = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
        let server = TlsCryptV2ServerKey::parse(&read("s")).unwrap();
        let key = TlsCryptV2ClientKey::parse(&read("c")).unwrap();
        let opened = server.open(key.sealed()).unwrap();
        assert_eq!(opened.metadata, Metadata::User(b"hello".to_vec()));
        make_in(directory, &format!("{with_server} DIR/d")).unwrap();
        let dated = TlsCryptV2ClientKey::parse(&read("d")).unwrap();
        let dated = server.open(dated.sealed()).unwrap().metadata;
        assert!(
            matches!(dated, Metadata::Timestamp(1_700_000_000..)),
            "{dated:?}"
        );
        let long = BASE64.encode(&[7; 734]);
        for (words, why) in [
            (format!("{client} DIR/x"), "requires a server key"),
            (format!("{with_server} DIR/x a"), "not written in base64"),
            (
                format!("{with_server} DIR/x {long}"),
                "(734 bytes, max 733 bytes)",
            ),
            (
                format!("--tls-crypt-v2 DIR/c {client} DIR/x"),
                "server key-----`",
            ),
            (
                format!("--tls-crypt-v2 DIR/none {client} DIR/x"),
                "No such file",
            ),
            (
                "--genkey tls-auth DIR/x aGVsbG8=".to_owned(),
                "has metadata",
            ),
        ] {
            let error = make_in(directory, &words).unwrap_err();
            assert!(error.contains(why), "{words}: {error}");
            assert!(!directory.join("x").exists(), "{words}");
        }
    }
}

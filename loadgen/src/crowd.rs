//! Who the clients are: each session has a profile, a certificate and a login, its own or all the same.

use std::path::Path;
use std::sync::Arc;

use ringway::cli::pki::{Authority, Purpose, day};
use ringway::crypto::tls::rustls::Identity;
use ringway::limits::LOGIN_MAX;
use ringway::node::client_session_settings;
use ringway::node::settings::{ClientSettings, FilterAction};
use ringway::random::SystemRandom;
use ringway::session::{Credentials, PullFilter, SessionSettings};
use ringway::time::Now;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::failure::Failure;
use crate::options::Options;
use crate::profile::Profile;

/// All clients that a run can have.
pub(crate) struct Crowd {
    /// What they have in common.
    pub(crate) client: ClientSettings,
    /// Rules of their sessions: one for all, or one for each number from the first on, again and again.
    settings: Vec<Arc<SessionSettings>>,
    logins: Logins,
    filter: PullFilter,
    first: u32,
}

/// What one session is made with.
pub(crate) struct Member {
    pub(crate) settings: Arc<SessionSettings>,
    pub(crate) credentials: Option<Credentials>,
}

/// What clients log in with.
enum Logins {
    /// Nothing.
    None,
    /// One name and password for all, in which `%d` stands for the number of the session.
    Pattern(Credentials),
    /// One for each number from the first on, again and again.
    List(Vec<Credentials>),
}

impl Crowd {
    /// The clients that the options ask for, `count` of them.
    ///
    /// # Errors
    /// A file that can't be read or used; which and why.
    pub(crate) fn new(
        profiles: Vec<Profile>,
        options: &Options,
        count: u32,
    ) -> Result<Self, Failure> {
        let first = options.first;
        let mut settings = Vec::new();
        let mut own_logins = Vec::new();
        let mut common = None;
        for profile in profiles {
            let file = profile.file.clone();
            let refuse = |why: String| Failure::Profile {
                profile: file.clone(),
                why,
            };
            if profile.asks_login && options.user.is_none() && options.logins.is_none() {
                return Err(refuse(
                    "auth-user-pass asks for a login: give --user and --password, or --logins"
                        .to_owned(),
                ));
            }
            own_logins.extend(profile.client.login.as_ref().map(|login| Credentials {
                username: login.username.clone(),
                password: login.password.clone(),
            }));
            let own = client_session_settings(&profile.client);
            settings.push(Arc::new(own.map_err(|error| refuse(error.to_string()))?));
            common.get_or_insert(profile.client);
        }
        let Some(mut client) = common else {
            return Err(Failure::Option(
                "--profiles: no profile is there".to_owned(),
            ));
        };
        if let Some(key) = &options.ca_key {
            settings = issue(&mut client, key, options, count)?;
        }
        let rules = client.pull.clone();
        Ok(Self {
            logins: Logins::new(options, own_logins)?,
            filter: Arc::new(move |option| rules.action(option) == FilterAction::Accept),
            settings,
            client,
            first,
        })
    }

    /// The client with this number.
    pub(crate) fn member(&self, number: u32) -> Member {
        let place = (number - self.first) as usize;
        Member {
            settings: Arc::clone(&self.settings[place % self.settings.len()]),
            credentials: self.logins.of(number, place),
        }
    }

    /// What they follow of what is pushed.
    pub(crate) fn filter(&self) -> PullFilter {
        Arc::clone(&self.filter)
    }
}

impl Logins {
    fn new(options: &Options, of_profiles: Vec<Credentials>) -> Result<Self, Failure> {
        if let Some(file) = &options.logins {
            let text = std::fs::read_to_string(file).map_err(|error| {
                Failure::Option(format!("--logins {}: {error}", file.display()))
            })?;
            return Self::from_list(&text)
                .map_err(|why| Failure::Option(format!("--logins {}: {why}", file.display())));
        }
        if let Some(username) = &options.user {
            return Ok(Self::Pattern(Credentials {
                username: username.clone(),
                password: options.password.clone().unwrap_or_default().into(),
            }));
        }
        Ok(match of_profiles.is_empty() {
            true => Self::None,
            false => Self::List(of_profiles),
        })
    }

    /// A login a line: name, a blank, password.
    fn from_list(text: &str) -> Result<Self, String> {
        let mut logins = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let (username, password) = line
                .split_once(char::is_whitespace)
                .ok_or_else(|| format!("line {number}: write a name, a blank and a password"))?;
            if username.len() > LOGIN_MAX || password.len() > LOGIN_MAX {
                return Err(format!("line {number}: longer than {LOGIN_MAX} bytes"));
            }
            logins.push(Credentials {
                username: username.to_owned(),
                password: password.trim().to_owned().into(),
            });
        }
        match logins.is_empty() {
            true => Err("no login in it".to_owned()),
            false => Ok(Self::List(logins)),
        }
    }

    fn of(&self, number: u32, place: usize) -> Option<Credentials> {
        match self {
            Self::None => None,
            Self::Pattern(Credentials { username, password }) => Some(Credentials {
                username: expand(username, number),
                password: expand(password, number).into(),
            }),
            Self::List(logins) => logins.get(place % logins.len()).cloned(),
        }
    }
}

/// A certificate for each client, signed with the authority's key.
fn issue(
    client: &mut ClientSettings,
    key: &Path,
    options: &Options,
    count: u32,
) -> Result<Vec<Arc<SessionSettings>>, Failure> {
    let refuse = |why: String| Failure::Option(format!("--ca-key {}: {why}", key.display()));
    let text = std::fs::read_to_string(key).map_err(|error| refuse(error.to_string()))?;
    let certificate = client.node.tls.authorities.first();
    let certificate = certificate.ok_or_else(|| refuse("the profile has no ca".to_owned()))?;
    let authority =
        Authority::with_key(certificate, &text).map_err(|error| refuse(error.to_string()))?;
    let today = day(Now::read().unix);
    let mut all = Vec::new();
    for number in options.first..options.first + count {
        let name = expand(&options.name, number);
        let issued = authority.issue(&name, Purpose::Client, today, &mut SystemRandom);
        let issued = issued.map_err(|error| refuse(error.to_string()))?;
        let unusable = |error: rustls_pki_types::pem::Error| refuse(error.to_string());
        client.identity = Some(Identity {
            chain: vec![
                CertificateDer::from_pem_slice(issued.certificate.as_bytes()).map_err(unusable)?,
            ],
            key: PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).map_err(unusable)?,
        });
        let settings =
            client_session_settings(client).map_err(|error| refuse(error.to_string()))?;
        all.push(Arc::new(settings));
    }
    Ok(all)
}

/// A pattern with the number in place of each `%d`.
fn expand(pattern: &str, number: u32) -> String {
    pattern.replace("%d", &number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(logins: &Logins, numbers: &[u32]) -> Vec<(String, String)> {
        let logins = numbers.iter().map(|number| {
            let login = logins.of(*number, *number as usize).unwrap();
            (login.username, login.password.to_string())
        });
        logins.collect()
    }

    fn pair(name: &str, password: &str) -> (String, String) {
        (name.to_owned(), password.to_owned())
    }

    #[test]
    fn patterns_have_the_number_and_lists_begin_again() {
        let pattern = Logins::Pattern(Credentials {
            username: "load%d".to_owned(),
            password: "p-%d-%d".to_owned().into(),
        });
        let expected = [pair("load0", "p-0-0"), pair("load17", "p-17-17")];
        assert_eq!(names(&pattern, &[0, 17]), expected);
        let list = Logins::from_list("anna one\n\n  bert\ttwo words \n").unwrap();
        let expected = [pair("bert", "two words"), pair("anna", "one")];
        assert_eq!(names(&list, &[1, 2]), expected);
        assert!(Logins::None.of(1, 1).is_none());
    }

    #[test]
    fn lists_that_are_none_say_where() {
        for (text, said) in [
            (
                "anna one\nbert",
                "line 2: write a name, a blank and a password",
            ),
            ("\n \n", "no login in it"),
            (
                &format!("a {}", "x".repeat(481)),
                "line 1: longer than 480 bytes",
            ),
        ] {
            assert_eq!(Logins::from_list(text).err().as_deref(), Some(said));
        }
    }
}

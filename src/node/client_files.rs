//! The files of single clients, read on a thread of its own: a disk may be far away, and hang.
//!
//! A client's file is read anew whenever the client comes. Nobody's is asked for twice before it has
//! been read, so what waits is bounded by the clients that wait; of those beyond the bound the shards
//! ask again.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use crossbeam::channel::{self, Receiver, Sender};

use super::event::{AdmissionRefusal, ClientEvent, ClientTag};
use super::message::Report;
use super::registry::SessionAt;
use super::settings::{ClientFiles, ClientProfile, ProfileLines};
use crate::limits::{ADDRESS_SLOTS_MAX, PROFILES_WAITING};

/// The way to the thread that reads the files.
#[derive(Debug)]
pub(super) struct Profiles {
    questions: Sender<Question>,
    asked: HashSet<SessionAt>,
}

#[derive(Debug)]
struct Question {
    of: SessionAt,
    client: ClientTag,
    /// What it is given besides.
    lines: Arc<[ProfileLines]>,
}

/// What came of a client's file.
#[derive(Debug)]
pub struct ProfileAnswer {
    /// Which session asked.
    pub of: SessionAt,
    /// Its name, and where it is.
    pub client: ClientTag,
    /// Whether it was asked with lines, as for a client that may connect.
    pub with_lines: bool,
    /// What there is to tell of it.
    pub told: Vec<ClientEvent>,
    /// What the file says; for a client without one, what goes for every client. Or why it may not
    /// come in.
    pub profile: Result<Arc<ClientProfile>, AdmissionRefusal>,
}

impl Profiles {
    /// Starts the thread. It ends by itself when nobody can ask any more, and nobody waits for that.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn start(files: ClientFiles, reports: Sender<Report>) -> io::Result<Self> {
        let (questions, asked) = channel::bounded(PROFILES_WAITING);
        let (all, named) = (files.clone(), reports.clone());
        thread::Builder::new()
            .name("client-files".to_owned())
            .spawn(move || serve(&files, &asked, &reports))?;
        // Nobody waits for it, so it is not in the way of those who come.
        thread::Builder::new()
            .name("client-files".to_owned())
            .spawn(move || {
                let report = Report::AddressesNamed(addresses_named(&all));
                let _nobody_listens = named.send(report);
            })?;
        Ok(Self {
            questions,
            asked: HashSet::new(),
        })
    }

    /// Asks for a client's file with lines that it is given besides, unless that has been asked and not
    /// answered, or too many wait.
    pub(super) fn ask(&mut self, of: SessionAt, client: ClientTag, lines: Arc<[ProfileLines]>) {
        let question = Question { of, client, lines };
        if !self.asked.contains(&of) && self.questions.try_send(question).is_ok() {
            self.asked.insert(of);
        }
    }

    /// That question is answered.
    pub(super) fn answered(&mut self, of: SessionAt) {
        self.asked.remove(&of);
    }
}

fn serve(files: &ClientFiles, asked: &Receiver<Question>, reports: &Sender<Report>) {
    for Question { of, client, lines } in asked {
        let name = client.common_name.as_deref().unwrap_or_default();
        let mut told = Vec::new();
        let profile = read(files, name, &lines, &mut told).map(Arc::new);
        let answer = Box::new(ProfileAnswer {
            of,
            client,
            with_lines: !lines.is_empty(),
            told,
            profile,
        });
        if reports.send(Report::Profile(answer)).is_err() {
            return;
        }
    }
}

/// The addresses that clients' files name, so that nobody else is given one of them meanwhile.
fn addresses_named(files: &ClientFiles) -> Vec<IpAddr> {
    let entries = files.directory.as_ref().map(std::fs::read_dir);
    let Some(Ok(entries)) = entries else {
        return Vec::new();
    };
    let mut named = Vec::new();
    for entry in entries.filter_map(Result::ok) {
        let is_file = entry.path().is_file();
        if is_file && entry.file_name() != DEFAULT && named.len() < ADDRESS_SLOTS_MAX as usize {
            let profile = (files.reader)(Some(&entry.path()), &[], &files.basis).profile;
            named.extend(profile.v4.map(|(address, _)| IpAddr::from(address)));
            named.extend(profile.v6.map(|v6| IpAddr::from(v6.address.addr())));
        }
    }
    named
}

/// A client's profile: what its own file says, or that of all who have none, and the lines that it is given
/// besides.
fn read(
    files: &ClientFiles,
    name: &str,
    lines: &[ProfileLines],
    told: &mut Vec<ClientEvent>,
) -> Result<ClientProfile, AdmissionRefusal> {
    let named = files
        .directory
        .as_ref()
        .and_then(|directory| own_file(directory, name));
    let own = named.clone().filter(|path| is_there(path, told));
    if own.is_none() && files.exclusive {
        let file = named;
        let file = file.map_or_else(|| "UNDEF".to_owned(), |path| path.display().to_string());
        let reason = format!(
            "--client-config-dir authentication failed for common name '{name}' file='{file}'"
        );
        let reason = reason.into();
        told.push(ClientEvent::AuthFailed { reason });
        return Err(AdmissionRefusal::NoFile);
    }
    let default = files
        .directory
        .as_ref()
        .map(|directory| directory.join(DEFAULT));
    let path = own.or_else(|| default.filter(|path| is_there(path, told)));
    if path.is_none() && lines.is_empty() {
        return Ok(ClientProfile::usual(files.basis.routes_max));
    }
    let read = (files.reader)(path.as_deref(), lines, &files.basis);
    // With lines it is the second time that the file is read, and that has been told.
    let path = path.filter(|_| lines.is_empty());
    let path = path.map(|path| path.display().to_string());
    let given = lines.iter().map(|given| given.source.clone());
    for file in path.into_iter().chain(given) {
        let file = file.into();
        told.push(ClientEvent::ProfileRead { file });
    }
    let text = |line: String| line.as_str().into();
    let removed = read.removed.into_iter().map(text);
    told.extend(removed.map(|option| ClientEvent::PushRemoved { option }));
    let faults = read.faults.into_iter().map(text);
    told.extend(faults.map(|line| ClientEvent::ProfileFault { line }));
    let own = read.own_networks.into_iter().map(text);
    told.extend(own.map(|option| ClientEvent::OwnRouteOmitted { option }));
    Ok(read.profile)
}

/// Where a client's own file would be; `None` for a name that leads elsewhere. Wire: as in 2.6, a
/// character that a file's name can't have is an underscore in it.
pub(crate) fn own_file(directory: &Path, name: &str) -> Option<PathBuf> {
    let safe: String = name
        .bytes()
        .map(|byte| match byte {
            b' '..=b'~' if byte != b'/' => char::from(byte),
            _ => '_',
        })
        .collect();
    let leads_elsewhere = matches!(safe.as_str(), "" | "." | "..");
    (!leads_elsewhere).then(|| directory.join(safe))
}

/// Whether there is a file that can be read. Wire: 2.6 takes one that can't for none, and says so if
/// it may not.
fn is_there(path: &Path, told: &mut Vec<ClientEvent>) -> bool {
    match File::open(path) {
        Ok(_) => true,
        Err(error) => {
            if error.kind() == io::ErrorKind::PermissionDenied {
                let path = path.display();
                let line = format!("Could not access file '{path}': {error}").into();
                told.push(ClientEvent::ProfileFault { line });
            }
            false
        }
    }
}

/// The file of clients that have none of their own.
pub(crate) const DEFAULT: &str = "DEFAULT";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::node::settings::{NetworkSettings, ProfileBasis, ProfileRead, SessionTimes};

    /// Says how long the file is, in place of what it says.
    fn length(path: Option<&Path>, _: &[ProfileLines], _: &ProfileBasis) -> ProfileRead {
        let text = path.map(|path| std::fs::read_to_string(path).unwrap_or_default());
        let text = text.unwrap_or_default();
        ProfileRead {
            profile: ClientProfile {
                v4: Some(([10, 8, 0, text.len() as u8].into(), [255; 4].into())),
                ..ClientProfile::usual(text.len() as u32)
            },
            faults: vec!["a fault".to_owned()],
            removed: Vec::new(),
            own_networks: Vec::new(),
        }
    }

    /// A disk that takes its time.
    fn when_the_gate_opens(
        path: Option<&Path>,
        lines: &[ProfileLines],
        basis: &ProfileBasis,
    ) -> ProfileRead {
        let _open = GATE.lock().unwrap();
        length(path, lines, basis)
    }

    static GATE: std::sync::Mutex<()> = std::sync::Mutex::new(());

    fn files(directory: &Path, exclusive: bool) -> ClientFiles {
        ClientFiles {
            directory: Some(directory.to_owned()),
            exclusive,
            basis: ProfileBasis {
                push: [].into(),
                network: NetworkSettings { v4: None, v6: None },
                constraint: None,
                routes_max: 256,
                times: SessionTimes::default(),
                directory: directory.to_owned(),
            },
            reader: length,
        }
    }

    fn lengths(files: &ClientFiles, names: &[&str]) -> Vec<Result<u32, AdmissionRefusal>> {
        let read = |name: &&str| read(files, name, &[], &mut Vec::new()).map(|it| it.routes_max);
        names.iter().map(read).collect()
    }

    #[test]
    fn a_clients_own_file_is_read_else_that_of_all_others() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text| std::fs::write(directory.path().join(name), text).unwrap();
        write("alice", "1");
        write("a_b", "22");
        write("gr__n", "333");
        let names = ["alice", "a/b", "grün", "bob", "..", ".", ""];
        let open = files(directory.path(), false);
        let no_default = [1, 2, 3, 256, 256, 256, 256].map(Ok);
        assert_eq!(lengths(&open, &names), no_default);
        write("DEFAULT", "4444");
        assert_eq!(lengths(&open, &names), [1, 2, 3, 4, 4, 4, 4].map(Ok));
        let refused = Err(AdmissionRefusal::NoFile);
        let exclusive = files(directory.path(), true);
        assert_eq!(
            lengths(&exclusive, &names),
            [Ok(1), Ok(2), Ok(3), refused, refused, refused, refused],
            "the file of all others is nobody's own"
        );
        write("alice", "55555");
        assert_eq!(lengths(&open, &["alice"]), [Ok(5)], "anew each time");
    }

    #[test]
    fn what_was_read_is_told_and_what_was_refused() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("alice"), "").unwrap();
        let exclusive = files(directory.path(), true);
        let (mut alice, mut bob) = (Vec::new(), Vec::new());
        assert!(read(&exclusive, "alice", &[], &mut alice).is_ok());
        assert!(read(&exclusive, "bob", &[], &mut bob).is_err());
        let at = |name| directory.path().join(name).display().to_string();
        let file = at("alice").as_str().into();
        let line = "a fault".into();
        let told = [
            ClientEvent::ProfileRead { file },
            ClientEvent::ProfileFault { line },
        ];
        assert_eq!(alice, told);
        let reason = format!(
            "--client-config-dir authentication failed for common name 'bob' file='{}'",
            at("bob")
        );
        let reason = reason.as_str().into();
        assert_eq!(bob, [ClientEvent::AuthFailed { reason }]);
    }

    #[test]
    fn addresses_of_all_files_are_told_at_the_start() {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [("alice", "1"), ("bob", "22"), ("DEFAULT", "333")] {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        std::fs::create_dir(directory.path().join("directory")).unwrap();
        let mut named = addresses_named(&files(directory.path(), false));
        named.sort();
        let expected = ["10.8.0.1", "10.8.0.2"].map(|it| it.parse::<IpAddr>().unwrap());
        assert_eq!(named, expected);
        assert_eq!(
            addresses_named(&files(Path::new("/absent"), false)),
            [] as [IpAddr; 0]
        );
    }

    #[test]
    fn a_question_waits_once_and_is_answered_by_a_report() {
        let (answers, heard) = channel::bounded(8);
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("DEFAULT"), "").unwrap();
        let slow = ClientFiles {
            reader: when_the_gate_opens,
            ..files(directory.path(), false)
        };
        let shut = GATE.lock().unwrap();
        let mut profiles = Profiles::start(slow, answers).unwrap();
        let at = |session| SessionAt { shard: 0, session };
        let client = |name: &str| ClientTag::named(([192, 0, 2, 1], 7).into(), name.into());
        for _ in 0..3 {
            profiles.ask(at(1), client("alice"), Arc::new([]));
            profiles.ask(at(2), client("bob"), Arc::new([]));
        }
        assert_eq!(profiles.asked.len(), 2);
        let patience = Duration::from_secs(60);
        drop(shut);
        let mut answered = Vec::new();
        while answered.len() < 2 {
            match heard.recv_timeout(patience).unwrap() {
                Report::Profile(answer) => answered.push((answer.of, answer.with_lines)),
                Report::AddressesNamed(_) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(
            answered,
            [(at(1), false), (at(2), false)],
            "each once, without lines"
        );
        assert!(
            heard
                .try_iter()
                .all(|report| matches!(report, Report::AddressesNamed(_)))
        );
        profiles.answered(at(1));
        let lines = ProfileLines {
            source: "given".to_owned(),
            text: "1".to_owned(),
        };
        profiles.ask(at(1), client("bob"), Arc::new([lines]));
        let again = heard.iter().find_map(|it| match it {
            Report::Profile(answer) => Some(answer),
            _ => None,
        });
        assert!(again.is_some_and(|it| it.with_lines));
    }
}

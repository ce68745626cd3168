//! The files of single clients, read on a thread of its own: a disk may be far away, and hang.
//!
//! A client's file is read anew whenever the client comes. Nobody's is asked for twice before it has
//! been read, so what waits is bounded by the clients that wait; of those beyond the bound the shards
//! ask again.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use crossbeam::channel::{self, Receiver, Sender};

use super::event::{AdmissionRefusal, ClientEvent, ClientTag};
use super::message::Report;
use super::registry::SessionAt;
use super::settings::{ClientFiles, ClientProfile};
use crate::limits::PROFILES_WAITING;

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
}

/// What came of a client's file.
#[derive(Debug)]
pub struct ProfileAnswer {
    /// Which session asked.
    pub of: SessionAt,
    /// Its name, and where it is.
    pub client: ClientTag,
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
        thread::Builder::new()
            .name("client-files".to_owned())
            .spawn(move || serve(&files, &asked, &reports))?;
        Ok(Self {
            questions,
            asked: HashSet::new(),
        })
    }

    /// Asks for a client's file, unless that has been asked and not answered, or too many wait.
    pub(super) fn ask(&mut self, of: SessionAt, client: ClientTag) {
        if !self.asked.contains(&of) && self.questions.try_send(Question { of, client }).is_ok() {
            self.asked.insert(of);
        }
    }

    /// That question is answered.
    pub(super) fn answered(&mut self, of: SessionAt) {
        self.asked.remove(&of);
    }
}

fn serve(files: &ClientFiles, asked: &Receiver<Question>, reports: &Sender<Report>) {
    for Question { of, client } in asked {
        let name = client.common_name.as_deref().unwrap_or_default();
        let mut told = Vec::new();
        let profile = read(files, name, &mut told).map(Arc::new);
        let answer = Box::new(ProfileAnswer {
            of,
            client,
            told,
            profile,
        });
        if reports.send(Report::Profile(answer)).is_err() {
            return;
        }
    }
}

/// A client's profile: what its own file says, or that of all who have none.
fn read(
    files: &ClientFiles,
    name: &str,
    told: &mut Vec<ClientEvent>,
) -> Result<ClientProfile, AdmissionRefusal> {
    let own = own_file(&files.directory, name).filter(|path| is_there(path, told));
    if own.is_none() && files.exclusive {
        let file = own_file(&files.directory, name);
        let file = file.map_or_else(|| "UNDEF".to_owned(), |path| path.display().to_string());
        let reason = format!(
            "--client-config-dir authentication failed for common name '{name}' file='{file}'"
        );
        let reason = reason.into();
        told.push(ClientEvent::AuthFailed { reason });
        return Err(AdmissionRefusal::NoFile);
    }
    let default = || Some(files.directory.join(DEFAULT)).filter(|path| is_there(path, told));
    let Some(path) = own.or_else(default) else {
        return Ok(ClientProfile::usual(files.basis.routes_max));
    };
    let read = (files.reader)(&path, &files.basis);
    let file = path.display().to_string().into();
    told.push(ClientEvent::ProfileRead { file });
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
        .chars()
        .map(|c| match c {
            '/' => '_',
            c if c.is_control() => '_',
            c => c,
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

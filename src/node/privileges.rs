//! What the process gives up once everything is open: its root directory, its groups, its user and
//! every capability.
//!
//! No capability is kept, for none is needed later: sockets, tun queues and steering programs are
//! open, and the maps of the latter are written through their descriptors, which the kernel asks no
//! privilege for. The rings of the shards are made afterwards, and their memory is then charged to
//! the user's limit on locked memory: [`allow_locked_memory`] raises it before.
//!
//! User and groups are those of the whole process: the C library changes them on every thread, and
//! ends the process if one thread may and another may not. Capabilities and `no_new_privs` belong to
//! a thread and go on to those that it starts, so threads are started afterwards. The log's is
//! older: it gives up its own with [`renounce`] when it hears of the change, and not before.
//!
//! A client still has addresses and routes to set: the one thread that does it is older too, and keeps
//! the capability for that through the change of the user ([`keep_for_network`]).

use std::io;
use std::os::unix::fs::chroot;
use std::path::{Path, PathBuf};

use nix::unistd::{self, Gid, Uid, User};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_keep_capabilities,
    set_no_new_privs,
};

use super::event::NodeEvent;
use super::local_time::system_zone;
use super::memory::keep_secret;
use super::settings::{Account, ProcessSettings};

/// What is left of the process, in the order in which it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Confinement {
    root: Option<PathBuf>,
    group: Option<Account>,
    user: Option<Account>,
}

/// A step that the system refused.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegesError {
    /// The new root directory can't be entered.
    #[error("chroot to '{}' failed: {refusal}", directory.display())]
    Root {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        refusal: Refusal,
    },
    /// The group can't be changed.
    #[error("the process can't become a member of group {group} alone: {refusal}")]
    Group {
        /// The group.
        group: String,
        /// What the system said.
        refusal: Refusal,
    },
    /// The user can't be changed.
    #[error("the process can't become user {user}: {refusal}")]
    User {
        /// The user.
        user: String,
        /// What the system said.
        refusal: Refusal,
    },
    /// The user has no entry from which its group could be read.
    #[error("user {user} is not known any more, so its group is not either: write `group`")]
    UnknownUser {
        /// The user.
        user: String,
    },
    /// Capabilities can't be given up, as behind a system call filter.
    #[error("capabilities can't be given up: {0}")]
    Capabilities(io::Error),
}

/// What the system said, and the capability without which it says so.
#[derive(Debug)]
pub struct Refusal {
    error: io::Error,
    missing: Option<&'static str>,
}

impl Confinement {
    /// What `settings` ask for; `None` if the process stays what it is.
    ///
    /// A user without a group brings its own, for no directive says that the process should stay in
    /// the group of root.
    ///
    /// # Errors
    /// The user is not known any more.
    pub(super) fn of(settings: &ProcessSettings) -> Result<Option<Self>, PrivilegesError> {
        let (root, user) = (settings.chroot.clone(), settings.user.clone());
        let group = match (&settings.group, &user) {
            (Some(group), _) => Some(group.clone()),
            (None, Some(user)) => Some(group_of(user)?),
            (None, None) => None,
        };
        let confined = root.is_some() || group.is_some();
        Ok(confined.then_some(Self { root, group, user }))
    }

    /// Does it, for this thread and those that it will start; what is the process's, for all.
    ///
    /// # Errors
    /// What the system refuses; the process may then be half confined and should end.
    pub(super) fn enter(&self) -> Result<(), PrivilegesError> {
        self.change()?;
        renounce().map_err(PrivilegesError::Capabilities)
    }

    /// Changes root directory, group and user.
    fn change(&self) -> Result<(), PrivilegesError> {
        if let Some(directory) = &self.root {
            let _found_now_or_never = system_zone();
            change_root(directory).map_err(|error| PrivilegesError::Root {
                directory: directory.clone(),
                refusal: refusal(error, CapabilitySet::SYS_CHROOT, "CAP_SYS_CHROOT"),
            })?;
        }
        if let Some(group) = &self.group {
            change_group(Gid::from_raw(group.id)).map_err(|error| PrivilegesError::Group {
                group: group.name.clone(),
                refusal: refusal(error.into(), CapabilitySet::SETGID, "CAP_SETGID"),
            })?;
        }
        if let Some(user) = &self.user {
            let uid = Uid::from_raw(user.id);
            unistd::setresuid(uid, uid, uid).map_err(|error| PrivilegesError::User {
                user: user.name.clone(),
                refusal: refusal(error.into(), CapabilitySet::SETUID, "CAP_SETUID"),
            })?;
        }
        Ok(())
    }

    /// The same for a process that starts scripts, as words that [`confine`] takes.
    pub(super) fn words(&self) -> Vec<String> {
        let id = |account: &Option<Account>| account.as_ref().map(|account| account.id.to_string());
        let root = self.root.as_ref().map(|root| root.display().to_string());
        let words = [root, id(&self.group), id(&self.user)];
        words
            .map(|word| word.unwrap_or_else(|| NOTHING.to_owned()))
            .into()
    }

    /// What there is to tell of it; `keeps_network` for a client.
    pub(super) fn event(&self, keeps_network: bool) -> NodeEvent {
        let name = |account: &Account| account.name.as_str().into();
        NodeEvent::Confined {
            root: self
                .root
                .as_ref()
                .map(|root| root.display().to_string().as_str().into()),
            user: self.user.as_ref().map(name),
            group: self.group.as_ref().map(name),
            keeps_network,
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.missing {
            Some(capability) => write!(
                f,
                "{} (it lacks {capability}: start it as root)",
                self.error
            ),
            None => write!(f, "{}", self.error),
        }
    }
}

/// Makes this process what it is to be when it starts scripts or calls plug-ins: a root directory, a group and a
/// user by their numbers, `-` for none. What it is told of logins is kept out of core dumps. Wire: as with stock a script of a confined server is the server's user, and
/// can become another one by the programs that are there for that; capabilities go with the user.
///
/// # Errors
/// What the system refuses, or words that are not these.
pub fn confine(words: &[String]) -> Result<(), PrivilegesError> {
    let [root, group, user] = words else {
        keep_secret();
        return Ok(());
    };
    let written = |word: &String| Some(word.clone()).filter(|word| word != NOTHING);
    let account = |word| {
        let name: String = written(word)?;
        let id = name.parse().ok()?;
        Some(Account { name, id })
    };
    let confinement = Confinement {
        root: written(root).map(PathBuf::from),
        group: account(group),
        user: account(user),
    };
    confinement.change()?;
    keep_secret();
    Ok(())
}

/// Takes all capabilities from the calling thread and those that it will start, and the ways to new
/// ones.
///
/// # Errors
/// A system call filter forbids it.
pub(super) fn renounce() -> io::Result<()> {
    set_no_new_privs(true)?;
    // Ambient capabilities go with the inheritable ones.
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    Ok(set_capabilities(None, none)?)
}

/// Has the calling thread keep what it may when the process changes its user.
///
/// # Errors
/// A system call filter forbids it.
pub(super) fn keep_for_network() -> io::Result<()> {
    Ok(set_keep_capabilities(true)?)
}

/// Takes all capabilities from the calling thread but that for addresses and routes, as far as it
/// has it.
///
/// # Errors
/// A system call filter forbids it.
pub(super) fn renounce_all_but_network() -> io::Result<()> {
    set_no_new_privs(true)?;
    let kept = capabilities(None)?.permitted & CapabilitySet::NET_ADMIN;
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    Ok(set_capabilities(None, sets)?)
}

/// Raises the process's limit on locked memory to at least so many bytes, or as far as it may be
/// raised: whether that is enough shows when the rings are made.
pub(super) fn allow_locked_memory(bytes: u64) {
    let present = getrlimit(Resource::Memlock);
    let Some(wanted) = raised(present, bytes) else {
        return;
    };
    if setrlimit(Resource::Memlock, wanted).is_err() {
        let within = Rlimit {
            current: present.maximum,
            ..present
        };
        let _as_before = setrlimit(Resource::Memlock, within);
    }
}

/// The limits with room for `bytes`; `None` if there is room already. No limit is `None`.
fn raised(present: Rlimit, bytes: u64) -> Option<Rlimit> {
    present.current.filter(|current| *current < bytes)?;
    Some(Rlimit {
        current: Some(bytes),
        maximum: present.maximum.map(|maximum| maximum.max(bytes)),
    })
}

fn group_of(user: &Account) -> Result<Account, PrivilegesError> {
    let unknown = || PrivilegesError::UnknownUser {
        user: user.name.clone(),
    };
    let entry = User::from_uid(Uid::from_raw(user.id)).ok().flatten();
    let id = entry.ok_or_else(unknown)?.gid;
    let group = unistd::Group::from_gid(id).ok().flatten();
    Ok(Account {
        name: group.map_or_else(|| id.to_string(), |group| group.name),
        id: id.as_raw(),
    })
}

fn change_root(directory: &Path) -> io::Result<()> {
    chroot(directory)?;
    std::env::set_current_dir("/")
}

/// Only this group from now on. Who has no other already needs no capability for it.
fn change_group(group: Gid) -> nix::Result<()> {
    let alone = unistd::getgroups()?.iter().all(|member| *member == group);
    if !alone {
        unistd::setgroups(&[group])?;
    }
    unistd::setresgid(group, group, group)
}

/// Names the capability if the system refused for want of it.
fn refusal(error: io::Error, needed: CapabilitySet, name: &'static str) -> Refusal {
    let lacking = || capabilities(None).is_ok_and(|sets| !sets.effective.contains(needed));
    let missing = (error.kind() == io::ErrorKind::PermissionDenied && lacking()).then_some(name);
    Refusal { error, missing }
}

/// A word of [`confine`] for what stays as it is.
const NOTHING: &str = "-";

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::fs;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::process::{ChildStdout, Command, Stdio};
    use std::sync::mpsc;
    use std::thread;

    use crate::limits::locked_memory;
    use crate::node::bus::Bus;
    use crate::node::log::{Log, LogOptions, LogTarget, Stamp};
    use crate::random::{Random, SystemRandom};
    use crate::reactor::{Reactor, ReactorConfig, Waker};

    /// What the process would become, as `nobody` of every system.
    fn settings(words: &str) -> ProcessSettings {
        let account = |name: &str| Account {
            name: name.to_owned(),
            id: 65_534,
        };
        let root = |word: &str| word.strip_prefix("root=").map(PathBuf::from);
        let mut words = words.split(' ');
        ProcessSettings {
            user: words.clone().find(|word| *word == "user").map(account),
            group: words.clone().find(|word| *word == "group").map(account),
            chroot: words.find_map(root),
            ..ProcessSettings::default()
        }
    }

    /// A thread's name with the rows of its status.
    type Threads = HashMap<String, HashMap<String, String>>;

    fn threads_of(process: u32) -> Threads {
        let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
        let status = |task: &Path| fs::read_to_string(task.join("status")).unwrap();
        let rows = tasks.map(|task| {
            let text = status(&task.unwrap().path());
            let cells = text.lines().filter_map(|line| line.split_once(':'));
            let row = |(key, value): (&str, &str)| {
                let words: Vec<&str> = value.split_whitespace().collect();
                (key.to_owned(), words.join(" "))
            };
            cells.map(row).collect::<HashMap<_, _>>()
        });
        rows.map(|row| (row["Name"].clone(), row)).collect()
    }

    /// Runs this test binary again, with the options `wrapper` of setpriv and the one test `test` in
    /// it, which finds `words` in its environment; gives what it printed and its threads, looked at
    /// when it says that it is ready.
    fn in_a_process(wrapper: &[&str], test: &str, words: &str) -> (String, Threads) {
        let mut child = Command::new("setpriv")
            .args(wrapper)
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "--test-threads=1"])
            .arg(format!("node::privileges::tests::{test}"))
            .env(WORDS, words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines: BufReader<ChildStdout> = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        while !said.ends_with(READY) {
            let read = lines.read_line(&mut said).unwrap();
            assert!(read > 0, "the process ended early: {said}");
        }
        let threads = threads_of(child.id());
        drop(child.stdin.take());
        lines.read_to_string(&mut said).unwrap();
        assert!(child.wait().unwrap().success(), "{said}");
        (said, threads)
    }

    fn words_for_the_child() -> Option<String> {
        std::env::var(WORDS).ok()
    }

    /// Says that it can be looked at, in the words of the log, and waits until it was.
    fn be_looked_at() {
        print!("{READY}");
        std::io::stdout().flush().unwrap();
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    }

    /// A process as a node is one: a log that is there before, shards after. Each thread then waits
    /// until the process ends.
    fn confine(settings: &ProcessSettings) {
        let mut bus = Bus::new();
        let options = LogOptions {
            target: LogTarget::Stdout,
            verb: 3,
            mute: None,
            stamp: Stamp::None,
        };
        let log = Log::start(&options, bus.subscribe(8)).unwrap();
        let shards = 3;
        allow_locked_memory(locked_memory(
            shards,
            ReactorConfig::default().locked_memory(),
        ));
        let confinement = Confinement::of(settings).unwrap().unwrap();
        confinement.enter().unwrap();
        bus.publish(0, confinement.event(false));
        let (started, rings) = mpsc::channel();
        for shard in 0..shards {
            let started = started.clone();
            let run = move || {
                let waker = Waker::new().unwrap();
                let ring = Reactor::new(ReactorConfig::default(), waker);
                let mut bytes = [0; 32];
                SystemRandom.fill(&mut bytes);
                let made = ring.as_ref().map(|_| bytes).map_err(ToString::to_string);
                started.send(made).unwrap();
                thread::park();
            };
            thread::Builder::new()
                .name(format!("shard-{shard}"))
                .spawn(run)
                .unwrap();
        }
        for _ in 0..shards {
            assert_ne!(rings.recv().unwrap().unwrap(), [0; 32]);
        }
        bus.publish(0, NodeEvent::InitializationComplete);
        // The bus and the log live as long as the process.
        std::mem::forget((bus, log));
    }

    #[test]
    fn every_thread_is_confined() {
        if let Some(words) = words_for_the_child() {
            // The log says that it is ready to be looked at: by then it has heard of the rest.
            confine(&settings(&words));
            std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let root = format!("root={}", directory.path().display());
        let (nobody, somebody) = ("65534 65534 65534 65534", "0 0 0 0");
        for (words, uid, gid) in [
            ("user group".to_owned(), nobody, nobody),
            ("user".to_owned(), nobody, nobody),
            ("group".to_owned(), somebody, nobody),
            (format!("user group {root}"), nobody, nobody),
            (root, somebody, somebody),
        ] {
            let (_, threads) = in_a_process(&[], "every_thread_is_confined", &words);
            for name in ["log", "shard-0", "shard-1", "shard-2"] {
                assert!(threads.contains_key(name), "{words}: no {name}");
            }
            for (name, status) in &threads {
                let row = |key: &str| status[key].as_str();
                assert_eq!(row("Uid"), uid, "{words}: {name}");
                assert_eq!(row("Gid"), gid, "{words}: {name}");
                let groups: Vec<&str> = row("Groups").split_whitespace().collect();
                let own = gid.split(' ').next().unwrap();
                assert!(
                    groups.iter().all(|group| *group == own),
                    "{words}: {name} in {groups:?}"
                );
                // The test harness waits on its main thread, which is none of a node's.
                if name.starts_with("shard-") || name == "log" || name.contains("every_thre") {
                    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
                        assert_eq!(row(set), "0000000000000000", "{words}: {name} {set}");
                    }
                    assert_eq!(row("NoNewPrivs"), "1", "{words}: {name}");
                }
            }
        }
    }

    #[test]
    fn a_limit_that_is_too_low_is_named_when_there_is_no_ring() {
        if words_for_the_child().is_some() {
            let little = Some(64 * 1024);
            let (current, maximum) = (little, little);
            setrlimit(Resource::Memlock, Rlimit { current, maximum }).unwrap();
            let confinement = Confinement::of(&settings("user")).unwrap().unwrap();
            confinement.enter().unwrap();
            allow_locked_memory(1 << 30);
            let ring = Reactor::new(ReactorConfig::default(), Waker::new().unwrap());
            println!("{}", ring.err().unwrap());
            be_looked_at();
            return;
        }
        let test = "a_limit_that_is_too_low_is_named_when_there_is_no_ring";
        let (said, _) = in_a_process(&[], test, "little");
        assert!(
            said.contains("the limit on locked memory is 65536 bytes"),
            "{said}"
        );
        assert!(said.contains("LimitMEMLOCK="), "{said}");
    }

    #[test]
    fn who_lacks_a_capability_is_told_which() {
        if let Some(words) = words_for_the_child() {
            let confinement = Confinement::of(&settings(&words)).unwrap().unwrap();
            println!("{}", confinement.enter().unwrap_err());
            be_looked_at();
            return;
        }
        let permitted = "Operation not permitted (os error 1)";
        for (words, expected) in [
            (
                "root=/",
                format!("chroot to '/' failed: {permitted} (it lacks CAP_SYS_CHROOT"),
            ),
            (
                "group",
                format!(
                    "can't become a member of group group alone: {permitted} (it lacks CAP_SETGID"
                ),
            ),
            (
                "user",
                format!(
                    "can't become a member of group nogroup alone: {permitted} (it lacks CAP_SETGID"
                ),
            ),
        ] {
            let without = ["--bounding-set", "-setuid,-setgid,-sys_chroot"];
            let (said, _) = in_a_process(&without, "who_lacks_a_capability_is_told_which", words);
            assert!(said.contains(&expected), "{words}: {said}");
        }
    }

    #[test]
    fn a_root_that_is_not_there_is_named_without_blaming_a_capability() {
        let confinement = Confinement::of(&settings("root=/nonexistent/root"));
        let error = confinement.unwrap().unwrap().enter().unwrap_err();
        assert_eq!(
            error.to_string(),
            "chroot to '/nonexistent/root' failed: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn who_is_to_stay_is_not_confined() {
        assert_eq!(Confinement::of(&settings("")).unwrap(), None);
    }

    #[test]
    fn limits_are_raised_and_never_lowered() {
        let limit = |current, maximum| Rlimit { current, maximum };
        for (current, maximum, wanted) in [
            (Some(64), Some(64), Some((Some(100), Some(100)))),
            (Some(64), Some(200), Some((Some(100), Some(200)))),
            (Some(64), None, Some((Some(100), None))),
            (Some(100), Some(100), None),
            (None, None, None),
        ] {
            let wanted = wanted.map(|(current, maximum)| limit(current, maximum));
            assert_eq!(raised(limit(current, maximum), 100), wanted);
        }
    }

    const WORDS: &str = "RINGWAY_TEST_PRIVILEGES";
    const READY: &str = "Initialization Sequence Completed\n";
}

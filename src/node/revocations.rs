//! Which certificates are revoked, read on a thread of its own (`crl-verify`): a list that changes is
//! read again, and no shard ever waits for a disk.
//!
//! Wire: as with 2.6, a file that can't be found changes nothing, and one that has no list in it any more
//! lets nobody in. 2.6 looks whenever a client comes; here it is looked at every second.

use std::collections::HashSet;
use std::convert::Infallible;
use std::fs::{self, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam::channel::{self, RecvTimeoutError, Sender};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::CertificateDer;

use super::event::{NodeEvent, Text};
use super::message::Report;
use super::settings::{RevocationSettings, RevocationSource};
use crate::crypto::tls::{Revocations, SharedRevocations};
use crate::limits::{
    REVOCATION_FILE_MAX, REVOCATION_POLL, REVOCATIONS_ANNOUNCED, REVOCATIONS_REPEATED,
    REVOKED_FILES_MAX,
};
use crate::time::Now;

/// As long as there is this one, the thread looks.
#[derive(Debug)]
pub(super) struct RevocationWatch {
    _alive: Sender<Infallible>,
}

/// Why revocations were not read.
#[derive(Debug, thiserror::Error)]
pub enum RevocationFault {
    /// The system does not give them.
    #[error("{0}")]
    System(#[from] io::Error),
    /// What there is can't be used.
    #[error("{0}")]
    Content(String),
}

impl RevocationWatch {
    /// Starts the thread for what is settled at the start. Nothing is watched for lists that stand in the
    /// configuration itself, but for their end.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn start(
        settings: &RevocationSettings,
        authorities: &[CertificateDer<'static>],
        reports: Sender<Report>,
    ) -> io::Result<Self> {
        let (alive, ended) = channel::bounded(0);
        let mut looker = Looker {
            source: settings.source.clone(),
            known: Arc::clone(&settings.known),
            authorities: authorities.to_vec(),
            seen: None,
            // A directory of authorities seldom has lists.
            told: matches!(settings.source, RevocationSource::Hashed(_))
                && settings.known.now().is_empty(),
            missed: false,
            announced: None,
            reports,
        };
        thread::Builder::new()
            .name("revocations".to_owned())
            .spawn(move || {
                loop {
                    looker.look();
                    let waited = ended.recv_timeout(REVOCATION_POLL);
                    if waited == Err(RecvTimeoutError::Disconnected) {
                        return;
                    }
                }
            })?;
        Ok(Self { _alive: alive })
    }
}

struct Looker {
    source: RevocationSource,
    known: Arc<SharedRevocations>,
    authorities: Vec<CertificateDer<'static>>,
    /// As it was when it was read, once it had been left alone for a while.
    seen: Option<Version>,
    /// Whether what is known has been told.
    told: bool,
    /// Whether it was not there the last time.
    missed: bool,
    /// When the end of the lists was last announced, in Unix seconds.
    announced: Option<u64>,
    reports: Sender<Report>,
}

impl Looker {
    fn look(&mut self) {
        if let Some(path) = self.source.path() {
            match fs::metadata(path).map(|it| Version::of(&it)) {
                Ok(version) if self.seen == Some(version) => self.missed = false,
                Ok(version) => self.read_again(version),
                Err(_) => self.miss(),
            }
        }
        self.announce(Now::read().unix);
    }

    fn read_again(&mut self, version: Version) {
        let read = read(&self.source, &self.authorities, algorithms());
        let read = match read {
            Ok(read) => read,
            Err(RevocationFault::System(_)) => return self.miss(),
            Err(RevocationFault::Content(why)) => {
                if *self.known.now() != Revocations::Unreadable {
                    self.tell_file(|file| NodeEvent::RevocationsUnreadable {
                        file,
                        why: why.as_str().into(),
                    });
                }
                Revocations::Unreadable
            }
        };
        self.missed = false;
        // What changes twice within the clock's grain looks as if it had changed once.
        let settled = version.modified.0 + SETTLED < Now::read().unix.cast_signed();
        self.seen = settled.then_some(version);
        if *self.known.now() != read || !std::mem::replace(&mut self.told, true) {
            let count = read.len();
            let is_directory = matches!(read, Revocations::Serials(_));
            self.known.set(read);
            self.announced = None;
            self.tell_file(|file| NodeEvent::RevocationsRead {
                file,
                count,
                is_directory,
            });
        }
    }

    /// It is not there: what was known goes on.
    fn miss(&mut self) {
        if !std::mem::replace(&mut self.missed, true) {
            let text = "Failed to stat CRL file, not reloading CRL.".into();
            self.tell(NodeEvent::Warned { text });
        }
    }

    /// Says in good time, and again each day, that a list ends.
    fn announce(&mut self, now: u64) {
        let Some(end) = self.known.now().end() else {
            return;
        };
        let near = end <= now.saturating_add(REVOCATIONS_ANNOUNCED.as_secs());
        let before = self.announced;
        let lately = before.is_some_and(|at| now < at + REVOCATIONS_REPEATED.as_secs());
        // Its end is told when it comes, whatever was told before.
        let ended = end < now && before.is_some_and(|at| at <= end);
        if near && (!lately || ended) {
            self.announced = Some(now);
            self.tell_file(|file| NodeEvent::RevocationsEnd {
                file,
                left: end.checked_sub(now).map(Duration::from_secs),
            });
        }
    }

    fn tell_file(&self, event: impl FnOnce(Text) -> NodeEvent) {
        let path = self.source.path().map(|path| path.display().to_string());
        self.tell(event(path.as_deref().unwrap_or("[inline]").into()));
    }

    fn tell(&self, event: NodeEvent) {
        let _nobody_listens = self.reports.send(Report::Event(event));
    }
}

/// What tells one content of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    size: u64,
    inode: u64,
}

impl Version {
    fn of(metadata: &Metadata) -> Self {
        Self {
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            size: metadata.size(),
            inode: metadata.ino(),
        }
    }
}

/// What a file or directory says now. Lists of `authorities` must be signed by them.
///
/// # Errors
/// See [`RevocationFault`].
pub fn read(
    source: &RevocationSource,
    authorities: &[CertificateDer<'static>],
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<Revocations, RevocationFault> {
    match source {
        RevocationSource::Inline => Err(RevocationFault::Content("no file".to_owned())),
        RevocationSource::File(path) => {
            let pem = bounded(path)?;
            Revocations::from_pem(&pem, authorities, algorithms).map_err(RevocationFault::Content)
        }
        RevocationSource::Directory(path) => Ok(Revocations::Serials(serials(path)?)),
        RevocationSource::Hashed(path) => hashed(path, authorities, algorithms),
    }
}

/// The signature algorithms that are served.
pub fn algorithms() -> &'static WebPkiSupportedAlgorithms {
    static ALGORITHMS: std::sync::OnceLock<WebPkiSupportedAlgorithms> = std::sync::OnceLock::new();
    ALGORITHMS.get_or_init(|| {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms
    })
}

fn bounded(path: &Path) -> Result<Vec<u8>, RevocationFault> {
    let mut bytes = Vec::new();
    let mut file = fs::File::open(path)?.take(REVOCATION_FILE_MAX + 1);
    file.read_to_end(&mut bytes)?;
    if bytes.len() as u64 > REVOCATION_FILE_MAX {
        let why = format!("more than {REVOCATION_FILE_MAX} bytes");
        return Err(RevocationFault::Content(why));
    }
    Ok(bytes)
}

/// The lists in a directory whose files `openssl rehash` has named: eight digits, `.r` and a number.
/// There may be none.
fn hashed(
    path: &Path,
    authorities: &[CertificateDer<'static>],
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<Revocations, RevocationFault> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        names.extend(
            name.to_str()
                .filter(|name| is_list(name))
                .map(str::to_owned),
        );
        if names.len() > REVOKED_FILES_MAX {
            let why = format!("more than {REVOKED_FILES_MAX} files");
            return Err(RevocationFault::Content(why));
        }
    }
    names.sort();
    let mut all = Vec::new();
    for name in names {
        let pem = bounded(&path.join(&name))?;
        let read = Revocations::from_pem(&pem, authorities, algorithms);
        match read.map_err(|why| RevocationFault::Content(format!("{name}: {why}")))? {
            Revocations::Lists(lists) => all.extend(lists),
            Revocations::Serials(_) | Revocations::Unreadable => {}
        }
    }
    Ok(Revocations::Lists(all))
}

fn is_list(name: &str) -> bool {
    name.split_once(".r").is_some_and(|(hash, number)| {
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        hash.len() == 8 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) && digits
    })
}

/// The files of a directory that are named by a serial number.
fn serials(path: &Path) -> Result<HashSet<Box<str>>, RevocationFault> {
    let mut serials = HashSet::new();
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else {
            continue;
        };
        if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) {
            serials.insert(name.into());
        }
        if serials.len() > REVOKED_FILES_MAX {
            let why = format!("more than {REVOKED_FILES_MAX} files");
            return Err(RevocationFault::Content(why));
        }
    }
    Ok(serials)
}

/// A file that was last changed so many seconds ago has been read as it is.
const SETTLED: i64 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
        DnType, IsCa, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber, date_time_ymd,
    };

    struct Authority(CertifiedIssuer<'static, KeyPair>);

    impl Authority {
        fn new() -> Self {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, "ca");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap());
            Self(issuer.unwrap())
        }

        fn list(&self, revoked: u64, left: u64) -> String {
            let now = date_time_ymd(1970, 1, 1) + Duration::from_secs(Now::read().unix);
            let days = |days: u64| Duration::from_secs(days * 24 * 3600);
            let params = CertificateRevocationListParams {
                this_update: now - days(30),
                next_update: now + days(left),
                crl_number: SerialNumber::from(1),
                issuing_distribution_point: None,
                revoked_certs: vec![RevokedCertParams {
                    serial_number: SerialNumber::from(revoked),
                    revocation_time: now,
                    reason_code: None,
                    invalidity_date: None,
                }],
                key_identifier_method: KeyIdMethod::Sha256,
            };
            params.signed_by(&self.0).unwrap().pem().unwrap()
        }

        fn der(&self) -> CertificateDer<'static> {
            self.0.der().clone()
        }
    }

    fn looker(
        authority: &Authority,
        source: RevocationSource,
    ) -> (Looker, channel::Receiver<Report>) {
        let authorities = vec![authority.der()];
        let (reports, told) = channel::bounded(64);
        let known = read(&source, &authorities, algorithms()).unwrap();
        let looker = Looker {
            source,
            known: Arc::new(SharedRevocations::new(known)),
            authorities,
            seen: None,
            told: false,
            missed: false,
            announced: None,
            reports,
        };
        (looker, told)
    }

    fn words(told: &channel::Receiver<Report>) -> Vec<String> {
        let events = told.try_iter().map(|report| match report {
            Report::Event(event) => crate::node::log::line::lines(&event, 4),
            other => panic!("{other:?}"),
        });
        events.flatten().map(|line| line.text).collect()
    }

    #[test]
    fn a_list_that_changes_is_read_again() {
        let (authority, other) = (Authority::new(), Authority::new());
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("crl.pem");
        let write = |text: &str| fs::write(&path, text).unwrap();
        let name = path.display();
        write(&authority.list(7, 60));
        let (mut looker, told) = looker(&authority, RevocationSource::File(path.clone()));
        let first = looker.known.now();
        let loaded = format!("CRL: loaded 1 CRLs from file {name}");
        looker.look();
        looker.look();
        assert_eq!(words(&told), [loaded.as_str()]);
        assert_eq!(looker.known.now(), first);
        write(&authority.list(8, 60));
        looker.look();
        looker.look();
        assert_eq!(words(&told), [loaded.as_str()]);
        let second = looker.known.now();
        assert_ne!(second, first);

        fs::remove_file(&path).unwrap();
        looker.look();
        looker.look();
        let missing = "WARNING: Failed to stat CRL file, not reloading CRL.";
        assert_eq!(words(&told), [missing], "once");
        assert_eq!(looker.known.now(), second, "what was known goes on");

        for bad in [String::new(), "garbage".to_owned(), other.list(8, 60)] {
            write(&bad);
            looker.look();
            assert_eq!(*looker.known.now(), Revocations::Unreadable);
            let said = words(&told);
            assert!(
                said.iter().all(|line| line.contains(&format!("{name}"))),
                "{said:?}"
            );
        }
        write(&authority.list(8, 60));
        looker.look();
        assert_eq!(*looker.known.now(), *second);
        assert_eq!(words(&told).last(), Some(&loaded));
    }

    #[test]
    fn a_file_is_a_revoked_certificate_in_a_directory() {
        let authority = Authority::new();
        let directory = tempfile::tempdir().unwrap();
        for name in ["17", "x", "17.pem"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        let source = RevocationSource::Directory(directory.path().to_owned());
        let (mut looker, told) = looker(&authority, source);
        let serials =
            |of: &[&str]| Revocations::Serials(of.iter().copied().map(Into::into).collect());
        assert_eq!(*looker.known.now(), serials(&["17"]));
        fs::write(directory.path().join("18"), "").unwrap();
        looker.look();
        assert_eq!(*looker.known.now(), serials(&["17", "18"]));
        fs::remove_file(directory.path().join("17")).unwrap();
        looker.look();
        assert_eq!(*looker.known.now(), serials(&["18"]));
        let name = directory.path().display();
        let told = words(&told);
        assert_eq!(
            told[0],
            format!("CRL: 2 certificates are revoked in {name}")
        );
    }

    #[test]
    fn the_end_of_a_list_is_announced_fourteen_days_before_and_each_day() {
        let authority = Authority::new();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("crl.pem");
        fs::write(&path, authority.list(7, 20)).unwrap();
        let (mut looker, told) = looker(&authority, RevocationSource::File(path.clone()));
        let end = looker.known.now().end().unwrap();
        let day = 24 * 3600;
        let mut days = Vec::new();
        for hour in 0..21 * 24 {
            looker.announce(end - 20 * day + hour * 3600);
            for words in words(&told) {
                days.push((hour / 24, words));
            }
        }
        let told_on: Vec<u64> = days.iter().map(|(day, _)| *day).collect();
        assert_eq!(told_on[..3], [6, 7, 8]);
        assert_eq!(told_on.len(), 14 + 2, "{days:?}");
        let name = path.display();
        assert_eq!(
            days[0].1,
            format!("WARNING: the CRL {name} expires in 14 days: nobody can connect from then on")
        );
        assert_eq!(
            days.last().unwrap().1,
            format!(
                "WARNING: the CRL {name} has expired: nobody can connect until there is a new one"
            )
        );
    }
}

//! The file of address leases (`ifconfig-pool-persist`): which client had which address, over a
//! restart and from OpenVPN to here and back.
//!
//! Wire: a line a client, `CN,IPv4,IPv6`, in the order of the pool, as 2.6.14 reads and writes it. It
//! is read once, before anything is given away. A thread of its own writes it, since a disk may be
//! slow. The file stays open, so it is written whoever the process is by then and whatever its root.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossbeam::channel::{self, Sender};

use super::event::Text;
use super::leases::AddressPool;
use super::settings::LeaseSettings;
use super::writer::Writer;
use crate::limits::{CLIENT_NAME_MAX, LEASE_FAULTS_TOLD, LEASE_FILE_MAX, WRITER_GRACE};

/// The file, open, before there is a thread that writes it.
#[derive(Debug)]
pub(super) struct LeaseFile {
    file: File,
    path: PathBuf,
    /// How often it is written, `None` for never.
    interval: Option<Duration>,
    /// What stood in it.
    text: String,
}

/// What the file says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Remembered {
    /// Names with their slots of the pool.
    pub(super) leases: Vec<(Text, u32)>,
    /// What is wrong with lines of it, in OpenVPN's words.
    pub(super) faults: Vec<Text>,
}

/// The thread that writes the file, and when.
#[derive(Debug)]
pub(super) struct LeaseWriter {
    snapshots: Sender<Vec<(Text, u32)>>,
    writer: Writer,
    interval: Duration,
    next: Instant,
    /// The last change that it was given.
    written: u64,
}

impl LeaseFile {
    /// Opens the file and reads it. One that is to be written is made if it is not there.
    ///
    /// # Errors
    /// It can't be had.
    pub(super) fn open(settings: &LeaseSettings) -> io::Result<Self> {
        let path = settings.path.clone();
        let mut file = open(&path, settings.interval.is_some())?;
        let mut bytes = Vec::new();
        (&mut file).take(LEASE_FILE_MAX).read_to_end(&mut bytes)?;
        Ok(Self {
            file,
            path,
            interval: settings.interval,
            text: String::from_utf8_lossy(&bytes).into_owned(),
        })
    }

    /// What stood in it.
    pub(super) fn remembered(&self, pool: &AddressPool) -> Remembered {
        parse(&self.text, pool)
    }

    /// Whether the addresses in it are nobody else's, ever. Wire: so it is with a file that is only
    /// read.
    pub(super) const fn is_fixed(&self) -> bool {
        self.interval.is_none()
    }

    /// Starts the thread, if the file is to be written.
    ///
    /// # Errors
    /// No thread started.
    pub(super) fn start(self, pool: AddressPool) -> io::Result<Option<LeaseWriter>> {
        let Some(interval) = self.interval else {
            return Ok(None);
        };
        let (snapshots, asked) = channel::bounded::<Vec<(Text, u32)>>(1);
        let mut file = self;
        let writer = Writer::start("leases", move || {
            for leases in asked {
                // A file that is not rewritten is an older one; the next time may succeed.
                let _stale = file.write(&text(&leases, &pool));
            }
        })?;
        Ok(Some(LeaseWriter {
            snapshots,
            writer,
            interval,
            next: Instant::now() + interval,
            written: 0,
        }))
    }

    /// In place, since this user may make no other file there: all at once, and the old end away
    /// after it.
    fn write(&mut self, text: &str) -> io::Result<()> {
        if self.text == text {
            return Ok(());
        }
        if self.file.metadata()?.nlink() == 0 {
            // It was removed. A new one takes its place, if this user may make it.
            self.file = open(&self.path, true)?;
        }
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())?;
        self.file.set_len(text.len() as u64)?;
        self.file.sync_data()?;
        text.clone_into(&mut self.text);
        Ok(())
    }
}

impl LeaseWriter {
    /// When there is something to do.
    pub(super) const fn next_timeout(&self) -> Instant {
        self.next
    }

    /// Has the leases written, if it is time and they have changed since; `change` is the number of
    /// their last change. What finds the thread still busy is written the next time.
    pub(super) fn keep(
        &mut self,
        now: Instant,
        change: u64,
        leases: impl FnOnce() -> Vec<(Text, u32)>,
    ) {
        if now < self.next {
            return;
        }
        self.next = now + self.interval;
        if change != self.written && self.snapshots.try_send(leases()).is_ok() {
            self.written = change;
        }
    }

    /// Has the last state written, and waits for that; a disk that takes nothing is left alone after
    /// [`WRITER_GRACE`].
    pub(super) fn finish(self, leases: Vec<(Text, u32)>) {
        let _hung = self.snapshots.send_timeout(leases, WRITER_GRACE);
        drop(self.snapshots);
        self.writer.finish();
    }
}

fn open(path: &Path, written: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(written)
        .create(written)
        .truncate(false)
        .mode(OWNER_ONLY)
        .open(path)
}

fn parse(text: &str, pool: &AddressPool) -> Remembered {
    let mut leases = Vec::new();
    let mut faults = Faults::default();
    for line in text.lines() {
        let comment = line.starts_with(['#', ';']);
        let parts = line.split_once(',').filter(|_| !comment);
        let Some((name, addresses)) = parts.filter(|(name, _)| name.len() <= CLIENT_NAME_MAX)
        else {
            continue;
        };
        let (v4, v6) = addresses.split_once(',').unwrap_or((addresses, ""));
        let v6 = v6.split(',').next().unwrap_or_default();
        let by_v4 = slot::<Ipv4Addr>("IPv4", v4, name, pool, &mut faults);
        let by_v6 = slot::<Ipv6Addr>("IPv6", v6, name, pool, &mut faults);
        if by_v4.is_some() && by_v6.is_some() && by_v4 != by_v6 {
            faults.add(format!(
                "pool: IPv4 ({v4}) and IPv6 ({v6}) have different offsets! Relying on IPv4"
            ));
        }
        leases.extend(by_v4.or(by_v6).map(|slot| (name.into(), slot)));
    }
    Remembered {
        leases,
        faults: faults.told,
    }
}

/// The slot of one address of a line; an empty one is none.
fn slot<A: std::str::FromStr + Into<IpAddr>>(
    family: &str,
    text: &str,
    name: &str,
    pool: &AddressPool,
    faults: &mut Faults,
) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    let Ok(address) = text.parse::<A>() else {
        faults.add(format!("pool: invalid {family} ({text}) for CN={name}"));
        return None;
    };
    let slot = pool.slot_of(address.into());
    if slot.is_none() {
        faults.add(format!(
            "pool: {family} ({text}) out of pool range for CN={name}"
        ));
    }
    slot
}

/// The first faults: the log is not filled with a file of another server.
#[derive(Default)]
struct Faults {
    told: Vec<Text>,
}

impl Faults {
    fn add(&mut self, fault: String) {
        if self.told.len() < LEASE_FAULTS_TOLD {
            self.told.push(fault.into());
        }
    }
}

/// The file's text.
fn text(leases: &[(Text, u32)], pool: &AddressPool) -> String {
    let mut text = String::new();
    for (name, slot) in leases.iter().filter(|(name, _)| is_readable(name)) {
        let addresses = pool.addresses(*slot);
        // Wire: of a block its first address, in which nobody is.
        let v4 = pool.block(*slot);
        let v4 = v4.map(|it| it.to_string()).unwrap_or_default();
        let v6 = addresses.v6.map(|it| it.to_string()).unwrap_or_default();
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{name},{v4},{v6}");
    }
    text
}

/// Whether a line with this name would be read as what it is: else a client could give itself a line
/// with the name of another.
fn is_readable(name: &str) -> bool {
    let forbidden = |character: char| character == ',' || character.is_control();
    !name.is_empty() && !name.starts_with(['#', ';']) && !name.contains(forbidden)
}

/// It names clients.
const OWNER_ONLY: u32 = 0o600;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::leases::Blocks;

    fn pool() -> AddressPool {
        AddressPool {
            v4: Some("10.99.0.2".parse().unwrap()),
            v4_blocks: Blocks::Single,
            v6: Some("fd99::1000".parse().unwrap()),
            slots: 253,
        }
    }

    fn leases(of: &[(&str, u32)]) -> Vec<(Text, u32)> {
        of.iter()
            .map(|(name, slot)| ((*name).into(), *slot))
            .collect()
    }

    /// The file and the lines of log are those of OpenVPN 2.6.14.
    #[test]
    fn a_file_is_understood_as_openvpn_does() {
        let text = "# comment\nalice,10.99.0.9,\nbob,10.99.0.7,fd99::1009\ncarl,10.98.0.7,\n\
                    dora,,fd99::1003\nxx\nfred,10.99.0.4\neve,banana\n\ngina,10.99.0.3,fd99::1001,x\r\n\
                    hal,,\n;ida,10.99.0.20,\n";
        let read = parse(text, &pool());
        assert_eq!(
            read.leases,
            leases(&[
                ("alice", 7),
                ("bob", 5),
                ("dora", 3),
                ("fred", 2),
                ("gina", 1)
            ])
        );
        assert_eq!(
            read.faults,
            [
                "pool: IPv4 (10.99.0.7) and IPv6 (fd99::1009) have different offsets! Relying on IPv4",
                "pool: IPv4 (10.98.0.7) out of pool range for CN=carl",
                "pool: invalid IPv4 (banana) for CN=eve",
            ]
            .map(Text::from)
        );
    }

    #[test]
    fn what_is_written_is_what_openvpn_writes() {
        let written = leases(&[("dora", 3), ("bob", 5), ("a,10.99.0.9", 6), ("#x", 7)]);
        assert_eq!(
            text(&written, &pool()),
            "dora,10.99.0.5,fd99::1003\nbob,10.99.0.7,fd99::1005\n"
        );
        let v4 = AddressPool { v6: None, ..pool() };
        let v6 = AddressPool { v4: None, ..pool() };
        let one = leases(&[("bob", 5)]);
        assert_eq!(text(&one, &v4), "bob,10.99.0.7,\n");
        assert_eq!(text(&one, &v6), "bob,,fd99::1005\n");
        for pool in [v4, v6] {
            let read = parse(&text(&one, &pool), &pool);
            assert_eq!((read.leases, read.faults), (one.clone(), Vec::new()));
        }
    }

    /// Wire: what OpenVPN 2.6.14 writes under `topology net30`, and what it reads.
    #[test]
    fn of_net30_the_first_address_of_a_block_is_written_and_any_is_read() {
        let pool = AddressPool {
            v4: Some("10.8.0.4".parse().unwrap()),
            v4_blocks: Blocks::Net30,
            v6: None,
            slots: 62,
        };
        let of = leases(&[("alice", 0), ("bob", 61)]);
        let written = "alice,10.8.0.4,\nbob,10.8.0.248,\n";
        assert_eq!(text(&of, &pool), written);
        for text in [written, "alice,10.8.0.6,\nbob,10.8.0.251,\n"] {
            let read = parse(text, &pool);
            assert_eq!((read.leases, read.faults), (of.clone(), Vec::new()));
        }
        let beyond = parse("carl,10.8.0.252,\n", &pool);
        assert_eq!(beyond.leases, []);
        assert_eq!(
            beyond.faults,
            ["pool: IPv4 (10.8.0.252) out of pool range for CN=carl"].map(Text::from)
        );
    }

    #[test]
    fn the_faults_of_a_foreign_file_are_bounded() {
        let text: String = (0..1000)
            .map(|n| format!("client-{n},192.0.2.1,\n"))
            .collect();
        assert_eq!(parse(&text, &pool()).faults.len(), LEASE_FAULTS_TOLD);
    }

    #[test]
    fn the_file_is_written_when_it_is_time_and_something_has_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ipp.txt");
        std::fs::write(&path, "a-client-with-a-long-name,10.99.0.9,\n").unwrap();
        let interval = Duration::from_secs(600);
        let settings = LeaseSettings {
            path: path.clone(),
            interval: Some(interval),
        };
        let file = LeaseFile::open(&settings).unwrap();
        assert!(!file.is_fixed());
        let before = file.remembered(&pool()).leases;
        assert_eq!(before, leases(&[("a-client-with-a-long-name", 7)]));
        let start = Instant::now();
        let mut writer = file.start(pool()).unwrap().unwrap();
        let unasked = || -> Vec<_> { panic!("nobody asked for it") };
        writer.keep(start, 1, unasked);
        let due = writer.next_timeout();
        assert!(due >= start + interval);
        writer.keep(due, 0, unasked);
        assert_eq!(writer.next_timeout(), due + interval);
        let mut asked = 0;
        for (turn, change) in [(1, 1), (2, 1), (3, 2)] {
            writer.keep(due + turn * interval, change, || {
                asked += 1;
                leases(&[("bob", 5)])
            });
            // It was taken before the next one comes.
            while !writer.snapshots.is_empty() {
                std::thread::yield_now();
            }
        }
        assert_eq!(asked, 2);
        writer.finish(leases(&[("carl", 6)]));
        let written = std::fs::read_to_string(&path).unwrap();
        assert_eq!(written, "carl,10.99.0.8,fd99::1006\n");
    }

    #[test]
    fn a_file_that_is_only_read_must_be_there_and_stays_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ipp.txt");
        let settings = LeaseSettings {
            path: path.clone(),
            interval: None,
        };
        let missing = LeaseFile::open(&settings).map(drop).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        std::fs::write(&path, "bob,10.99.0.9,\n").unwrap();
        let file = LeaseFile::open(&settings).unwrap();
        assert!(file.is_fixed());
        assert!(file.start(pool()).unwrap().is_none());
    }
}

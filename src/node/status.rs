//! The status file: who is connected, in the three formats that monitoring tools read.
//!
//! Wire: wire.md section 17.1, byte exact with OpenVPN 2.6.14. The node thread hands over a
//! snapshot; a thread of its own formats and writes it, so that a slow disk delays nobody.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crossbeam::channel::{self, Sender};
use ipnet::IpNet;
use jiff::tz::TimeZone;

use super::event::{Printable, RealAddress, Text};
use super::local_time::{local_time, system_zone};
use super::title::title;
use super::writer::Writer;
use crate::wire::PeerId;

/// Everything that a status file says, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusSnapshot {
    /// The moment, in Unix seconds.
    pub unix: u64,
    /// The clients, in the order of their rows.
    pub clients: Vec<ClientStatus>,
    /// The most packets that waited for one client at a time, since the last file.
    pub longest_queue: u64,
}

/// One client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientStatus {
    /// Its name; `None` while it is not authenticated.
    pub common_name: Option<Text>,
    /// Where it sends from.
    pub address: SocketAddr,
    /// Its IPv4 address inside the tunnel.
    pub v4: Option<Ipv4Addr>,
    /// Its IPv6 address inside the tunnel.
    pub v6: Option<Ipv6Addr>,
    /// UDP payload bytes of accepted packets of both channels.
    pub bytes_received: u64,
    /// UDP payload bytes sent to it on both channels.
    pub bytes_sent: u64,
    /// When it connected, in Unix seconds.
    pub connected_since: u64,
    /// The user, where one logged in.
    pub username: Option<Text>,
    /// The registry's number.
    pub client_id: u64,
    /// The peer id of its data packets.
    pub peer_id: PeerId,
    /// The data cipher in OpenVPN's spelling, empty while there is none.
    pub cipher: Text,
    /// What leads to it inside the tunnel.
    pub routes: Vec<RouteStatus>,
}

/// One address or network that leads to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteStatus {
    /// Which one.
    pub destination: RouteDestination,
    /// When it was last used, in Unix seconds.
    pub last_reference: u64,
}

/// What leads to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteDestination {
    /// An address of its own.
    Address(IpAddr),
    /// A network behind it.
    Network(IpNet),
    /// A host in such a network that was heard of lately.
    Host(IpAddr),
}

/// The format. Names are OpenVPN's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusFormat {
    /// Sections with titles.
    V1,
    /// One kind a line, commas.
    V2,
    /// One kind a line, tabs.
    V3,
}

/// The open file, before there is a thread that writes it.
#[derive(Debug)]
pub struct StatusWriter {
    file: File,
    path: PathBuf,
    format: StatusFormat,
    zone: TimeZone,
}

/// The thread that writes the file.
#[derive(Debug)]
pub struct StatusFile {
    snapshots: Sender<StatusSnapshot>,
    writer: Writer,
}

impl StatusSnapshot {
    /// The text of the file, lines ended by a line feed.
    pub fn text(&self, format: StatusFormat, zone: &TimeZone) -> String {
        match format {
            StatusFormat::V1 => self.sections(zone),
            StatusFormat::V2 => self.rows(',', zone),
            StatusFormat::V3 => self.rows('\t', zone),
        }
    }

    fn sections(&self, zone: &TimeZone) -> String {
        let mut rows = Rows::new(',');
        rows.row(&["OpenVPN CLIENT LIST"]);
        rows.row(&["Updated", &local_time(self.unix, zone)]);
        rows.row(&V1_CLIENT_COLUMNS);
        for client in &self.clients {
            rows.row(&[
                &or_undef(client.common_name.as_ref()),
                &RealAddress(client.address).to_string(),
                &client.bytes_received.to_string(),
                &client.bytes_sent.to_string(),
                &local_time(client.connected_since, zone),
            ]);
        }
        rows.row(&["ROUTING TABLE"]);
        rows.row(&ROUTE_COLUMNS[..4]);
        for (client, route) in self.routes() {
            let [destination, name, address, time, _] = route_cells(client, route, zone);
            rows.row(&[&destination, &name, &address, &time]);
        }
        rows.row(&["GLOBAL STATS"]);
        rows.row(&[LONGEST_QUEUE, &self.longest_queue.to_string()]);
        rows.end()
    }

    fn rows(&self, separator: char, zone: &TimeZone) -> String {
        let mut rows = Rows::new(separator);
        rows.row(&["TITLE", title()]);
        rows.row(&["TIME", &local_time(self.unix, zone), &self.unix.to_string()]);
        rows.headed("CLIENT_LIST", &CLIENT_COLUMNS);
        for client in &self.clients {
            rows.row(&[
                "CLIENT_LIST",
                &or_undef(client.common_name.as_ref()),
                &RealAddress(client.address).to_string(),
                &client.v4.map_or_else(String::new, |v4| v4.to_string()),
                &client.v6.map_or_else(String::new, |v6| v6.to_string()),
                &client.bytes_received.to_string(),
                &client.bytes_sent.to_string(),
                &local_time(client.connected_since, zone),
                &client.connected_since.to_string(),
                &or_undef(client.username.as_ref()),
                &client.client_id.to_string(),
                &client.peer_id.get().to_string(),
                &client.cipher,
            ]);
        }
        rows.headed("ROUTING_TABLE", &ROUTE_COLUMNS);
        for (client, route) in self.routes() {
            let [destination, name, address, time, seconds] = route_cells(client, route, zone);
            rows.row(&[
                "ROUTING_TABLE",
                &destination,
                &name,
                &address,
                &time,
                &seconds,
            ]);
        }
        rows.row(&[
            "GLOBAL_STATS",
            LONGEST_QUEUE,
            &self.longest_queue.to_string(),
        ]);
        rows.row(&["GLOBAL_STATS", "dco_enabled", "0"]);
        rows.end()
    }

    fn routes(&self) -> impl Iterator<Item = (&ClientStatus, &RouteStatus)> {
        self.clients
            .iter()
            .flat_map(|client| client.routes.iter().map(move |route| (client, route)))
    }
}

impl StatusWriter {
    /// Opens the file for as long as the process lives, whoever that is later, and whatever its
    /// root directory.
    ///
    /// # Errors
    /// The file can't be opened for writing.
    pub fn open(path: PathBuf, format: StatusFormat) -> io::Result<Self> {
        Ok(Self {
            file: open(&path)?,
            path,
            format,
            zone: system_zone(),
        })
    }

    /// In which format it is written.
    pub(super) const fn format(&self) -> StatusFormat {
        self.format
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// No thread started.
    pub fn start(mut self) -> io::Result<StatusFile> {
        let (sender, receiver) = channel::bounded::<StatusSnapshot>(1);
        let writer = Writer::start("status", move || {
            for snapshot in receiver {
                // A file that is not rewritten shows its age; the next one may succeed.
                let _stale = self.write(&snapshot);
            }
        })?;
        Ok(StatusFile {
            snapshots: sender,
            writer,
        })
    }

    fn write(&mut self, snapshot: &StatusSnapshot) -> io::Result<()> {
        if self.file.metadata()?.nlink() == 0 {
            // It was removed. A new one takes its place, if this user may make it.
            self.file = open(&self.path)?;
        }
        let text = snapshot.text(self.format, &self.zone);
        self.rewrite(text.as_bytes())
    }

    /// In place, as tools that hold the file open expect; the whole text at once and the old end
    /// after it, so that a reader hardly ever sees a part of it. Into a pipe, one after the other.
    fn rewrite(&mut self, text: &[u8]) -> io::Result<()> {
        if !self.file.metadata()?.is_file() {
            return self.file.write_all(text);
        }
        self.file.rewind()?;
        self.file.write_all(text)?;
        self.file.set_len(text.len() as u64)
    }
}

impl StatusFile {
    /// Has a snapshot written. While an older one still waits, this one is left out: false.
    pub fn offer(&self, snapshot: StatusSnapshot) -> bool {
        self.snapshots.try_send(snapshot).is_ok()
    }

    /// Waits until everything that was taken is written; a file that takes nothing is left alone
    /// after [`WRITER_GRACE`](crate::limits::WRITER_GRACE).
    pub fn finish(self) {
        drop(self.snapshots);
        self.writer.finish();
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(OWNER_ONLY)
        .open(path)
}

/// The text so far.
struct Rows {
    separator: char,
    text: String,
}

impl Rows {
    fn new(separator: char) -> Self {
        Self {
            separator,
            text: String::new(),
        }
    }

    fn row(&mut self, cells: &[&str]) {
        for (index, cell) in cells.iter().enumerate() {
            if index > 0 {
                self.text.push(self.separator);
            }
            // Writing to a String cannot fail.
            let _infallible = write!(self.text, "{}", Printable(cell));
        }
        self.text.push('\n');
    }

    fn headed(&mut self, kind: &str, columns: &[&str]) {
        let mut cells = vec!["HEADER", kind];
        cells.extend_from_slice(columns);
        self.row(&cells);
    }

    fn end(mut self) -> String {
        self.text.push_str("END\n");
        self.text
    }
}

fn or_undef(name: Option<&Text>) -> Text {
    name.cloned().unwrap_or_else(|| "UNDEF".into())
}

fn route_cells(client: &ClientStatus, route: &RouteStatus, zone: &TimeZone) -> [String; 5] {
    let RouteStatus {
        destination,
        last_reference,
    } = route;
    [
        match destination {
            RouteDestination::Address(address) => address.to_string(),
            RouteDestination::Network(network) => network.to_string(),
            RouteDestination::Host(host) => format!("{host}C"),
        },
        or_undef(client.common_name.as_ref()).to_string(),
        RealAddress(client.address).to_string(),
        local_time(*last_reference, zone),
        last_reference.to_string(),
    ]
}

/// The mode of a new status file, as OpenVPN makes it.
const OWNER_ONLY: u32 = 0o600;

const LONGEST_QUEUE: &str = "Max bcast/mcast queue length";

const V1_CLIENT_COLUMNS: [&str; 5] = [
    "Common Name",
    "Real Address",
    "Bytes Received",
    "Bytes Sent",
    "Connected Since",
];

const CLIENT_COLUMNS: [&str; 12] = [
    "Common Name",
    "Real Address",
    "Virtual Address",
    "Virtual IPv6 Address",
    "Bytes Received",
    "Bytes Sent",
    "Connected Since",
    "Connected Since (time_t)",
    "Username",
    "Client ID",
    "Peer ID",
    "Data Channel Cipher",
];

const ROUTE_COLUMNS: [&str; 5] = [
    "Virtual Address",
    "Common Name",
    "Real Address",
    "Last Ref",
    "Last Ref (time_t)",
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn route(destination: &str, last_reference: u64) -> RouteStatus {
        let address = destination.parse().map(RouteDestination::Address);
        let network = || RouteDestination::Network(destination.parse().unwrap());
        RouteStatus {
            destination: address.unwrap_or_else(|_| network()),
            last_reference,
        }
    }

    /// The client of wire.md's example.
    fn snapshot() -> StatusSnapshot {
        StatusSnapshot {
            unix: 1_795_309_235,
            clients: vec![ClientStatus {
                common_name: Some("cli".into()),
                address: "10.77.0.2:53746".parse().unwrap(),
                v4: Some("10.8.0.2".parse().unwrap()),
                v6: Some("fd00:8::2".parse().unwrap()),
                bytes_received: 2572,
                bytes_sent: 2508,
                connected_since: 1_795_309_229,
                username: None,
                client_id: 0,
                peer_id: PeerId::new(0).unwrap(),
                cipher: "AES-256-GCM".into(),
                routes: vec![
                    route("10.8.0.2", 1_795_309_235),
                    route("192.168.50.0/24", 1_795_309_229),
                    route("192.168.60.7/32", 1_795_309_229),
                ],
            }],
            longest_queue: 1,
        }
    }

    #[test]
    fn version_1_is_openvpns_to_the_byte() {
        assert_eq!(
            snapshot().text(StatusFormat::V1, &TimeZone::UTC),
            "OpenVPN CLIENT LIST\n\
             Updated,2026-11-22 01:00:35\n\
             Common Name,Real Address,Bytes Received,Bytes Sent,Connected Since\n\
             cli,10.77.0.2:53746,2572,2508,2026-11-22 01:00:29\n\
             ROUTING TABLE\n\
             Virtual Address,Common Name,Real Address,Last Ref\n\
             10.8.0.2,cli,10.77.0.2:53746,2026-11-22 01:00:35\n\
             192.168.50.0/24,cli,10.77.0.2:53746,2026-11-22 01:00:29\n\
             192.168.60.7/32,cli,10.77.0.2:53746,2026-11-22 01:00:29\n\
             GLOBAL STATS\n\
             Max bcast/mcast queue length,1\n\
             END\n"
        );
    }

    const V2: &str = "\
TIME,2026-11-22 01:00:35,1795309235
HEADER,CLIENT_LIST,Common Name,Real Address,Virtual Address,Virtual IPv6 Address,Bytes Received,Bytes Sent,Connected Since,Connected Since (time_t),Username,Client ID,Peer ID,Data Channel Cipher
CLIENT_LIST,cli,10.77.0.2:53746,10.8.0.2,fd00:8::2,2572,2508,2026-11-22 01:00:29,1795309229,UNDEF,0,0,AES-256-GCM
HEADER,ROUTING_TABLE,Virtual Address,Common Name,Real Address,Last Ref,Last Ref (time_t)
ROUTING_TABLE,10.8.0.2,cli,10.77.0.2:53746,2026-11-22 01:00:35,1795309235
ROUTING_TABLE,192.168.50.0/24,cli,10.77.0.2:53746,2026-11-22 01:00:29,1795309229
ROUTING_TABLE,192.168.60.7/32,cli,10.77.0.2:53746,2026-11-22 01:00:29,1795309229
GLOBAL_STATS,Max bcast/mcast queue length,1
GLOBAL_STATS,dco_enabled,0
END
";

    #[test]
    fn version_2_is_openvpns_to_the_byte_after_the_title() {
        let text = snapshot().text(StatusFormat::V2, &TimeZone::UTC);
        let (first, rest) = text.split_once('\n').unwrap();
        assert_eq!(first, format!("TITLE,{}", title()));
        assert_eq!(rest, V2);
    }

    #[test]
    fn version_3_has_tabs_for_commas() {
        let text = snapshot().text(StatusFormat::V3, &TimeZone::UTC);
        let (first, rest) = text.split_once('\n').unwrap();
        assert_eq!(first, format!("TITLE\t{}", title()));
        assert_eq!(rest, V2.replace(',', "\t"));
    }

    #[test]
    fn what_is_missing_and_ipv6_are_written_as_openvpn_2_6_does() {
        let mut snapshot = snapshot();
        let client = &mut snapshot.clients[0];
        client.common_name = None;
        client.address = "[fd77::2]:49236".parse().unwrap();
        (client.v4, client.v6) = (None, None);
        client.cipher = "".into();
        let text = snapshot.text(StatusFormat::V2, &TimeZone::UTC);
        assert_eq!(
            text.lines().nth(3),
            Some("CLIENT_LIST,UNDEF,fd77::2,,,2572,2508,2026-11-22 01:00:29,1795309229,UNDEF,0,0,")
        );
    }

    #[test]
    fn a_name_cannot_make_a_row() {
        let mut snapshot = snapshot();
        snapshot.clients[0].common_name = Some("x\nEND".into());
        let text = snapshot.text(StatusFormat::V1, &TimeZone::UTC);
        assert_eq!(text.lines().count(), 12);
        assert!(text.contains("\nx_END,10.77.0.2:53746,"));
    }

    fn start(path: PathBuf, format: StatusFormat) -> StatusFile {
        StatusWriter::open(path, format).unwrap().start().unwrap()
    }

    #[test]
    fn the_file_is_rewritten_in_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("status");
        fs::write(&path, "x".repeat(10_000)).unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        let file = start(path.clone(), StatusFormat::V1);
        assert!(file.offer(snapshot()));
        file.finish();
        let written = fs::read_to_string(&path).unwrap();
        assert!(written.starts_with("OpenVPN CLIENT LIST\nUpdated,"));
        assert!(written.ends_with("\nEND\n"));
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
    }

    #[test]
    fn a_file_that_was_removed_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("status");
        let file = start(path.clone(), StatusFormat::V2);
        fs::remove_file(&path).unwrap();
        assert!(file.offer(snapshot()));
        file.finish();
        assert!(fs::read_to_string(&path).unwrap().ends_with("\nEND\n"));
    }

    #[test]
    fn a_shorter_text_leaves_nothing_of_the_longer_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("status");
        let mut writer = StatusWriter::open(path.clone(), StatusFormat::V1).unwrap();
        writer.rewrite(b"a long text\n").unwrap();
        writer.rewrite(b"short\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "short\n");
    }

    #[test]
    fn a_new_file_is_its_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("status");
        start(path.clone(), StatusFormat::V2).finish();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error_at_start() {
        assert!(StatusWriter::open("/nonexistent/folder/status".into(), StatusFormat::V1).is_err());
    }
}

//! The namespaces of one test: made by it, named after its process, removed when it ends.

use std::fs::Permissions;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

use crate::process::{eventually, run};

/// Client, server and LAN namespaces, joined by virtual Ethernet pairs, and a directory for files.
pub(crate) struct Topology {
    /// The server's namespace.
    pub(crate) server: Namespace,
    /// The host behind the server.
    pub(crate) lan: Namespace,
    /// One namespace for each client.
    pub(crate) clients: Vec<Namespace>,
    directory: TempDir,
}

impl Topology {
    /// A topology with `clients` clients.
    pub(crate) fn new(clients: usize) -> Self {
        static SWEEP: Once = Once::new();
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        SWEEP.call_once(sweep);
        let prefix = format!(
            "rw{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );

        let server = Namespace::new(format!("{prefix}-s"));
        for key in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            server.run("sysctl", &["-q", "-w", &format!("{key}=1")]);
        }
        let lan = Namespace::new(format!("{prefix}-lan"));
        join(&server, "lan", &lan, "lan");
        server.addresses("lan", &["10.90.0.1/24", "fd90::1/64"]);
        lan.addresses("lan", &["10.90.0.2/24", "fd90::2/64"]);
        lan.ip(&["route", "add", "default", "via", "10.90.0.1"]);
        lan.ip(&["-6", "route", "add", "default", "via", "fd90::1"]);

        let clients = (0..clients).map(|i| {
            let client = Namespace::new(format!("{prefix}-c{i}"));
            let link = format!("c{i}");
            join(&server, &link, &client, "out");
            for (namespace, device, [first, second]) in
                [(&server, link.as_str(), [1, 9]), (&client, "out", [2, 3])]
            {
                let v4 = [first, second].map(|it| format!("10.80.{i}.{it}/24"));
                let v6 = [first, second].map(|it| format!("fd80:{i}::{it}/64"));
                namespace.addresses(device, &[&v4[0], &v6[0]]);
                namespace.second_addresses(device, &[&v4[1], &v6[1]]);
            }
            client
        });
        let clients: Vec<Namespace> = clients.collect();
        for namespace in clients.iter().chain([&server, &lan]) {
            namespace.wait_for_links();
        }
        let prefix = format!("{DIRECTORY}{}-", std::process::id());
        let directory = tempfile::Builder::new().prefix(&prefix).tempdir().unwrap();
        Self {
            server,
            lan,
            clients,
            directory,
        }
    }

    /// A network behind client `index`, which forwards to it: 10.91.<i>.0/24 and fd91:<i>::/64, with
    /// one host, which has the client for everything else.
    pub(crate) fn branch(&self, index: usize) -> Namespace {
        let client = &self.clients[index];
        for key in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            client.run("sysctl", &["-q", "-w", &format!("{key}=1")]);
        }
        let host = Namespace::new(format!("{}b", client.name()));
        join(client, "branch", &host, "branch");
        let addresses = |last: u8| {
            [
                format!("10.91.{index}.{last}/24"),
                format!("fd91:{index}::{last}/64"),
            ]
        };
        for (namespace, last) in [(client, 1), (&host, 2)] {
            let [v4, v6] = addresses(last);
            namespace.addresses("branch", &[&v4, &v6]);
        }
        host.ip(&[
            "route",
            "add",
            "default",
            "via",
            &format!("10.91.{index}.1"),
        ]);
        host.ip(&[
            "-6",
            "route",
            "add",
            "default",
            "via",
            &format!("fd91:{index}::1"),
        ]);
        host
    }

    /// The directory of the test's files, removed with the topology.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file into the test's directory.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.directory().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }
}

/// One network namespace.
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    fn new(name: String) -> Self {
        run("ip", &["netns", "add", &name]);
        let namespace = Self { name };
        // Who forwards a packet asks for its neighbour by a link-local address, which the kernel lends nobody before it has
        // looked for others with the same: seconds, on a busy machine. There are none here.
        for of in ["all", "default"] {
            let key = format!("net.ipv6.conf.{of}.accept_dad=0");
            namespace.run("sysctl", &["-q", "-w", &key]);
        }
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
    }

    /// The name, as `ip netns` knows it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` on this namespace.
    pub(crate) fn ip(&self, arguments: &[&str]) -> String {
        run("ip", &[&["-n", &self.name], arguments].concat())
    }

    /// Runs a command in this namespace to its end.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> String {
        run(
            "ip",
            &[&["netns", "exec", &self.name, program], arguments].concat(),
        )
    }

    /// Runs `work` on a thread that lives in this namespace: the sockets it opens are there, and
    /// stay there wherever they are used later.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let link = std::fs::File::open(format!("/run/netns/{}", self.name)).unwrap();
        std::thread::spawn(move || {
            move_into_link_name_space(link.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        })
    }

    /// Waits until the kernel uses all addresses, without link-local ones. It gives an IPv6 address
    /// its route a moment after it was added, even where there is no neighbour to ask about it.
    pub(crate) fn wait_for_addresses(&self) {
        let tentative = [
            "-o",
            "-6",
            "address",
            "show",
            "scope",
            "global",
            "tentative",
        ];
        eventually("addresses in use", || {
            self.ip(&tentative).is_empty().then_some(())
        });
    }

    /// Waits until the kernel uses all addresses, link-local ones too.
    fn wait_for_links(&self) {
        eventually("links in use", || {
            let tentative = self.ip(&["-o", "-6", "address", "show", "tentative"]);
            tentative.is_empty().then_some(())
        });
    }

    /// The addresses of a device, without link-local ones.
    pub(crate) fn addresses_of(&self, device: &str) -> Vec<IpAddr> {
        let text = self.ip(&["-o", "address", "show", "dev", device, "scope", "global"]);
        let words = text
            .lines()
            .filter_map(|line| line.split_whitespace().nth(3));
        words
            .filter_map(|word| word.split('/').next()?.parse().ok())
            .collect()
    }

    fn addresses(&self, device: &str, addresses: &[&str]) {
        for address in addresses {
            self.ip(&["address", "add", address, "dev", device, "nodad"]);
        }
        self.ip(&["link", "set", device, "up"]);
    }

    /// Addresses that are never chosen as the source of something new.
    fn second_addresses(&self, device: &str, addresses: &[&str]) {
        let lifetime = ["preferred_lft", "0"];
        for address in addresses {
            let add = ["address", "add", address, "dev", device, "nodad"];
            self.ip(&[&add[..], &lifetime[..]].concat());
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Best effort: a namespace that could not be removed is swept by the next run.
        let _ = std::process::Command::new("ip")
            .args(["netns", "del", &self.name])
            .output();
    }
}

/// The server's address as client `index` sees it.
pub(crate) fn server_v4(index: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 80, u8::try_from(index).unwrap(), 1))
}

/// The server's IPv6 address as client `index` sees it.
pub(crate) fn server_v6(index: usize) -> IpAddr {
    // The drawing writes fd80:<i>:: with the index in decimal digits, read as hexadecimal.
    format!("fd80:{index}::1")
        .parse::<Ipv6Addr>()
        .map(IpAddr::V6)
        .unwrap()
}

/// The addresses of the host in the network behind client `index`.
pub(crate) fn branch_host(index: usize) -> [IpAddr; 2] {
    [
        format!("10.91.{index}.2").parse().unwrap(),
        format!("fd91:{index}::2").parse().unwrap(),
    ]
}

/// The host behind the server.
pub(crate) const LAN_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 90, 0, 2));
/// The host behind the server, IPv6.
pub(crate) const LAN_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd90, 0, 0, 0, 0, 0, 0, 2));
/// The server inside the tunnel.
pub(crate) const TUNNEL_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 8, 0, 1));
/// The server inside the tunnel, IPv6.
pub(crate) const TUNNEL_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd08, 0, 0, 0, 0, 0, 0, 1));

fn join(left: &Namespace, left_device: &str, right: &Namespace, right_device: &str) {
    let peer = ["peer", "name", right_device, "netns", right.name()];
    left.ip(&[&["link", "add", left_device, "type", "veth"], &peer[..]].concat());
}

/// Removes what test processes left that are no more (killed, or the machine lost power).
fn sweep() {
    // Best effort: another test process may sweep at the same time.
    for line in run("ip", &["netns", "list"]).lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        if name.strip_prefix("rw").is_some_and(is_of_a_dead_process) {
            let _ = std::process::Command::new("ip")
                .args(["netns", "del", name])
                .output();
        }
    }
    for entry in std::fs::read_dir(std::env::temp_dir())
        .unwrap()
        .map_while(Result::ok)
    {
        let name = entry.file_name();
        let name = name.to_str().and_then(|name| name.strip_prefix(DIRECTORY));
        if name.is_some_and(is_of_a_dead_process) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// True when the number that `name` begins with is no process's.
fn is_of_a_dead_process(name: &str) -> bool {
    let pid = name
        .split('-')
        .next()
        .and_then(|pid| pid.parse::<u32>().ok());
    pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
}

/// How the names of the tests' directories begin, before the process id.
const DIRECTORY: &str = "ringway-interop-";

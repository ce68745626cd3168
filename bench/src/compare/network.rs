//! The network of a comparison.
//!
//! ```text
//!   branch namespace     client namespace         server namespace          LAN namespace
//!   client's core        client's core            server's core             server's core
//!   +------------+      +-----------------+      +-----------------+      +------------+
//!   |            |      |  out 10.80.0.2  |------| out 10.80.0.1   |      |            |
//!   | branch .2  |------| branch 10.91.0.1|outer | lan  10.90.0.1  |------| lan .2     |
//!   +------------+      +-----------------+ link +-----------------+      +------------+
//! ```
//!
//! The branch is a network behind the client, as the LAN is one behind the server. All links are virtual Ethernet pairs. What arrives at an end of one is worked on by the core of
//! the side that owns the end (RPS): without that the sender's core would do the receiver's work.

use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use rustix::thread::{CpuSet, LinkNameSpaceType, move_into_link_name_space, sched_setaffinity};

use super::process::{Place, run};
use crate::failure::Failure;

/// Four namespaces, removed when this is dropped.
pub(super) struct Network {
    pub(super) branch: Namespace,
    pub(super) client: Namespace,
    pub(super) server: Namespace,
    pub(super) lan: Namespace,
}

/// The cores of the two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cores {
    /// The VPN server, the kernel's work for it, and the LAN host.
    pub(super) server: usize,
    /// The VPN client, the kernel's work for it, and the client's programs.
    pub(super) client: usize,
}

/// How the outer link carries super-packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Link {
    /// Whole, as virtual Ethernet does by itself: nobody cuts them into packets, and nobody pays for it.
    Whole,
    /// Cut into packets by the sender's kernel (`tx-udp-segmentation off`), received one by one.
    Segmented,
    /// Cut by the sender's kernel, and put together again by the receiver's (GRO), as with a network
    /// card.
    SegmentedGro,
}

impl Network {
    /// Makes all of it.
    pub(super) fn new(cores: Cores) -> Result<Self, Failure> {
        sweep();
        let name = |side: &str| format!("rw{}-bench-{side}", std::process::id());
        let network = Self {
            branch: Namespace::new(name("branch"), cores.client)?,
            client: Namespace::new(name("client"), cores.client)?,
            server: Namespace::new(name("server"), cores.server)?,
            lan: Namespace::new(name("lan"), cores.server)?,
        };
        network.join()?;
        Ok(network)
    }

    fn join(&self) -> Result<(), Failure> {
        let Self {
            branch,
            client,
            server,
            lan,
        } = self;
        for router in [client, server] {
            router.run(&["sysctl", "-q", "-w", "net.ipv4.ip_forward=1"])?;
        }
        for namespace in [branch, client, server, lan] {
            // iperf3 chooses its congestion control after it has connected. Where the machine's default
            // paces (bbr), the timer would stay and be measured; this one every namespace may choose.
            let reno = "net.ipv4.tcp_congestion_control=reno";
            namespace.run(&["sysctl", "-q", "-w", reno])?;
        }
        for (device, [(one, own), (other, others)]) in [
            (OUTER, [(server, SERVER_OUTER), (client, CLIENT_OUTER)]),
            (LAN, [(server, SERVER_LAN), (lan, LAN_HOST)]),
            (BRANCH, [(client, CLIENT_BRANCH), (branch, BRANCH_HOST)]),
        ] {
            let pair = ["link", "add", device, "type", "veth"];
            let peer = ["peer", "name", device, "netns", &other.name];
            one.ip(&[&pair[..], &peer[..]].concat())?;
            for (namespace, address) in [(one, own), (other, others)] {
                let address = format!("{address}/24");
                namespace.ip(&["address", "add", &address, "dev", device])?;
                namespace.ip(&["link", "set", device, "up"])?;
                namespace.receive_on_own_core(device)?;
            }
        }
        for (host, router) in [(lan, SERVER_LAN), (branch, CLIENT_BRANCH)] {
            host.ip(&["route", "add", "default", "via", &router.to_string()])?;
        }
        Ok(())
    }

    /// Sets how the outer link carries super-packets, in both directions.
    pub(super) fn set(&self, link: Link) -> Result<(), Failure> {
        let on = |on: bool| if on { "on" } else { "off" };
        let (segmentation, gro) = link.offloads();
        for namespace in [&self.client, &self.server] {
            let set = ["ethtool", "--offload", OUTER, "tx-udp-segmentation"];
            // A virtual link leaves what a socket sent to the NAPI of the other end, where GRO is, only if
            // that forwards UDP joined, too.
            let forwarding = "rx-udp-gro-forwarding";
            let words = [on(segmentation), "gro", on(gro), forwarding, on(gro)];
            namespace.run(&[&set[..], &words[..]].concat())?;
        }
        Ok(())
    }
}

impl Link {
    /// In this order, by default.
    pub(super) const ALL: [Self; 3] = [Self::Whole, Self::Segmented, Self::SegmentedGro];

    /// Whether the sender may leave UDP super-packets whole, and whether the receiver joins packets.
    const fn offloads(self) -> (bool, bool) {
        match self {
            Self::Whole => (true, false),
            Self::Segmented => (false, false),
            Self::SegmentedGro => (false, true),
        }
    }

    /// The word of the command line and of results.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Segmented => "segmented",
            Self::SegmentedGro => "segmented-gro",
        }
    }
}

/// One network namespace, and the core of its side.
pub(super) struct Namespace {
    name: String,
    core: usize,
}

impl Namespace {
    fn new(name: String, core: usize) -> Result<Self, Failure> {
        run(&["ip", "netns", "add", &name])?;
        let namespace = Self { name, core };
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// Where programs of this side run.
    pub(super) fn place(&self) -> Place<'_> {
        Place {
            namespace: &self.name,
            core: self.core,
        }
    }

    /// Runs `ip` on this namespace.
    pub(super) fn ip(&self, arguments: &[&str]) -> Result<String, Failure> {
        run(&[&["ip", "-n", &self.name], arguments].concat())
    }

    /// Runs a command in this namespace to its end.
    pub(super) fn run(&self, words: &[&str]) -> Result<String, Failure> {
        run(&[&["ip", "netns", "exec", &self.name], words].concat())
    }

    /// Runs `work` on a thread that lives in this namespace, on its core.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<JoinHandle<Result<T, Failure>>, Failure> {
        let path = PathBuf::from(NAMESPACES).join(&self.name);
        let link = std::fs::File::open(&path).map_err(|source| Failure::file(path, source))?;
        let core = self.core;
        let enter = move || {
            move_into_link_name_space(link.as_fd(), Some(LinkNameSpaceType::Network))?;
            let mut cores = CpuSet::new();
            cores.set(core);
            sched_setaffinity(None, &cores)
        };
        Ok(std::thread::spawn(move || {
            enter().map_err(|error| Failure::system("entering a namespace", error))?;
            work()
        }))
    }

    /// The address that packets to `target` leave with.
    pub(super) fn source_towards(&self, target: Ipv4Addr) -> Result<Ipv4Addr, Failure> {
        let text = self.ip(&["-o", "route", "get", &target.to_string()])?;
        let mut words = text.split_whitespace().skip_while(|word| *word != "src");
        let source = words.nth(1).and_then(|word| word.parse().ok());
        source.ok_or(Failure::Unexpected {
            tool: "ip route get",
            said: text,
        })
    }

    /// What arrives on `device` is worked on by the core of this side.
    fn receive_on_own_core(&self, device: &str) -> Result<(), Failure> {
        let mask = mask(self.core);
        let files = format!("/sys/class/net/{device}/queues/rx-*/rps_cpus");
        let script = format!("for file in {files}; do echo {mask} >$file || exit; done");
        self.run(&["sh", "-c", &script])?;
        Ok(())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Best effort: one that could not be removed is swept by the next comparison.
        let _swept_later = run(&["ip", "netns", "del", &self.name]);
    }
}

/// A set of one core, as the kernel reads it: words of 32 bits, the highest first.
fn mask(core: usize) -> String {
    let zeros = ",00000000".repeat(core / 32);
    format!("{:x}{zeros}", 1_u32 << (core % 32))
}

/// Removes the namespaces of comparisons that were killed.
fn sweep() {
    let Ok(names) = run(&["ip", "netns", "list"]) else {
        return;
    };
    for name in names.lines().filter_map(|line| line.split(' ').next()) {
        if owner(name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Another comparison may sweep at the same time.
            let _gone = run(&["ip", "netns", "del", name]);
        }
    }
}

/// The process that a comparison's namespace is named after.
fn owner(name: &str) -> Option<u32> {
    let (pid, rest) = name.strip_prefix("rw")?.split_once('-')?;
    rest.starts_with("bench-").then(|| pid.parse().ok())?
}

const CLIENT_BRANCH: Ipv4Addr = Ipv4Addr::new(10, 91, 0, 1);
/// The host behind the client.
const BRANCH_HOST: Ipv4Addr = Ipv4Addr::new(10, 91, 0, 2);
/// Its network.
pub(super) const BRANCH_NETWORK: &str = "10.91.0.0/24";
/// Where the client can be reached without a VPN.
pub(super) const CLIENT_OUTER: Ipv4Addr = Ipv4Addr::new(10, 80, 0, 2);
/// Where VPN servers listen.
pub(super) const SERVER_OUTER: Ipv4Addr = Ipv4Addr::new(10, 80, 0, 1);
const SERVER_LAN: Ipv4Addr = Ipv4Addr::new(10, 90, 0, 1);
/// The host behind the server, which all traffic goes to or comes from.
pub(super) const LAN_HOST: Ipv4Addr = Ipv4Addr::new(10, 90, 0, 2);
/// Its network.
pub(super) const LAN_NETWORK: &str = "10.90.0.0/24";

const OUTER: &str = "out";
const LAN: &str = "lan";
const BRANCH: &str = "branch";
const NAMESPACES: &str = "/run/netns";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_one_bit_of_words_of_32() {
        for (core, expected) in [(0, "1"), (1, "2"), (31, "80000000"), (32, "1,00000000")] {
            assert_eq!(mask(core), expected);
        }
        assert_eq!(mask(70), "40,00000000,00000000");
    }

    #[test]
    fn only_namespaces_of_comparisons_have_an_owner() {
        for (name, expected) in [
            ("rw17-bench-lan", Some(17)),
            ("rw17-0-lan", None),
            ("rwx-bench-lan", None),
            ("lan", None),
        ] {
            assert_eq!(owner(name), expected, "{name}");
        }
    }
}

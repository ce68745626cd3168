//! What this machine offers, by name; found by trying, never by a version number.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use io_uring::types::Fd;
use io_uring::{Builder, IoUring, Probe, opcode};
use socket2::{Domain, Protocol, Socket, Type};

use crate::reactor::provided::Provided;
use crate::reactor::receive::receive_header;
use crate::reactor::ring::{Ring, RingError, disabled_setting};
use crate::reactor::steering::{TunSteering, try_steering_datagrams};
use crate::reactor::tun::{DEVICE, Tun, TunOffloads};
use crate::reactor::udp;

/// All features, in the order in which they are worth reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The features.
    pub features: Vec<Feature>,
}

/// One thing that a machine has or has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// What the kernel calls it.
    pub name: &'static str,
    /// Whether this process has it.
    pub available: bool,
    /// Whether nothing works without it.
    pub required: bool,
    /// What it is needed for, or what is done without it.
    pub purpose: &'static str,
    /// Why it is not available, if more is known.
    pub reason: Option<String>,
}

impl Report {
    /// Whether everything that is required is available.
    pub fn is_sufficient(&self) -> bool {
        self.missing().next().is_none()
    }

    /// The required features that are not available.
    pub fn missing(&self) -> impl Iterator<Item = &Feature> {
        self.features
            .iter()
            .filter(|feature| feature.required && !feature.available)
    }

    /// The feature of this name.
    pub fn find(&self, name: &str) -> Option<&Feature> {
        self.features.iter().find(|feature| feature.name == name)
    }
}

/// Tries everything that a node may use. Leaves nothing behind.
pub fn probe() -> Report {
    let mut features = Vec::new();
    ring_features(&mut features);
    operation_features(&mut features);
    socket_features(&mut features);
    let device = OpenOptions::new().read(true).write(true).open(DEVICE);
    features.push(required("/dev/net/tun", "the tun device").tried(device));
    tun_features(&mut features);
    steering_features(&mut features);
    capability_features(&mut features);
    Report { features }
}

fn ring_features(features: &mut Vec<Feature>) {
    let plain = IoUring::new(2);
    let params = plain.as_ref().ok().map(|ring| ring.params().clone());
    let has = |test: fn(&io_uring::Parameters) -> bool| params.as_ref().is_some_and(test);
    let setting = disabled_setting().unwrap_or(0);
    let ring = Ring::new(2, 4);
    let reason = ring.as_ref().err().map(ToString::to_string);
    let mut allowed = required(
        "kernel.io_uring_disabled",
        "the setting that allows io_uring (0), restricts it (1) or forbids it (2)",
    );
    allowed.available = setting == 0 || plain.is_ok();
    allowed.reason = (setting != 0).then(|| format!("it is {setting}"));
    let mut any = required("io_uring", "all input and output").tried(plain);
    if !any.available {
        any.reason = reason;
    }
    features.extend([any, allowed]);

    let builder = || -> Builder { IoUring::builder() };
    let single = builder().setup_single_issuer().build(2);
    let deferred = builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .build(2);
    features.extend([
        required("SINGLE_ISSUER", "one thread per ring, without locks").tried(single),
        required(
            "DEFER_TASKRUN",
            "completions arrive when the shard asks for them",
        )
        .tried(deferred),
        required("NODROP", "no completion is lost").when(has(|p| p.is_feature_nodrop())),
        required("EXT_ARG", "a wait with a time limit").when(has(|p| p.is_feature_ext_arg())),
        required(
            "SUBMIT_STABLE",
            "addresses of a send are read when it is submitted",
        )
        .when(has(|p| p.is_feature_submit_stable())),
    ]);
}

fn operation_features(features: &mut Vec<Feature>) {
    let mut probe = Probe::new();
    let probed = IoUring::new(2).and_then(|ring| ring.submitter().register_probe(&mut probe));
    let has = |code| probed.is_ok() && probe.is_supported(code);
    features.extend([
        required("SENDMSG", "sending datagrams").when(has(opcode::SendMsg::CODE)),
        required("WRITEV", "writing to the tun device").when(has(opcode::Writev::CODE)),
        required("READ", "wake-ups from other threads").when(has(opcode::Read::CODE)),
        required("ASYNC_CANCEL", "an orderly end").when(has(opcode::AsyncCancel2::CODE)),
        required("READ_MULTISHOT", "reading the tun device").when(has(opcode::ReadMulti::CODE)),
        required(
            "PBUF_RING",
            "buffers that the kernel takes when a packet arrives",
        )
        .tried(try_provided()),
        required("RECVMSG multishot", "receiving datagrams").tried(try_receive()),
    ]);
}

fn socket_features(features: &mut Vec<Feature>) {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP));
    let option = |option, value| match &socket {
        Ok(socket) => udp::set(socket, libc::SOL_UDP, option, value),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    };
    let v6 = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP));
    features.extend([
        optional(
            "UDP_GRO",
            "several datagrams of one client in one receive; without it, one each",
        )
        .tried(option(libc::UDP_GRO, 1)),
        optional(
            "UDP_SEGMENT",
            "several datagrams to one client in one send; without it, one each",
        )
        .tried(option(libc::UDP_SEGMENT, 1400)),
        optional(
            "AF_INET6",
            "clients and tunnels over IPv6; without it, IPv4 only",
        )
        .tried(v6),
    ]);
}

/// What a device that nobody knows is granted.
fn tun_features(features: &mut Vec<Feature>) {
    let granted = Tun::bare(TunOffloads::ALL).map(|device| device.offloads());
    let has = |of: fn(TunOffloads) -> bool| match &granted {
        Ok(granted) if of(*granted) => Ok(()),
        Ok(_) => Err("the kernel has it not".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    features.extend([
        optional(
            "TUN_F_TSO4",
            "several segments of a TCP connection in one read of the tun device; without it, one each",
        )
        .tried(has(|it| it.tso)),
        optional(
            "TUN_F_USO4",
            "several datagrams of a sender in one read of the tun device; without it, one each",
        )
        .tried(has(|it| it.uso)),
        optional(
            "IFF_VNET_HDR",
            "several packets of a flow in one write to the tun device; without it, one each",
        )
        .tried(has(|it| it.merge)),
    ]);
}

fn steering_features(features: &mut Vec<Feature>) {
    features.extend([
        optional(
            "SO_ATTACH_REUSEPORT_CBPF",
            "datagrams come to the shard that has their client; without it, the kernel spreads them by \
             a hash of addresses and ports, and shards hand them over",
        )
        .tried(try_steering_datagrams()),
        optional(
            "TUNSETSTEERINGEBPF",
            "inner packets come to the shard that has their client; without it, the kernel's flow table \
             chooses, and shards hand them over",
        )
        .tried(try_steering_tun()),
    ]);
}

/// The program and its maps, on a device that nobody knows.
fn try_steering_tun() -> Result<(), String> {
    let steering = TunSteering::new(None, 0, None, 1, 2).map_err(|error| error.to_string())?;
    let device = Tun::bare(TunOffloads::default()).map_err(|error| error.to_string())?;
    steering.attach(&device).map_err(|error| error.to_string())
}

fn capability_features(features: &mut Vec<Feature>) {
    let effective = effective_capabilities();
    let has = |number: u32| effective & 1 << number != 0;
    features.extend([
        required("CAP_NET_ADMIN", "making and configuring the tun device").when(has(12)),
        optional(
            "CAP_NET_BIND_SERVICE",
            "ports below 1024; without it, 1024 and above",
        )
        .when(has(10)),
        optional("CAP_SETUID", "the directive `user`").when(has(7)),
        optional(
            "CAP_SETGID",
            "the directives `group` and `user`, which leave all other groups",
        )
        .when(has(6)),
        optional("CAP_SYS_CHROOT", "the directive `chroot`").when(has(18)),
        optional(
            "CAP_SYS_RESOURCE",
            "the directive `mlock` where locked memory has a limit",
        )
        .when(has(24)),
    ]);
}

/// The capabilities of this thread, a bit each; none if the system does not say.
fn effective_capabilities() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0)
}

fn try_provided() -> Result<(), RingError> {
    let ring = Ring::new(2, 4)?;
    let provided = Provided::register(&ring, 0, 1, 0)?;
    release(provided, &ring)
}

/// Begins a multishot receive for which there is no buffer, on a socket that nobody knows. A kernel
/// that knows it waits for a datagram; one that does not refuses the request at once.
fn try_receive() -> Result<(), RingError> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP));
    let socket = socket.map_err(RingError::Setup)?;
    let mut ring = Ring::new(2, 4)?;
    let provided = Provided::register(&ring, 0, 1, 0)?;
    let header = receive_header();
    let entry = opcode::RecvMsgMulti::new(Fd(socket.as_raw_fd()), &raw const header, 0).build();
    // SAFETY: the header is read when the entry is submitted, which the turn below does before
    // it goes; there is no buffer in the group that could be written to.
    unsafe { ring.push(&entry) };
    let waited = ring.turn(Some(Duration::ZERO));
    release(provided, &ring)?;
    waited?;
    let mut completions = Vec::new();
    ring.collect(&mut completions);
    match completions.first().map(io_uring::cqueue::Entry::result) {
        None => Ok(()),
        Some(error) if error == -libc::ENOBUFS => Ok(()),
        Some(_) => Err(RingError::Missing("RECVMSG multishot")),
    }
}

/// Frees a ring of buffers, or leaks it if the kernel does not let go of it.
fn release(provided: Provided, ring: &Ring) -> Result<(), RingError> {
    provided.unregister(ring).map_err(|error| {
        std::mem::forget(provided);
        RingError::Buffers(error)
    })
}

fn required(name: &'static str, purpose: &'static str) -> Feature {
    Feature {
        name,
        available: false,
        required: true,
        purpose,
        reason: None,
    }
}

fn optional(name: &'static str, purpose: &'static str) -> Feature {
    Feature {
        required: false,
        ..required(name, purpose)
    }
}

impl Feature {
    fn when(mut self, available: bool) -> Self {
        self.available = available;
        self
    }

    fn tried<T, E: std::fmt::Display>(mut self, result: Result<T, E>) -> Self {
        self.available = result.is_ok();
        self.reason = result.err().map(|error| error.to_string());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::testing;

    #[test]
    fn this_machine_has_what_is_required() {
        let report = probe();
        assert_eq!(report.missing().collect::<Vec<_>>(), Vec::<&Feature>::new());
        assert!(report.is_sufficient());
        for name in [
            "UDP_GRO",
            "UDP_SEGMENT",
            "TUN_F_TSO4",
            "TUN_F_USO4",
            "IFF_VNET_HDR",
            "SO_ATTACH_REUSEPORT_CBPF",
            "TUNSETSTEERINGEBPF",
            "CAP_SETUID",
        ] {
            let feature = report.find(name).unwrap();
            assert!(feature.available && !feature.required, "{feature:?}");
        }
        assert_eq!(report.find("no such thing"), None);
    }

    #[test]
    fn a_forbidden_ring_is_reported_with_its_reason() {
        testing::in_own_thread(|| {
            testing::forbid_io_uring();
            let report = probe();
            let ring = report.find("io_uring").unwrap();
            assert!(!ring.available);
            let reason = ring.reason.clone().unwrap();
            assert!(reason.contains("container/seccomp.json"), "{reason}");
            assert!(!report.find("RECVMSG multishot").unwrap().available);
            assert!(report.find("UDP_GRO").unwrap().available);
            assert!(!report.is_sufficient());
        });
    }

    #[test]
    fn a_missing_capability_is_reported() {
        testing::in_own_thread(|| {
            testing::drop_capability(testing::CAP_NET_ADMIN);
            let report = probe();
            let missing: Vec<_> = report.missing().map(|feature| feature.name).collect();
            assert_eq!(missing, ["CAP_NET_ADMIN"]);
            let steering = report.find("TUNSETSTEERINGEBPF").unwrap();
            let reason = steering.reason.clone().unwrap();
            assert!(reason.contains("CAP_NET_ADMIN"), "{reason}");
        });
    }
}

//! The program in the kernel: a device with four queues in a network of its own, and packets that the
//! system routes to it.

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, UdpSocket as Plain};

use rustix::thread::CapabilitySet;

use super::*;
use crate::reactor::testing;
use crate::reactor::tun::{TunConfig, TunOffloads};

const SHARDS: u16 = 4;

/// A device with a queue a shard, its network and what stands behind it.
struct Rig {
    queues: Vec<Tun>,
    readers: Vec<File>,
    sender: [Plain; 2],
}

impl Rig {
    fn new() -> Self {
        Self::with(TunOffloads::ALL)
    }

    fn with(offloads: TunOffloads) -> Self {
        let config = TunConfig {
            offloads,
            name: Some(DEVICE.to_owned()),
            ipv4: Some(("10.77.0.1".parse().unwrap(), 24)),
            ipv6: Some(("fd77::1".parse().unwrap(), 64)),
            ..TunConfig::default()
        };
        let mut queues = Vec::new();
        testing::eventually(|| {
            queues = Tun::create_set(&config, SHARDS).unwrap_or_default();
            !queues.is_empty()
        });
        for route in ["192.168.0.0/16", "2001:db8::/32"] {
            testing::run("ip", &["route", "replace", route, "dev", DEVICE]);
        }
        let reader = |queue: &Tun| File::from(queue.as_fd().try_clone_to_owned().unwrap());
        Self {
            readers: queues.iter().map(reader).collect(),
            queues,
            sender: ["0.0.0.0:0", "[::]:0"].map(|any| Plain::bind(any).unwrap()),
        }
    }

    /// The queue on which a packet to this address comes.
    fn queue_of(&self, to: &str) -> u16 {
        let to: IpAddr = to.parse().unwrap();
        let sender = &self.sender[usize::from(to.is_ipv6())];
        // An IPv6 address may be used a moment after it was given.
        testing::eventually(|| sender.send_to(b"whose is this?", (to, 9)).is_ok());
        let mut arrived = None;
        testing::eventually(|| {
            arrived = (0..).zip(&self.readers).find_map(|(number, reader)| {
                let mut packet = [0; 2000];
                // The system says things of its own accord, which are read over.
                while let Ok(length) = (&mut &*reader).read(&mut packet) {
                    if packet[..length].ends_with(b"whose is this?") {
                        return Some(number);
                    }
                }
                None
            });
            arrived.is_some()
        });
        arrived.unwrap()
    }

    /// The queues on which packets of many flows to one address come.
    fn queues_of_flows(&mut self, to: &str) -> Vec<u16> {
        let mut seen: Vec<u16> = (0..100)
            .map(|_| {
                self.sender[0] = Plain::bind("0.0.0.0:0").unwrap();
                self.queue_of(to)
            })
            .collect();
        seen.sort_unstable();
        seen.dedup();
        seen
    }
}

fn steering() -> TunSteering {
    let v4 = "10.77.0.2".parse().unwrap();
    let v6 = "fd77::1000".parse().unwrap();
    TunSteering::new(Some(v4), 0, Some(v6), 250, SHARDS).unwrap()
}

#[test]
fn packets_arrive_on_the_queue_of_their_shard_as_soon_as_the_maps_say_so() {
    // The program sees packets without the header that a device with offloads has before them.
    for offloads in [TunOffloads::ALL, TunOffloads::default()] {
        testing::in_own_network(move || {
            let rig = Rig::with(offloads);
            let steering = steering();
            steering.attach(&rig.queues[0]).unwrap();
            for shard in [3, 1, 0, 2] {
                for slot in [0, 1, 249] {
                    steering.assign_slot(slot, shard).unwrap();
                    assert_eq!(rig.queue_of(&format!("10.77.0.{}", slot + 2)), shard);
                    assert_eq!(rig.queue_of(&format!("fd77::{:x}", 0x1000 + slot)), shard);
                }
                for (prefix, inside) in [
                    ("192.168.7.0/24", "192.168.7.200"),
                    ("2001:db8:7::/48", "2001:db8:7::9"),
                    ("10.77.0.1/0", "192.168.200.1"),
                    ("::/0", "2001:db8:9::9"),
                ] {
                    steering.add_prefix(prefix.parse().unwrap(), shard).unwrap();
                    assert_eq!(rig.queue_of(inside), shard, "{prefix}");
                }
            }
        });
    }
}

#[test]
fn all_addresses_of_a_block_belong_to_its_slot() {
    testing::in_own_network(|| {
        let rig = Rig::new();
        let first = "10.77.0.4".parse().unwrap();
        let steering = TunSteering::new(Some(first), 2, None, 60, SHARDS).unwrap();
        steering.attach(&rig.queues[0]).unwrap();
        for (slot, shard) in [(0, 3), (1, 2), (59, 1)] {
            steering.assign_slot(slot, shard).unwrap();
            for last in 0..4 {
                let to = format!("10.77.0.{}", 4 + 4 * slot + last);
                assert_eq!(rig.queue_of(&to), shard, "{to}");
            }
        }
        assert_eq!(
            rig.queue_of("10.77.0.246"),
            246 % SHARDS,
            "behind the last block"
        );
    });
}

#[test]
fn what_nobody_has_is_spread_by_its_last_bits() {
    testing::in_own_network(|| {
        let rig = Rig::new();
        let steering = steering();
        steering.attach(&rig.queues[0]).unwrap();
        steering.assign_slot(3, 0).unwrap();
        steering.clear_slot(3).unwrap();
        let network: IpNet = "192.168.0.0/16".parse().unwrap();
        steering.add_prefix(network, 0).unwrap();
        steering.remove_prefix(network).unwrap();
        steering.remove_prefix(network).unwrap();
        for last in [5, 6, 7, 8u16] {
            for to in ["10.77.0.", "192.168.3.", "fd77::100", "2001:db8::"] {
                assert_eq!(
                    rig.queue_of(&format!("{to}{last}")),
                    last % SHARDS,
                    "{to}{last}"
                );
            }
        }
    });
}

#[test]
fn without_the_program_the_kernel_spreads_flows() {
    testing::in_own_network(|| {
        let mut rig = Rig::new();
        assert!(rig.queues_of_flows("10.77.0.5").len() > 1);
    });
}

#[test]
fn a_device_that_stays_forgets_the_program_of_who_had_it_before() {
    testing::in_own_network(|| {
        testing::run(
            "ip",
            &["tuntap", "add", "dev", DEVICE, "mode", "tun", "multi_queue"],
        );
        let mut rig = Rig::new();
        let steering = steering();
        steering.attach(&rig.queues[0]).unwrap();
        steering.assign_slot(3, 3).unwrap();
        assert_eq!(rig.queues_of_flows("10.77.0.5"), [3]);
        drop((rig, steering));
        assert!(Rig::new().queues_of_flows("10.77.0.5").len() > 1);
    });
}

#[test]
fn a_slot_that_the_pool_does_not_have_is_refused() {
    let steering = steering();
    steering.assign_slot(249, 0).unwrap();
    let error = steering.assign_slot(250, 0).unwrap_err().to_string();
    assert!(
        error.contains("slot 250") && error.contains("250 slots"),
        "{error}"
    );
}

#[test]
fn a_process_without_the_capability_is_told_its_name() {
    testing::in_own_thread(|| {
        let most = CapabilitySet::all() - CapabilitySet::BPF - CapabilitySet::SYS_ADMIN;
        testing::keep_capabilities(most);
        let error = TunSteering::new(None, 0, None, 10, 1).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, SteeringError::Denied(_)), "{text}");
        assert!(text.contains("CAP_BPF"), "{text}");
    });
}

#[test]
fn one_capability_is_enough_and_none_is_needed_afterwards() {
    testing::in_own_network(|| {
        let rig = Rig::new();
        testing::keep_capabilities(CapabilitySet::BPF);
        assert!(can_update_without_capabilities().unwrap());
        let steering = steering();
        testing::keep_capabilities(CapabilitySet::empty());
        steering.attach(&rig.queues[0]).unwrap();
        steering.assign_slot(3, 2).unwrap();
        assert_eq!(rig.queue_of("10.77.0.5"), 2);
        let host = "10.77.0.77/32".parse().unwrap();
        steering.clear_slot(3).unwrap();
        steering.add_prefix(host, 3).unwrap();
        assert_eq!(rig.queue_of("10.77.0.77"), 3);
        steering.remove_prefix(host).unwrap();
    });
}

const DEVICE: &str = "ringway-s";

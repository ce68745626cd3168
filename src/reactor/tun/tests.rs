//! Tun devices of the real kernel, in networks of the tests' own.

use super::*;
use crate::reactor::testing;

#[test]
fn a_device_is_what_was_asked_for() {
    testing::in_own_network(|| {
        let tun = Tun::create(&TunConfig {
            name: Some("ringway-t".to_owned()),
            ipv4: Some(("10.77.0.1".parse().unwrap(), 24)),
            ipv6: Some(("fd77::1".parse().unwrap(), 64)),
            mtu: Some(1400),
            queue_length: Some(333),
            ..TunConfig::default()
        })
        .unwrap();
        assert_eq!(tun.name(), "ringway-t");
        let shown = testing::run("ip", &["addr", "show", "dev", "ringway-t"]);
        for part in [
            "mtu 1400",
            "qlen 333",
            "inet 10.77.0.1/24",
            "inet6 fd77::1/64",
            ",UP",
        ] {
            assert!(shown.contains(part), "{part} is missing in {shown}");
        }
        // Nobody waits until neighbours have been asked for it.
        assert!(shown.contains("fd77::1/64 scope global nodad"), "{shown}");
        std::net::UdpSocket::bind(("fd77::1", 0)).unwrap();
        let routes = testing::run("ip", &["route"]);
        assert!(routes.contains("10.77.0.0/24 dev ringway-t"), "{routes}");

        let again = Tun::create(&TunConfig {
            name: Some("ringway-t".to_owned()),
            ..TunConfig::default()
        });
        assert!(matches!(again, Err(TunError::Busy { .. })), "{again:?}");
        drop(tun);
        testing::eventually(|| !testing::run("ip", &["link"]).contains("ringway-t"));
    });
}

#[test]
fn the_system_numbers_devices_without_a_name() {
    testing::in_own_network(|| {
        let first = Tun::create(&TunConfig::default()).unwrap();
        let second = Tun::create(&TunConfig::default()).unwrap();
        assert_eq!((first.name(), second.name()), ("tun0", "tun1"));
    });
}

#[test]
fn a_queue_is_longer_than_usual_unless_somebody_has_chosen_its_length() {
    testing::in_own_network(|| {
        let queue = |name: &str| {
            let shown = testing::run("ip", &["link", "show", "dev", name]);
            let words: Vec<_> = shown.split_whitespace().collect();
            let at = words.iter().position(|word| *word == "qlen").unwrap();
            words[at + 1].to_owned()
        };
        let longer = limits::TUN_QUEUE.to_string();
        let _many = Tun::create_set(&named("many"), 2).unwrap();
        assert_eq!(queue("many"), longer);

        for (name, written, expected) in [("kept", None, "123"), ("set", Some(77), "77")] {
            testing::run("ip", &["tuntap", "add", "dev", name, "mode", "tun"]);
            testing::run("ip", &["link", "set", name, "txqueuelen", "123"]);
            let _tun = Tun::create(&TunConfig {
                queue_length: written,
                ..named(name)
            })
            .unwrap();
            assert_eq!(queue(name), expected, "{name}");
        }
    });
}

#[test]
fn queues_of_one_device_are_opened_in_order() {
    testing::in_own_network(|| {
        let config = named("ringway-q");
        let set = Tun::create_set(&config, 4).unwrap();
        assert_eq!(set.len(), 4);
        assert!(set.iter().all(|queue| queue.name() == "ringway-q"));
        assert_eq!(existing::find("ringway-q").unwrap().unwrap().queues, 4);
        for queue in &set {
            // The system may say something of its own accord.
            let mut read = || queue.device.recv(&mut [0; 2000]);
            let error = std::iter::repeat_with(&mut read).find_map(Result::err);
            assert_eq!(error.unwrap().kind(), io::ErrorKind::WouldBlock);
        }
        drop(set);
        testing::eventually(|| !testing::run("ip", &["link"]).contains("ringway-q"));
    });
}

#[test]
fn one_queue_makes_a_plain_device() {
    testing::in_own_network(|| {
        let set = Tun::create_set(&named("ringway-q"), 1).unwrap();
        assert_eq!(set.len(), 1);
        assert!(!existing::find("ringway-q").unwrap().unwrap().multi_queue);
    });
}

#[test]
fn a_device_that_another_server_has_is_in_use_with_any_number_of_queues() {
    testing::in_own_network(|| {
        let config = named("ringway-q");
        for (theirs, ours) in [(1, 1), (1, 4), (4, 1), (4, 4)] {
            let first = Tun::create_set(&config, theirs).unwrap();
            let error = Tun::create_set(&config, ours).unwrap_err();
            assert!(error.is_in_use(), "{theirs} {ours}: {error}");
            drop(first);
            testing::eventually(|| existing::find("ringway-q").unwrap().is_none());
        }
    });
}

#[test]
fn a_device_that_was_made_to_stay_is_taken_if_it_has_room() {
    testing::in_own_network(|| {
        let tuntap = |name, more: &[&str]| {
            let words = [&["tuntap", "add", "dev", name, "mode"], more].concat();
            testing::run("ip", &words);
        };
        tuntap("single", &["tun"]);
        tuntap("many", &["tun", "multi_queue"]);
        tuntap("bridged", &["tap"]);
        for (name, queues, expected) in [
            ("single", 1, ""),
            ("single", 2, "can have one queue only, while 2 are wanted"),
            ("many", 1, ""),
            ("many", 4, ""),
            ("many", 1, ""),
            ("bridged", 1, "is no tun device"),
            ("lo", 1, "is no tun device"),
        ] {
            // A process that another test starts has a copy of our queues for a moment.
            let is_open = || {
                existing::find(name)
                    .unwrap()
                    .is_some_and(|it| it.queues > 0)
            };
            testing::eventually(|| !is_open());
            let result = Tun::create_set(&named(name), queues);
            let text = result.map_or_else(|error| error.to_string(), |_| String::new());
            assert_eq!(text.is_empty(), expected.is_empty(), "{name}: {text}");
            assert!(text.contains(expected), "{name}: {text}");
        }
        assert!(existing::find("many").unwrap().is_some(), "it was to stay");
    });
}

fn named(name: &str) -> TunConfig {
    TunConfig {
        name: Some(name.to_owned()),
        ..TunConfig::default()
    }
}

#[test]
fn a_name_that_is_no_name_is_refused() {
    testing::in_own_network(|| {
        let long = "a".repeat(16);
        let result = Tun::create(&TunConfig {
            name: Some(long.clone()),
            ..TunConfig::default()
        });
        assert!(matches!(&result, Err(TunError::Create { name, .. }) if *name == long));
    });
}

#[test]
fn a_process_without_the_capability_is_told_its_name() {
    testing::in_own_network(|| {
        testing::drop_capability(testing::CAP_NET_ADMIN);
        let error = Tun::create(&TunConfig::default()).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, TunError::Forbidden { .. }), "{text}");
        assert!(text.contains("CAP_NET_ADMIN"), "{text}");
    });
}

#[test]
fn offloads_are_granted_as_far_as_the_kernel_has_them() {
    let all = TunOffloads::ALL;
    let none = TunOffloads::default();
    let no_uso = TunOffloads { uso: false, ..all };
    let no_tso = TunOffloads { tso: false, ..all };
    let merge = TunOffloads {
        merge: true,
        ..none
    };
    let (tso, uso) = (
        libc::TUN_F_TSO4 | libc::TUN_F_TSO6,
        libc::TUN_F_USO4 | libc::TUN_F_USO6,
    );
    for (refused, wanted, granted, has_header) in [
        (0, all, all, true),
        (0, no_uso, no_uso, true),
        (0, no_tso, no_tso, true),
        (0, merge, merge, true),
        (0, none, none, false),
        (uso, all, no_uso, true),
        (uso, no_tso, merge, true),
        (libc::TUN_F_TSO_ECN, all, no_tso, true),
        // Such a kernel is taken to have no header either.
        (tso, all, none, false),
    ] {
        testing::in_own_network(move || {
            testing::forbid_tun_offloads(refused);
            let config = TunConfig {
                offloads: wanted,
                ..named("ringway-o")
            };
            for queues in [1, 3] {
                let set = Tun::create_set(&config, queues).unwrap();
                for queue in &set {
                    let found = (queue.offloads(), queue.has_header());
                    assert_eq!(found, (granted, has_header), "{refused:x} {wanted:?}");
                }
                drop(set);
                testing::eventually(|| existing::find("ringway-o").unwrap().is_none());
            }
        });
    }
}

#[test]
fn a_device_that_was_made_to_stay_has_the_offloads_of_who_takes_it() {
    testing::in_own_network(|| {
        testing::run("ip", &["tuntap", "add", "dev", "stays", "mode", "tun"]);
        let is_open = || existing::find("stays").unwrap().unwrap().queues > 0;
        let none = TunOffloads::default();
        for offloads in [TunOffloads::ALL, none, TunOffloads::ALL] {
            testing::eventually(|| !is_open());
            let config = TunConfig {
                offloads,
                ..named("stays")
            };
            let tun = Tun::create(&config).unwrap();
            let found = (tun.offloads(), tun.has_header());
            assert_eq!(found, (offloads, offloads.any()));
        }
    });
}

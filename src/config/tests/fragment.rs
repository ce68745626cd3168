//! Lines that have packets cut, what follows for TCP inside the tunnel, and the classes of datagrams.

use super::Files;
use crate::packet::{FragmentLimit, Mssfix};

#[test]
fn each_line_is_a_limit_and_the_bound_on_segments_unless_another_is_named() {
    let files = Files::new();
    for (lines, limit, mssfix) in [
        (
            "fragment 1300\n",
            FragmentLimit::Payload(1300),
            Mssfix::Packet(1300),
        ),
        (
            "fragment 68\n",
            FragmentLimit::Payload(68),
            Mssfix::Packet(68),
        ),
        (
            "fragment 1300 mtu\nmssfix\n",
            FragmentLimit::Packet(1300),
            Mssfix::Packet(1300),
        ),
        (
            "fragment 1300\nmssfix 1200\n",
            FragmentLimit::Payload(1300),
            Mssfix::Payload(1200),
        ),
        (
            "tun-mtu 1400\nfragment 1300\nmssfix 0\n",
            FragmentLimit::Payload(1300),
            Mssfix::Off,
        ),
        (
            "local 192.0.2.1 1194 udp\nlocal 192.0.2.1 1194 tcp\nfragment 1300\n",
            FragmentLimit::Payload(1300),
            Mssfix::Packet(1300),
        ),
    ] {
        let node = files.with(lines).node;
        assert_eq!(
            (node.fragment, node.mssfix),
            (Some(limit), mssfix),
            "{lines}"
        );
    }
    assert_eq!(files.with("").node.fragment, None);
}

#[test]
fn what_is_no_limit_is_refused() {
    let files = Files::new();
    for (lines, why) in [
        ("fragment 67\n", "67"),
        ("fragment 1300 fixed\n", "`fixed` is no flag"),
        (
            "fragment 1300\nproto tcp\n",
            "can only be used with `proto udp`",
        ),
        (
            "proto tcp-server\nfragment 1300\n",
            "can only be used with `proto udp`",
        ),
    ] {
        let said = files.first_remark(lines);
        assert!(
            said.contains("error: fragment") && said.contains(why),
            "{said}"
        );
    }
    let both = "local 192.0.2.1 1194 udp\nlocal 192.0.2.1 1194 tcp\nfragment 1300\n";
    let said = files.first_remark(both);
    assert!(
        said.contains("warning: fragment: clients over TCP"),
        "{said}"
    );
}

#[test]
fn classes_are_copied_over_udp_and_who_wants_them_over_tcp_hears_why_not() {
    let files = Files::new();
    assert!(!files.with("").node.copies_classes);
    assert!(files.with("passtos\n").node.copies_classes);
    for lines in [
        "proto tcp\npasstos\n",
        "local 192.0.2.1 1194 udp\nlocal 192.0.2.1 1194 tcp\npasstos\n",
    ] {
        let said = files.first_remark(lines);
        assert!(
            said.contains("warning: passtos: a connection over TCP"),
            "{said}"
        );
    }
}

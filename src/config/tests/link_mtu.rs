//! `link-mtu`: what it makes the tunnel's MTU. The numbers are those of the devices that 2.6.14 makes.

use super::Files;
use crate::packet::Mssfix;

#[test]
fn the_mtu_is_that_of_stock() {
    let files = Files::new();
    for (lines, mtu) in [
        ("link-mtu 1400\n", 1375),
        ("udp-mtu 1400\n", 1375),
        ("proto tcp\nlink-mtu 1500\n", 1473),
        ("cipher AES-256-GCM\nlink-mtu 1400\n", 1351),
        ("link-mtu 1400\ncipher CHACHA20-POLY1305\n", 1366),
        ("link-mtu 1400\ncipher AES-256-CBC\nauth SHA256\n", 1335),
        ("link-mtu 1400\ncipher AES-128-CBC\nauth none\n", 1367),
        ("link-mtu 1400\ncipher AES-256-OFB\n", 1339),
        ("link-mtu 1400\ncipher BF-CBC\n", 1375),
    ] {
        let node = files.with(lines).node;
        assert_eq!(
            (node.device.mtu, node.mssfix),
            (mtu, Mssfix::Off),
            "{lines}"
        );
    }
    let clamped = files.with("link-mtu 1400\nmssfix 1300\n").node.mssfix;
    assert_eq!(clamped, Mssfix::Payload(1300));
}

#[test]
fn what_is_too_small_or_said_twice_is_refused() {
    let files = Files::new();
    for (lines, said) in [
        ("link-mtu 100\n", "TUN MTU value (75) must be at least 100"),
        ("link-mtu 1400\n", "it makes the tunnel's MTU 1375"),
        ("tun-mtu 1400\nlink-mtu 1400\n", "this line or `tun-mtu`"),
        ("link-mtu many\n", "`many` is not a whole number"),
    ] {
        let remark = files.first_remark(lines);
        assert!(remark.contains(said), "{lines}: {remark}");
    }
}

//! What the system knows of a network device, asked by rtnetlink: whether a multi-queue device is in
//! use. Nothing else tells, since such a device lets anybody join.

use std::io::{self, Read, Write};

use socket2::{Domain, Protocol, Socket, Type};

/// A network device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Existing {
    /// It is a tun device, no tap device or another kind.
    pub(super) is_tun: bool,
    /// It may have several queues.
    pub(super) multi_queue: bool,
    /// Queues that somebody has open.
    pub(super) queues: u32,
}

/// The device called `name` in the network of this thread, if there is one.
pub(super) fn find(name: &str) -> io::Result<Option<Existing>> {
    let socket = Socket::new(
        Domain::from(libc::AF_NETLINK),
        Type::RAW,
        Some(Protocol::from(libc::NETLINK_ROUTE)),
    )?;
    (&socket).write_all(&request(name)?)?;
    let mut answer = vec![0; ANSWER_MAX];
    let length = (&socket).read(&mut answer)?;
    parse(answer.get(..length).unwrap_or_default())
}

fn request(name: &str) -> io::Result<Vec<u8>> {
    // struct ifinfomsg: any family, type and index
    let mut body = vec![0; IFINFOMSG];
    // struct rtattr: length with itself, kind; then the text with its NUL, to a multiple of four
    let length = u16::try_from(RTATTR + name.len() + 1).map_err(io::Error::other)?;
    body.extend(length.to_ne_bytes());
    body.extend(libc::IFLA_IFNAME.to_ne_bytes());
    body.extend(name.bytes());
    body.resize((body.len() + 1).next_multiple_of(4), 0);
    // struct nlmsghdr: length with itself, type, flags, sequence, port
    let length = u32::try_from(NLMSGHDR + body.len()).map_err(io::Error::other)?;
    let flags = libc::NLM_F_REQUEST as u16;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(libc::RTM_GETLINK.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    Ok(message)
}

fn parse(message: &[u8]) -> io::Result<Option<Existing>> {
    let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let kind = u16::from_ne_bytes(at(message, 4).ok_or_else(cut)?);
    let body = message.get(NLMSGHDR..).ok_or_else(cut)?;
    if i32::from(kind) == libc::NLMSG_ERROR {
        let error = i32::from_ne_bytes(at(body, 0).ok_or_else(cut)?).saturating_neg();
        return match error {
            libc::ENODEV => Ok(None),
            _ => Err(io::Error::from_raw_os_error(error)),
        };
    }
    let attributes = body.get(IFINFOMSG..).ok_or_else(cut)?;
    let info = attribute(attributes, libc::IFLA_LINKINFO).unwrap_or_default();
    if attribute(info, libc::IFLA_INFO_KIND) != Some(b"tun\0") {
        return Ok(Some(Existing::default()));
    }
    let data = attribute(info, libc::IFLA_INFO_DATA).unwrap_or_default();
    let byte = |kind| attribute(data, kind).and_then(|it| it.first().copied());
    // Told of devices that can have several. One that can have one has a carrier while it is open.
    let queues = attribute(data, IFLA_TUN_NUM_QUEUES).and_then(|it| at(it, 0));
    let carrier = attribute(attributes, libc::IFLA_CARRIER).and_then(|it| it.first().copied());
    Ok(Some(Existing {
        is_tun: byte(IFLA_TUN_TYPE).map(i32::from) == Some(libc::IFF_TUN),
        multi_queue: byte(IFLA_TUN_MULTI_QUEUE) == Some(1),
        queues: queues.map_or_else(|| carrier.unwrap_or(0).into(), u32::from_ne_bytes),
    }))
}

/// The value of the first attribute of a kind in a row of them.
fn attribute(mut row: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(at(row, 0)?));
        let kind = u16::from_ne_bytes(at(row, 2)?) & !NLA_F_NESTED;
        if kind == wanted {
            return row.get(RTATTR..length);
        }
        row = row.get(length.next_multiple_of(4).max(RTATTR)..)?;
    }
}

fn at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}

const NLMSGHDR: usize = 16;
const IFINFOMSG: usize = 16;
const RTATTR: usize = 4;
const NLA_F_NESTED: u16 = 1 << 15;

// enum in <linux/if_link.h>
const IFLA_TUN_TYPE: u16 = 3;
const IFLA_TUN_MULTI_QUEUE: u16 = 7;
const IFLA_TUN_NUM_QUEUES: u16 = 8;

/// A device's description has some two thousand bytes.
const ANSWER_MAX: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::testing;

    #[test]
    fn devices_are_described() {
        testing::in_own_network(|| {
            let tuntap = |name, more: &[&str]| {
                let words = [&["tuntap", "add", "dev", name], more].concat();
                testing::run("ip", &words);
            };
            tuntap("single", &["mode", "tun"]);
            tuntap("many", &["mode", "tun", "multi_queue"]);
            tuntap("bridged", &["mode", "tap", "multi_queue"]);
            let tun = Existing {
                is_tun: true,
                ..Existing::default()
            };
            for (name, expected) in [
                ("lo", Some(Existing::default())),
                ("single", Some(tun)),
                (
                    "many",
                    Some(Existing {
                        multi_queue: true,
                        ..tun
                    }),
                ),
                ("nothing", None),
            ] {
                assert_eq!(find(name).unwrap(), expected, "{name}");
            }
            assert!(!find("bridged").unwrap().unwrap().is_tun);
        });
    }

    #[test]
    fn an_answer_that_is_cut_is_no_device() {
        let mut whole = request("ringway-t").unwrap();
        whole[4..6].copy_from_slice(&16u16.to_ne_bytes());
        assert_eq!(parse(&whole).unwrap(), Some(Existing::default()));
        for length in 0..NLMSGHDR + IFINFOMSG {
            assert!(parse(&whole[..length]).is_err(), "{length}");
        }
        for length in [0u16, 1, 3, u16::MAX] {
            let row = [length.to_ne_bytes(), 5u16.to_ne_bytes()].concat();
            assert_eq!(attribute(&row, 5), None, "{length}");
            assert_eq!(attribute(&row, 6), None, "{length}");
        }
    }
}

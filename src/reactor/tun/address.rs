//! An IPv6 address for a device, by rtnetlink. The older way knows no flags, and without the one that is
//! set here nobody can use the address for up to a second: the kernel would ask neighbours whether they
//! have it, of whom a tun device has none.

use std::io::{self, Read, Write};
use std::net::Ipv6Addr;

use socket2::{Domain, Protocol, Socket, Type};

/// Gives a device in the network of this thread an address, or keeps it if it has it.
pub(super) fn add(interface: u32, address: Ipv6Addr, prefix: u8) -> io::Result<()> {
    let socket = Socket::new(
        Domain::from(libc::AF_NETLINK),
        Type::RAW,
        Some(Protocol::from(libc::NETLINK_ROUTE)),
    )?;
    (&socket).write_all(&request(interface, address, prefix))?;
    let mut answer = [0; ANSWER_MAX];
    let length = (&socket).read(&mut answer)?;
    // struct nlmsgerr after the header: what went wrong, negative; zero if nothing did
    let error = answer.get(NLMSGHDR..length).and_then(<[u8]>::first_chunk);
    match error.map(|error| i32::from_ne_bytes(*error)) {
        Some(0) => Ok(()),
        Some(error) => Err(io::Error::from_raw_os_error(error.saturating_neg())),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn request(interface: u32, address: Ipv6Addr, prefix: u8) -> Vec<u8> {
    // struct ifaddrmsg: family, length of the prefix, flags, scope, interface
    let mut body = vec![libc::AF_INET6 as u8, prefix, libc::IFA_F_NODAD as u8, 0];
    body.extend(interface.to_ne_bytes());
    for kind in [libc::IFA_LOCAL, libc::IFA_ADDRESS] {
        // struct rtattr: length with itself, kind
        body.extend(RTATTR_ADDRESS.to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(address.octets());
    }
    // struct nlmsghdr: length with itself, type, flags, sequence, port
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    let mut message = ((NLMSGHDR + body.len()) as u32).to_ne_bytes().to_vec();
    message.extend(libc::RTM_NEWADDR.to_ne_bytes());
    message.extend((flags as u16).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

const NLMSGHDR: usize = 16;
const RTATTR_ADDRESS: u16 = 4 + 16;

/// An acknowledgement repeats the request.
const ANSWER_MAX: usize = 512;

//! Socket addresses as the kernel writes them. IPv4 in IPv6 clothes stays outside: undressed when
//! it arrives, dressed again when a dual-stack socket sends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Room for the address of either family.
pub(super) const NAME_SIZE: usize = 32;

/// The kernel's form of an address, and how many of its bytes count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub(super) struct Name {
    pub(super) bytes: [u8; NAME_SIZE],
    pub(super) length: u32,
}

impl Name {
    pub(super) const EMPTY: Self = Self {
        bytes: [0; NAME_SIZE],
        length: 0,
    };

    /// The address for an IPv4 socket; nothing if it is an IPv6 address.
    pub(super) fn for_v4(address: SocketAddr) -> Option<Self> {
        let SocketAddr::V4(address) = address else {
            return None;
        };
        let mut name = Self::EMPTY;
        name.put(0, &FAMILY_V4.to_ne_bytes());
        name.put(2, &address.port().to_be_bytes());
        name.put(4, &address.ip().octets());
        name.length = LENGTH_V4;
        Some(name)
    }

    /// The address for an IPv6 socket; an IPv4 address is mapped.
    pub(super) fn for_v6(address: SocketAddr) -> Self {
        let (ip, scope) = match address {
            SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 0),
            SocketAddr::V6(v6) => (*v6.ip(), v6.scope_id()),
        };
        let mut name = Self::EMPTY;
        name.put(0, &FAMILY_V6.to_ne_bytes());
        name.put(2, &address.port().to_be_bytes());
        name.put(8, &ip.octets());
        name.put(24, &scope.to_ne_bytes());
        name.length = LENGTH_V6;
        name
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

/// Reads an address that the kernel wrote; nothing if it is of another family or cut off.
pub(super) fn parse_name(name: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(*name.first_chunk()?);
    let port = u16::from_be_bytes(*name.get(2..)?.first_chunk()?);
    match family {
        FAMILY_V4 => {
            let ip: [u8; 4] = *name.get(4..)?.first_chunk()?;
            Some(SocketAddrV4::new(Ipv4Addr::from(ip), port).into())
        }
        FAMILY_V6 => {
            let ip: [u8; 16] = *name.get(8..)?.first_chunk()?;
            let scope = u32::from_ne_bytes(*name.get(24..)?.first_chunk()?);
            Some(match unmapped(Ipv6Addr::from(ip)) {
                IpAddr::V4(v4) => SocketAddrV4::new(v4, port).into(),
                IpAddr::V6(v6) => SocketAddrV6::new(v6, port, 0, scope).into(),
            })
        }
        _ => None,
    }
}

/// The address, as IPv4 if it is one.
pub(super) fn unmapped(ip: Ipv6Addr) -> IpAddr {
    ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4)
}

const FAMILY_V4: u16 = libc::AF_INET as u16;
const FAMILY_V6: u16 = libc::AF_INET6 as u16;
const LENGTH_V4: u32 = size_of::<libc::sockaddr_in>() as u32;
const LENGTH_V6: u32 = size_of::<libc::sockaddr_in6>() as u32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_cross_the_edge_and_come_back() {
        for (address, v4_socket, as_mapped) in [
            ("192.0.2.1:1194", true, true),
            ("[2001:db8::1]:65535", false, false),
            ("[fe80::1%7]:1", false, false),
        ] {
            let address: SocketAddr = address.parse().unwrap();
            let name = Name::for_v4(address);
            assert_eq!(name.is_some(), v4_socket, "{address}");
            if let Some(name) = name {
                assert_eq!(name.length, 16);
                assert_eq!(parse_name(&name.bytes[..16]), Some(address));
            }
            let name = Name::for_v6(address);
            assert_eq!(name.length, 28);
            assert_eq!(name.bytes[18..20] == [0xff, 0xff], as_mapped, "{address}");
            assert_eq!(parse_name(&name.bytes[..28]), Some(address));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let whole = Name::for_v6("[2001:db8::1]:5".parse().unwrap());
        for length in 0..28 {
            assert_eq!(parse_name(&whole.bytes[..length]), None, "{length}");
        }
        let mut unix = whole.bytes;
        unix[..2].copy_from_slice(&(libc::AF_UNIX as u16).to_ne_bytes());
        assert_eq!(parse_name(&unix), None);
    }
}

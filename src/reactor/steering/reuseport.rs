//! The classic BPF program on the sockets of a listener.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use socket2::{Domain, Protocol, Socket, Type};

use crate::random::SystemRandom;
use crate::reactor::steering::SteeringError;
use crate::reactor::udp::UdpSocket;
use crate::session::{ClassicInstruction, Steering};

/// Lets `program` choose which of `sockets` gets a datagram: it returns their number in the order
/// in which they were bound. The sockets are a whole set as of [`UdpSocket::bind_set`]; a set of one
/// needs no program. No capability is needed. The program stays for as long as the sockets.
///
/// # Errors
///
/// The kernel does not take the program. The sockets then share what arrives by the kernel's hash of
/// addresses and ports.
pub fn steer_datagrams(
    sockets: &[UdpSocket],
    program: &[ClassicInstruction],
) -> Result<(), SteeringError> {
    let [first, _, ..] = sockets else {
        return Ok(());
    };
    attach(first, program).map_err(SteeringError::Sockets)
}

/// Whether the kernel takes programs for sockets, tried on one that nobody knows.
pub(in crate::reactor) fn try_steering() -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(true)?;
    let shards = Steering::new(2, &mut SystemRandom);
    attach(&socket, &shards.program())
}

/// On one of them is on all of them.
fn attach(socket: &impl AsFd, program: &[ClassicInstruction]) -> io::Result<()> {
    let mut instructions: Vec<libc::sock_filter> = program
        .iter()
        .map(|instruction| libc::sock_filter {
            code: instruction.code,
            jt: instruction.jump_true,
            jf: instruction.jump_false,
            k: instruction.k,
        })
        .collect();
    let program = libc::sock_fprog {
        len: u16::try_from(instructions.len()).map_err(io::Error::other)?,
        filter: instructions.as_mut_ptr(),
    };
    // SAFETY: the descriptor is open for as long as the socket is borrowed. The kernel copies a
    // `sock_fprog` and the instructions that it points to, all of which live until the call returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            size_of_val(&program) as libc::socklen_t,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr, UdpSocket as Plain};
    use std::time::Duration;

    use super::*;
    use crate::random::{Random, SeededRandom};
    use crate::reactor::testing;
    use crate::reactor::udp::{Family, Listen, Routing};
    use crate::session::OpenVpn2;

    const SHARDS: u16 = 4;

    fn set(family: Family) -> Vec<UdpSocket> {
        let listen = Listen {
            family,
            address: None,
            port: 0,
            send_buffer: 0,
            receive_buffer: 0,
            receive_offload: false,
            routing: Routing::default(),
        };
        UdpSocket::bind_set(&listen, SHARDS).unwrap()
    }

    fn steering() -> Steering {
        Steering::new(SHARDS, &mut SeededRandom::new(4))
    }

    /// Datagrams of every opcode, in use or not, from whole to empty.
    fn datagrams() -> Vec<Vec<u8>> {
        let mut random = SeededRandom::new(9);
        let mut all = vec![Vec::new()];
        for first in 0..=u8::MAX {
            for length in [1, 2, 4, 5, 8, 9, 10, 14, 50, 1200] {
                let mut datagram = vec![first; length];
                random.fill(&mut datagram[1..]);
                all.push(datagram);
            }
        }
        all.push([&[0x48, 0xff, 0xff, 0xff], &[7; 40][..]].concat());
        all
    }

    /// The number of the socket at which a datagram arrives.
    fn arrival(sockets: &[Plain], datagram: &[u8]) -> u16 {
        let mut buffer = [0; 2048];
        let mut arrived = None;
        testing::eventually(|| {
            arrived = (0..).zip(sockets).find_map(|(number, socket)| {
                let length = socket.recv(&mut buffer).ok()?;
                assert_eq!(&buffer[..length], datagram);
                Some(number)
            });
            arrived.is_some()
        });
        arrived.unwrap()
    }

    fn plain(sockets: Vec<UdpSocket>) -> Vec<Plain> {
        let plain = |socket: UdpSocket| Plain::from(socket.as_fd().try_clone_to_owned().unwrap());
        sockets.into_iter().map(plain).collect()
    }

    #[test]
    fn each_datagram_arrives_at_the_socket_of_its_shard() {
        for (family, to) in [
            (Family::V4, "127.0.0.1"),
            (Family::V6, "::1"),
            (Family::Dual, "127.0.0.1"),
            (Family::Dual, "::1"),
        ] {
            let to: IpAddr = to.parse().unwrap();
            let sockets = set(family);
            let steering = steering();
            steer_datagrams(&sockets, &steering.program()).unwrap();
            let port = sockets[0].local_address().unwrap().port();
            let sockets = plain(sockets);
            let client = client_of(SocketAddr::new(to, port));
            let mut by_kernel = None;
            for datagram in datagrams() {
                client.send(&datagram).unwrap();
                let arrived = arrival(&sockets, &datagram);
                match steering.shard_of(OpenVpn2::classify(&datagram)) {
                    Some(shard) => assert_eq!(arrived, shard, "{datagram:02x?}"),
                    // One client has one hash.
                    None => assert_eq!(arrived, *by_kernel.get_or_insert(arrived)),
                }
            }
        }
    }

    #[test]
    fn what_the_program_leaves_to_the_kernel_is_spread_over_all() {
        let sockets = set(Family::V4);
        steer_datagrams(&sockets, &steering().program()).unwrap();
        let seen = arrivals_of_many_clients(sockets, &[0x30; 60]);
        assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
    }

    #[test]
    fn without_a_program_every_socket_gets_its_share() {
        let seen = arrivals_of_many_clients(set(Family::V4), &[0x38; 60]);
        assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
    }

    #[test]
    fn a_single_socket_needs_no_program() {
        let socket = UdpSocket::bind_set(
            &Listen {
                family: Family::V4,
                address: None,
                port: 0,
                send_buffer: 0,
                receive_buffer: 0,
                receive_offload: false,
                routing: Routing::default(),
            },
            1,
        );
        steer_datagrams(&socket.unwrap(), &steering().program()).unwrap();
    }

    #[test]
    fn a_program_that_is_none_is_refused() {
        let error = steer_datagrams(&set(Family::V4), &[])
            .unwrap_err()
            .to_string();
        assert!(error.contains("SO_ATTACH_REUSEPORT_CBPF"), "{error}");
    }

    fn client_of(server: SocketAddr) -> Plain {
        let any = if server.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let client = Plain::bind(any).unwrap();
        client.connect(server).unwrap();
        client
            .set_write_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        client
    }

    fn arrivals_of_many_clients(sockets: Vec<UdpSocket>, datagram: &[u8]) -> [u32; 4] {
        let port = sockets[0].local_address().unwrap().port();
        let sockets = plain(sockets);
        let mut seen = [0; SHARDS as usize];
        // All of 200 clients on three of four sockets: once in 10^24 runs.
        for _ in 0..200 {
            let client = client_of(SocketAddr::from(([127, 0, 0, 1], port)));
            client.send(datagram).unwrap();
            seen[usize::from(arrival(&sockets, datagram))] += 1;
        }
        seen
    }
}

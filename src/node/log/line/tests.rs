//! Each event with its lines.
#![allow(clippy::too_many_lines)] // a table is as long as what it lists

use std::sync::Arc;

use jiff::tz::TimeZone;

use super::*;
use crate::node::counters::{Counters, NodeReport};
use crate::node::event::{DataRefusal, ReleaseCause};
use crate::node::settings::ListenerTransport;
use crate::node::status::{StatusFormat, StatusSnapshot};
use crate::session::Rate;
use std::time::Duration;

fn from() -> SocketAddr {
    "10.77.0.2:39048".parse().unwrap()
}

fn named(event: ClientEvent) -> NodeEvent {
    NodeEvent::client(ClientTag::named(from(), "client1".into()), event)
}

fn nameless(event: ClientEvent) -> NodeEvent {
    NodeEvent::client(ClientTag::nameless(from()), event)
}

fn refused(depth: usize, subject: &str, reason: RefusalReason) -> NodeEvent {
    nameless(ClientEvent::CertificateRefused(Arc::new(
        CertificateRefused {
            depth,
            subject: subject.to_owned(),
            serial: "4711".to_owned(),
            reason,
        },
    )))
}

/// (event, the lines with the verb that shows each).
pub(super) type Row = (NodeEvent, Vec<(u8, &'static str)>);

pub(super) fn check(rows: Vec<Row>) {
    for (event, expected) in rows {
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(verb, text)| (verb, text.to_owned()))
            .collect();
        let got: Vec<_> = lines(&event, 11)
            .into_iter()
            .map(|line| (line.level.verb, line.text))
            .collect();
        assert_eq!(got, expected, "{event:?}");
        for verb in 0..=11 {
            let shown = expected.iter().filter(|(needs, _)| *needs <= verb).count();
            assert_eq!(lines(&event, verb).len(), shown, "verb {verb}: {event:?}");
        }
    }
}

/// Each line as OpenVPN 2.6.14 printed it as a server, with the lowest `--verb` that showed it.
#[test]
fn a_connection_is_told_in_the_words_of_openvpn() {
    check(vec![
        (
            nameless(ClientEvent::TlsStarted {
                session: SessionId([0x9d, 0x2a, 0x1c, 0x3d, 0x8c, 0x2f, 0x0b, 0x9a]),
            }),
            vec![(
                3,
                "10.77.0.2:39048 TLS: Initial packet from [AF_INET]10.77.0.2:39048, sid=9d2a1c3d 8c2f0b9a",
            )],
        ),
        (
            nameless(ClientEvent::CertificateAccepted {
                depth: 1,
                subject: "CN=Lab CA".into(),
            }),
            vec![(2, "10.77.0.2:39048 VERIFY OK: depth=1, CN=Lab CA")],
        ),
        (
            nameless(ClientEvent::KeyUsageAccepted),
            vec![
                (2, "10.77.0.2:39048 VERIFY KU OK"),
                (2, "10.77.0.2:39048 VERIFY EKU OK"),
            ],
        ),
        (
            nameless(ClientEvent::NameAccepted {
                subject: "CN=client1".into(),
            }),
            vec![(2, "10.77.0.2:39048 VERIFY X509NAME OK: CN=client1")],
        ),
        (
            nameless(ClientEvent::PeerInfo {
                lines: "IV_VER=2.6.14\nIV_PLAT=linux\n".into(),
            }),
            vec![
                (1, "10.77.0.2:39048 peer info: IV_VER=2.6.14"),
                (1, "10.77.0.2:39048 peer info: IV_PLAT=linux"),
            ],
        ),
        (
            nameless(ClientEvent::ControlChannel(ControlChannel {
                version: "TLSv1.3",
                cipher_suite: "TLS_AES_256_GCM_SHA384".into(),
                certificate_key: "256 bits ECprime256v1".into(),
                group: Some("X25519MLKEM768".into()),
            })),
            vec![(
                2,
                "10.77.0.2:39048 Control Channel: TLSv1.3, cipher TLSv1.3 TLS_AES_256_GCM_SHA384, peer certificate: 256 bits ECprime256v1, peer temporary key: X25519MLKEM768",
            )],
        ),
        (
            named(ClientEvent::PeerInitiated),
            vec![(
                1,
                "10.77.0.2:39048 [client1] Peer Connection Initiated with [AF_INET]10.77.0.2:39048",
            )],
        ),
        (
            named(ClientEvent::PoolReturned {
                v4: Some("10.8.0.2".parse().unwrap()),
                v6: None,
            }),
            vec![(
                1,
                "client1/10.77.0.2:39048 MULTI_sva: pool returned IPv4=10.8.0.2, IPv6=(Not enabled)",
            )],
        ),
        (
            named(ClientEvent::Learned {
                address: "10.8.0.2".parse().unwrap(),
            }),
            vec![
                (
                    3,
                    "client1/10.77.0.2:39048 MULTI: Learn: 10.8.0.2 -> client1/10.77.0.2:39048",
                ),
                (
                    3,
                    "client1/10.77.0.2:39048 MULTI: primary virtual IP for client1/10.77.0.2:39048: 10.8.0.2",
                ),
            ],
        ),
        (
            named(ClientEvent::Learned {
                address: "fd00:8::1000".parse().unwrap(),
            }),
            vec![
                (
                    3,
                    "client1/10.77.0.2:39048 MULTI: Learn: fd00:8::1000 -> client1/10.77.0.2:39048",
                ),
                (
                    3,
                    "client1/10.77.0.2:39048 MULTI: primary virtual IPv6 for client1/10.77.0.2:39048: fd00:8::1000",
                ),
            ],
        ),
        (
            named(ClientEvent::ControlSent {
                message: "PUSH_REPLY,ping 2".into(),
            }),
            vec![(
                3,
                "client1/10.77.0.2:39048 SENT CONTROL [client1]: 'PUSH_REPLY,ping 2' (status=1)",
            )],
        ),
        (
            named(ClientEvent::DataChannel(DataChannel {
                cipher: "AES-256-GCM",
                peer_id: PeerId::new(0).unwrap(),
                ping: 2,
                ping_restart: 12,
                protocol_flags: "cc-exit tls-ekm".into(),
            })),
            vec![
                (
                    2,
                    "client1/10.77.0.2:39048 Data Channel: cipher 'AES-256-GCM', peer-id: 0",
                ),
                (2, "client1/10.77.0.2:39048 Timers: ping 2, ping-restart 12"),
                (
                    2,
                    "client1/10.77.0.2:39048 Protocol options: protocol-flags cc-exit tls-ekm",
                ),
            ],
        ),
        (
            named(ClientEvent::Renegotiating(KeyAge {
                age: 3,
                age_max: 3,
                bytes: 144,
                packets: 3,
            })),
            vec![(
                3,
                "client1/10.77.0.2:39048 TLS: soft reset sec=3/3 bytes=144/-1 pkts=3/0",
            )],
        ),
        (
            named(ClientEvent::Floated {
                peer_id: PeerId::new(0).unwrap(),
                to: "10.77.0.9:39048".parse().unwrap(),
            }),
            vec![(
                4,
                "peer 0 (client1) floated from 10.77.0.2:39048 to [AF_INET]10.77.0.9:39048",
            )],
        ),
        (
            named(ClientEvent::ExitReceived(ExitChannel::Control)),
            vec![
                (
                    1,
                    "client1/10.77.0.2:39048 CC-EEN exit message received by peer",
                ),
                (3, "client1/10.77.0.2:39048 Delayed exit in 5 seconds"),
            ],
        ),
        (
            named(ClientEvent::ExitReceived(ExitChannel::Data)),
            vec![(
                1,
                "client1/10.77.0.2:39048 OCC exit message received by peer",
            )],
        ),
        (
            named(ClientEvent::Left(LeaveReason::DelayedExit)),
            vec![(
                3,
                "client1/10.77.0.2:39048 SIGTERM[soft,delayed-exit] received, client-instance exiting",
            )],
        ),
        (
            named(ClientEvent::Left(LeaveReason::ConnectionReset)),
            vec![
                (
                    1,
                    "client1/10.77.0.2:39048 Connection reset, restarting [0]",
                ),
                (
                    3,
                    "client1/10.77.0.2:39048 SIGUSR1[soft,connection-reset] received, client-instance restarting",
                ),
            ],
        ),
        (
            named(ClientEvent::Left(LeaveReason::PingRestart)),
            vec![
                (
                    1,
                    "client1/10.77.0.2:39048 [client1] Inactivity timeout (--ping-restart), restarting",
                ),
                (
                    3,
                    "client1/10.77.0.2:39048 SIGUSR1[soft,ping-restart] received, client-instance restarting",
                ),
            ],
        ),
    ]);
}

#[test]
fn refusals_are_told_in_the_words_that_fail2ban_matches() {
    let stranger = |refusal| NodeEvent::StrangerRefused {
        address: from(),
        refusal,
    };
    check(vec![
        (
            stranger(StrangerRefusal::TlsAuthFailed),
            vec![
                (
                    1,
                    "Authenticate/Decrypt packet error: packet HMAC authentication failed",
                ),
                (
                    1,
                    "TLS Error: incoming packet authentication failed from [AF_INET]10.77.0.2:39048",
                ),
            ],
        ),
        (
            stranger(StrangerRefusal::TlsAuthMissing),
            vec![(
                1,
                "TLS Error: cannot locate HMAC in incoming packet from [AF_INET]10.77.0.2:39048",
            )],
        ),
        (
            stranger(StrangerRefusal::TlsCryptFailed),
            vec![
                (1, "tls-crypt unwrap error: packet authentication failed"),
                (
                    1,
                    "TLS Error: tls-crypt unwrapping failed from [AF_INET]10.77.0.2:39048",
                ),
            ],
        ),
        (
            stranger(StrangerRefusal::ClientKeyRefused),
            vec![
                (
                    1,
                    "tls_crypt_v2_unwrap_client_key: client key authentication error",
                ),
                (1, "Can not unwrap tls-crypt-v2 client key"),
                (
                    1,
                    "TLS Error: can not extract tls-crypt-v2 client key from [AF_INET]10.77.0.2:39048",
                ),
            ],
        ),
        (
            stranger(StrangerRefusal::ClientKeyMissing),
            vec![(
                1,
                "TLS Error: could not determine wrapping from [AF_INET]10.77.0.2:39048",
            )],
        ),
        (
            stranger(StrangerRefusal::ClientKeyTooOld),
            vec![
                (
                    1,
                    "tls-crypt-v2: the client key is older than tls-crypt-v2-max-age, or does not say \
                     when it was made",
                ),
                (
                    1,
                    "TLS Error: can not extract tls-crypt-v2 client key from [AF_INET]10.77.0.2:39048",
                ),
            ],
        ),
        (
            named(ClientEvent::WrapRefused(StrangerRefusal::TlsCryptReplay)),
            vec![
                (
                    1,
                    "client1/10.77.0.2:39048 tls-crypt unwrap error: packet replay",
                ),
                (
                    1,
                    "client1/10.77.0.2:39048 TLS Error: tls-crypt unwrapping failed from [AF_INET]10.77.0.2:39048",
                ),
            ],
        ),
        (
            stranger(StrangerRefusal::TooManySessions),
            vec![(
                1,
                "MULTI: Connection from 10.77.0.2:39048 would exceed new connection frequency limit \
                 as controlled by --connect-freq",
            )],
        ),
        (
            stranger(StrangerRefusal::WrongCookie),
            vec![(
                4,
                "Packet with invalid or missing SID from [AF_INET]10.77.0.2:39048 or wrong packet id",
            )],
        ),
        (
            refused(0, "CN=expired", RefusalReason::Expired),
            vec![(
                1,
                "10.77.0.2:39048 VERIFY ERROR: depth=0, error=certificate has expired: CN=expired, serial=4711",
            )],
        ),
        (
            refused(0, "CN=alien", RefusalReason::UnknownIssuer),
            vec![(
                1,
                "10.77.0.2:39048 VERIFY ERROR: depth=0, error=unable to get local issuer certificate: CN=alien, serial=4711",
            )],
        ),
        (
            refused(0, "CN=client1", RefusalReason::Name("other".to_owned())),
            vec![(
                2,
                "10.77.0.2:39048 VERIFY X509NAME ERROR: CN=client1, must be other",
            )],
        ),
        (
            nameless(ClientEvent::HandshakeFailed(HandshakeFailure::Timeout {
                seconds: 60,
            })),
            vec![
                (
                    1,
                    "10.77.0.2:39048 TLS Error: TLS key negotiation failed to occur within 60 seconds (check your network connectivity)",
                ),
                (1, "10.77.0.2:39048 TLS Error: TLS handshake failed"),
            ],
        ),
        (
            nameless(ClientEvent::HandshakeFailed(HandshakeFailure::Tls {
                reason: "bad\nalert".into(),
            })),
            vec![
                (1, "10.77.0.2:39048 TLS_ERROR: bad_alert"),
                (
                    1,
                    "10.77.0.2:39048 TLS Error: TLS object -> incoming plaintext read error",
                ),
                (1, "10.77.0.2:39048 TLS Error: TLS handshake failed"),
            ],
        ),
        (
            nameless(ClientEvent::Left(LeaveReason::TlsError)),
            vec![(
                3,
                "10.77.0.2:39048 SIGUSR1[soft,tls-error] received, client-instance restarting",
            )],
        ),
        (
            named(ClientEvent::NoCommonCipher {
                server: "AES-256-GCM".into(),
                client: "AES-192-GCM".into(),
            }),
            vec![(
                1,
                "client1/10.77.0.2:39048 PUSH: No common cipher between server and client. Server data-ciphers: 'AES-256-GCM', client supported ciphers 'AES-192-GCM'",
            )],
        ),
        (
            named(ClientEvent::DataRefused(DataRefusal::AddressTaken {
                to: ([192, 0, 2, 7], 40001).into(),
            })),
            vec![(
                3,
                "client1/10.77.0.2:39048 Disallow float to an address taken by another client 192.0.2.7:40001",
            )],
        ),
        (
            named(ClientEvent::BadSource {
                source: "10.99.0.1".parse().unwrap(),
            }),
            vec![(
                4,
                "client1/10.77.0.2:39048 MULTI: bad source address from client [10.99.0.1], packet dropped",
            )],
        ),
        (
            named(ClientEvent::AdmissionRefused(
                AdmissionRefusal::MaxClients { max: 1 },
            )),
            vec![(
                1,
                "client1/10.77.0.2:39048 MULTI: new incoming connection would exceed maximum number of clients (1)",
            )],
        ),
        (
            named(ClientEvent::AdmissionRefused(
                AdmissionRefusal::PoolExhausted,
            )),
            vec![(
                1,
                "client1/10.77.0.2:39048 MULTI: no free --ifconfig-pool addresses are available",
            )],
        ),
        (
            named(ClientEvent::AdmissionRefused(AdmissionRefusal::Disabled)),
            vec![(
                1,
                "client1/10.77.0.2:39048 MULTI: client has been rejected due to 'disable' directive",
            )],
        ),
        (
            named(ClientEvent::AdmissionRefused(AdmissionRefusal::NoFile)),
            vec![],
        ),
        (
            named(ClientEvent::AdmissionRefused(AdmissionRefusal::NoAddress)),
            vec![(
                1,
                "client1/10.77.0.2:39048 MULTI: no dynamic or static remote --ifconfig address is available",
            )],
        ),
    ]);
}

/// As OpenVPN 2.6.14 printed them for a client with a file in `client-config-dir`.
#[test]
fn a_clients_file_is_told_in_the_words_of_openvpn() {
    check(vec![
        (
            named(ClientEvent::ProfileRead {
                file: "ccd/client1".into(),
            }),
            vec![(
                3,
                "client1/10.77.0.2:39048 OPTIONS IMPORT: reading client specific options from: ccd/client1",
            )],
        ),
        (
            named(ClientEvent::ProfileFault {
                line: "Options error: ccd/client1:1: foo".into(),
            }),
            vec![(
                1,
                "client1/10.77.0.2:39048 Options error: ccd/client1:1: foo",
            )],
        ),
        (
            named(ClientEvent::PushRemoved {
                option: "route 10.98".into(),
            }),
            vec![(3, "client1/10.77.0.2:39048 PUSH_REMOVE 'route 10.98'")],
        ),
        (
            named(ClientEvent::OwnRouteOmitted {
                option: "route 10.91.0.0 255.255.0.0".into(),
            }),
            vec![(
                3,
                "client1/10.77.0.2:39048 REMOVE PUSH ROUTE: 'route 10.91.0.0 255.255.0.0'",
            )],
        ),
        (
            named(ClientEvent::NetworkLearned {
                network: "10.91.0.0/16".parse().unwrap(),
            }),
            vec![
                (
                    3,
                    "client1/10.77.0.2:39048 MULTI: internal route 10.91.0.0/16 -> client1/10.77.0.2:39048",
                ),
                (
                    3,
                    "client1/10.77.0.2:39048 MULTI: Learn: 10.91.0.0/16 -> client1/10.77.0.2:39048",
                ),
            ],
        ),
        (
            named(ClientEvent::RouteQuotaExceeded { max: 1 }),
            vec![(
                1,
                "client1/10.77.0.2:39048 MULTI ROUTE: route quota (1) exceeded for client1/10.77.0.2:39048 (see --max-routes-per-client option)",
            )],
        ),
        (
            named(ClientEvent::Replacing(ReleaseCause::Address)),
            vec![(
                1,
                "client1/10.77.0.2:39048 MULTI: the file of a client that connects now (--ifconfig-push or --ifconfig-ipv6-push) has the address of 'client1', which is dropped",
            )],
        ),
    ]);
}

#[test]
fn the_life_of_the_node_is_told_in_the_words_of_openvpn() {
    check(vec![
        (NodeEvent::Started, vec![(1, title())]),
        (
            NodeEvent::MemoryLocked,
            vec![(1, "mlockall call succeeded")],
        ),
        (
            NodeEvent::TunOpened {
                name: "tun0".into(),
                mtu: 1500,
            },
            vec![
                (1, "TUN/TAP device tun0 opened"),
                (1, "net_iface_mtu_set: mtu 1500 for tun0"),
            ],
        ),
        (
            NodeEvent::TunAddressed {
                name: "tun0".into(),
                address: "fd00:8::1/64".parse().unwrap(),
                peer: None,
            },
            vec![(1, "net_addr_v6_add: fd00:8::1/64 dev tun0")],
        ),
        (
            NodeEvent::TunAddressed {
                name: "tun0".into(),
                address: "10.8.0.1/32".parse().unwrap(),
                peer: Some("10.8.0.2".parse().unwrap()),
            },
            vec![(1, "net_addr_ptp_v4_add: 10.8.0.1 peer 10.8.0.2 dev tun0")],
        ),
        (
            NodeEvent::ListenerBound {
                transport: ListenerTransport::Udp,
                address: "0.0.0.0:1194".parse().unwrap(),
            },
            vec![(1, "UDPv4 link local (bound): [AF_INET][undef]:1194")],
        ),
        (
            NodeEvent::ListenerBound {
                transport: ListenerTransport::Tcp,
                address: "[2001:db8::1]:443".parse().unwrap(),
            },
            vec![
                (
                    1,
                    "Listening for incoming TCP connection on [AF_INET6]2001:db8::1:443",
                ),
                (
                    1,
                    "TCPv6_SERVER link local (bound): [AF_INET6]2001:db8::1:443",
                ),
            ],
        ),
        (
            NodeEvent::PoolOpened {
                v4: Some(("10.8.0.2".parse().unwrap(), 253)),
                v6: Some(("fd00:8::1000".parse().unwrap(), 65536, 64)),
            },
            vec![
                (3, "IFCONFIG POOL IPv4: base=10.8.0.2 size=253"),
                (
                    3,
                    "IFCONFIG POOL IPv6: base=fd00:8::1000 size=65536 netbits=64",
                ),
            ],
        ),
        (
            NodeEvent::LeasesRead {
                names: 2,
                faults: ["pool: invalid IPv4 (x) for CN=eve".into()].into(),
            },
            vec![
                (1, "pool: invalid IPv4 (x) for CN=eve"),
                (1, "ifconfig_pool_read(), 2 clients have their addresses"),
            ],
        ),
        (
            NodeEvent::RevocationsRead {
                file: "crl.pem".into(),
                count: 2,
                is_directory: false,
            },
            vec![(1, "CRL: loaded 2 CRLs from file crl.pem")],
        ),
        (
            NodeEvent::RevocationsUnreadable {
                file: "crl.pem".into(),
                why: "why".into(),
            },
            vec![(1, "CRL: cannot read CRL from file crl.pem: why")],
        ),
        (
            NodeEvent::Confined {
                root: Some("/srv/vpn".into()),
                user: Some("nobody".into()),
                group: Some("nogroup".into()),
                keeps_network: false,
            },
            vec![
                (1, "chroot to '/srv/vpn' and cd to '/' succeeded"),
                (1, "UID set to nobody"),
                (1, "GID set to nogroup"),
                (1, "Capabilities retained: none"),
            ],
        ),
        (
            NodeEvent::Confined {
                root: None,
                user: None,
                group: Some("vpn".into()),
                keeps_network: true,
            },
            vec![
                (1, "GID set to vpn"),
                (1, "Capabilities retained: CAP_NET_ADMIN"),
            ],
        ),
        (
            NodeEvent::Reported(Arc::new(NodeReport {
                status: StatusSnapshot {
                    unix: 1_795_309_235,
                    ..StatusSnapshot::default()
                },
                format: StatusFormat::V1,
                zone: TimeZone::UTC,
                steered: Vec::new(),
                node: Counters::default().with("clients", [("registered", 0)]),
                shards: vec![None],
            })),
            vec![
                (1, "OpenVPN CLIENT LIST"),
                (1, "Updated,2026-11-22 01:00:35"),
                (
                    1,
                    "Common Name,Real Address,Bytes Received,Bytes Sent,Connected Since",
                ),
                (1, "ROUTING TABLE"),
                (1, "Virtual Address,Common Name,Real Address,Last Ref"),
                (1, "GLOBAL STATS"),
                (1, "Max bcast/mcast queue length,0"),
                (1, "END"),
                (1, "node: clients: registered=0"),
                (1, "shard 0: no answer"),
            ],
        ),
        (
            NodeEvent::InitializationComplete,
            vec![(1, "Initialization Sequence Completed")],
        ),
        (
            NodeEvent::StartFailed {
                reason: "cannot bind UDP 0.0.0.0:1194".into(),
            },
            vec![
                (0, "cannot bind UDP 0.0.0.0:1194"),
                (0, "Exiting due to fatal error"),
            ],
        ),
        (
            NodeEvent::Stopped {
                signal: StopSignal::Terminate,
            },
            vec![(1, "SIGTERM[hard,] received, process exiting")],
        ),
    ]);
}

#[test]
fn peer_info_cannot_forge_a_line() {
    let forged = nameless(ClientEvent::PeerInfo {
        lines: "UV_X=\rInitialization Sequence Completed\x1b[2K".into(),
    });
    let lines = lines(&forged, 3);
    assert_eq!(lines.len(), 1);
    assert_eq!(
        lines[0].text,
        "10.77.0.2:39048 peer info: UV_X=_Initialization Sequence Completed_[2K"
    );
}

#[test]
fn unanswered_strangers_are_told_in_the_words_of_2_6() {
    let limit = Rate {
        count: 100,
        per: Duration::from_secs(10),
    };
    let remaining = Duration::from_millis(7_400);
    let packets = 4_711;
    check(vec![
        (
            NodeEvent::Contacts(ContactNotice::Exceeded { limit, remaining }),
            vec![(
                1,
                "Note: --connect-freq-initial 100 10 rate limit exceeded, dropping initial \
                 handshake packets for the next 7 seconds",
            )],
        ),
        (
            NodeEvent::Contacts(ContactNotice::Dropped { limit, packets }),
            vec![(
                4,
                "Dropped 4711 initial handshake packets due to --connect-freq-initial 100 10",
            )],
        ),
    ]);
}

//! The settings of a node and its clients.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use ringway::crypto::{
    CookieKey, DataCipher, Digest, KeyDirection, Metadata, ReplayWindow, Role, StaticKey,
    TlsCryptV2ClientKey, TlsCryptV2ServerKey, Wrapping,
};
use ringway::limits::REPLAY_WINDOW_MAX;
use ringway::node::leases::AddressPool;
use ringway::node::settings::{Compression, KeyVolume, Offloads, SessionTimes, V4Layout};
use ringway::node::shard::{LoginTerms, Network, ShardParts};
use ringway::packet::Mssfix;
use ringway::random::{Random, SeededRandom};
use ringway::session::{
    ClientKeyRules, ContactLimits, Farewell, OpenVpn2, Renegotiation, SessionSettings, Steering,
    Timing,
};
use ringway::wire::OptionsString;

use super::plan::Plan;
use crate::network::Conditions;
use crate::tls;

/// What the shards of a node are made of, in their order.
pub(crate) fn shards(
    plan: &Plan,
    pool: &AddressPool,
    steering: Steering,
    seed: u64,
    random: &mut SeededRandom,
) -> Vec<ShardParts> {
    let settings = Arc::new(settings(plan, Role::Server, "gate", 990));
    let cookie = CookieKey::new(random, settings.timing.hand_window);
    let network = Network {
        v4: Some(V4Layout::Subnet {
            netmask: Ipv4Addr::new(255, 255, 255, 0),
        }),
        v6: pool
            .v6
            .map(|_| (64, Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1))),
        mtu: 1_500,
        mssfix: Mssfix::Off,
        fragment: None,
        copies_classes: false,
        max_clients: plan.max_clients,
        farewell: Farewell::Restart { next_remote: false },
        contact: ContactLimits::default(),
        client_to_client: plan.client_to_client,
        refuses_ipv6: None,
        compression: Compression::default(),
        times: SessionTimes::default(),
        hosts_remembered: Duration::from_secs(60),
        key_volume: KeyVolume::default(),
        logins: LoginTerms::default(),
    };
    (0..plan.shards)
        .map(|number| ShardParts {
            number,
            steering,
            offloads: Offloads::NONE,
            protocol: Some(door(plan, &settings, &cookie, random)),
            network: network.clone(),
            random: Box::new(SeededRandom::new(seed.rotate_left(20) ^ u64::from(number))),
        })
        .collect()
}

fn door(
    plan: &Plan,
    settings: &Arc<SessionSettings>,
    cookie: &CookieKey,
    random: &mut SeededRandom,
) -> OpenVpn2 {
    let door = OpenVpn2::new(Arc::clone(settings), cookie.clone(), random);
    match plan.wrapping {
        CLIENT_KEYS => door.with_client_keys(Arc::new(ClientKeyRules {
            key: server_key(),
            without_cookie: false,
            max_age: None,
            keeps_metadata: false,
        })),
        _ => door,
    }
}

/// What the keys of clients are sealed with.
fn server_key() -> TlsCryptV2ServerKey {
    TlsCryptV2ServerKey::generate(&mut SeededRandom::new(12))
}

/// A client's settings: of any age, with peer ids or without.
pub(crate) fn client(plan: &Plan, name: &str, random: &mut SeededRandom) -> Arc<SessionSettings> {
    let protos = [8094, 8094, 990, 990, 478, 2, 0];
    let proto = protos[random.below(protos.len() as u64) as usize];
    Arc::new(settings(plan, Role::Client, name, proto))
}

/// What the plan's network does; without a wrapping only UDP's checksum finds damage, and drops it.
pub(crate) fn conditions(plan: &Plan) -> Conditions {
    let mut conditions = plan.conditions;
    if plan.wrapping == 0 {
        conditions.loss += conditions.damage;
        conditions.damage = 0.0;
    }
    conditions
}

/// The host behind the tun device, of the family of `like`.
pub(crate) fn lan(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::new(192, 168, 7, 7).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0xfd07, 0, 0, 0, 0, 0, 0, 7).into(),
    }
}

fn settings(plan: &Plan, role: Role, name: &str, proto: u32) -> SessionSettings {
    let key = StaticKey::from_bytes(&std::array::from_fn(|index| index as u8));
    let direction = match role {
        Role::Server => KeyDirection::Zero,
        Role::Client => KeyDirection::One,
    };
    let (wrapping, static_key) = match plan.wrapping {
        0 => (Wrapping::Plain, None),
        1 => (
            Wrapping::tls_auth(&key, direction, Digest::Sha256),
            Some(key),
        ),
        CLIENT_KEYS if role == Role::Server => (Wrapping::Plain, None),
        CLIENT_KEYS => {
            let metadata = Metadata::User(name.as_bytes().to_vec());
            let mut random = SeededRandom::new(11);
            let key = TlsCryptV2ClientKey::generate(&server_key(), &metadata, &mut random);
            let key = key.expect("short metadata");
            (Wrapping::tls_crypt_v2(&key), Some(key.key().clone()))
        }
        _ => (Wrapping::tls_crypt(&key, role), Some(key)),
    };
    let replay_window = match role {
        Role::Server => ReplayWindow::default(),
        // So wide that whatever comes twice is found.
        Role::Client => ReplayWindow::new(REPLAY_WINDOW_MAX, Duration::from_secs(3_600)),
    };
    let ping = (role == Role::Server).then_some(PING);
    SessionSettings {
        role,
        wrapping: Arc::new(wrapping),
        static_key,
        tls: tls::engine(role, plan.engine, name),
        ciphers: vec![DataCipher::Aes256Gcm, DataCipher::ChaCha20Poly1305],
        options_string: OptionsString::stock(role).to_string(),
        tun_mtu: 1_500,
        push: vec![
            format!("ping {}", PING.as_secs()),
            format!("ping-restart {}", PING_RESTART.as_secs()),
        ],
        peer_info: format!("IV_VER=2.6.14\nIV_PROTO={proto}\nIV_CIPHERS=AES-256-GCM\n"),
        replay_window,
        timing: Timing {
            hand_window: Duration::from_secs(20),
            tran_window: Duration::from_secs(60),
            tls_timeout: Duration::from_secs(1),
            renegotiation: plan.renegotiation.map(|interval| Renegotiation {
                earliest: interval * 9 / 10,
                latest: interval,
            }),
            ping,
            ping_restart: ping.map(|_| PING_RESTART),
        },
        login: None,
    }
}

/// The wrapping by which each client has a key of its own.
const CLIENT_KEYS: u64 = 3;
const PING: Duration = Duration::from_secs(5);
/// After so much silence both sides give a tunnel up.
pub(crate) const PING_RESTART: Duration = Duration::from_secs(20);

//! One name on several shards at once.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use ringway::node::settings::{ShardSettings, usable_cores};

use crate::client::Client;
use crate::server::{Server, in_own_process};

/// Ten sessions with the same certificate begin in the same moment, on whatever shards their ids
/// lead to. In the end one of them has the name, its address and a working tunnel.
#[test]
fn ten_sessions_of_one_name_at_once_leave_one_holder() {
    in_own_process(
        "names::ten_sessions_of_one_name_at_once_leave_one_holder",
        || {
            let server = Server::start_with(|settings| {
                settings.node.shards = ShardSettings::on(&usable_cores(), 4);
            });
            let mut other = Client::connected(&server.engine("other"));
            let engine = server.engine("roamer");
            for round in 0..3 {
                let mut sessions: Vec<_> = (0..10)
                    .map(|_| Client::new(&engine, Ipv4Addr::LOCALHOST))
                    .collect();
                let deadline = Instant::now() + Duration::from_secs(60);
                while !settled(&server, &mut sessions) {
                    assert!(
                        Instant::now() < deadline,
                        "round {round}: {}",
                        server.text()
                    );
                }
                assert!(other.echo());
                let addresses = sessions.iter().filter(|it| it.is_connected());
                let addresses: Vec<_> = addresses.map(Client::address).collect();
                assert!(
                    addresses.windows(2).all(|pair| pair[0] == pair[1]),
                    "{addresses:?}"
                );
                assert!(!addresses.contains(&other.address()));
            }
        },
    );
}

/// Whether nobody is on the way in, and one of these, and no other session of the name, is there
/// and has a tunnel.
fn settled(server: &Server, sessions: &mut [Client]) -> bool {
    let end = Instant::now() + Duration::from_secs(1);
    while Instant::now() < end {
        for session in sessions.iter_mut() {
            session.pump(Duration::ZERO);
        }
    }
    let rows = |name| server.status_rows(&format!("CLIENT_LIST,{name},"));
    let connected = sessions.iter_mut().filter(|it| it.is_connected());
    let holders = connected.filter_map(|it| it.echo().then_some(())).count();
    (rows("UNDEF"), rows("roamer"), holders) == (0, 1, 1)
}

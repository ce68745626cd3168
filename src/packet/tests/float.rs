//! Where a client that has moved is followed to.

use super::node::{Node, Out};
use super::*;

const HOME: u16 = 1;

fn up(last: u8) -> Vec<u8> {
    ip(CLIENT_V4, LAN_V4, &[last])
}

fn receives(pair: &mut Pair, datagram: &[u8], from: Path, inner: &[u8]) {
    assert_eq!(pair.server.receive(datagram, from), [inner]);
}

#[test]
fn a_late_packet_from_the_old_address_does_not_move_the_peer_back() {
    let mut pair = Pair::aes();
    let [first, late, newer, newest] = [1, 2, 3, 4].map(|last| pair.client.sealed(&up(last)));
    let elsewhere = path(77, 5555);
    receives(&mut pair, &first, CLIENT, &up(1));
    receives(&mut pair, &newer, elsewhere, &up(3));
    assert_eq!(pair.server.peer().path(), &elsewhere);
    pair.server.events.clear();

    receives(&mut pair, &late, CLIENT, &up(2));
    assert_eq!(pair.server.peer().path(), &elsewhere);
    assert_eq!(pair.server.events, []);
    receives(&mut pair, &newest, CLIENT, &up(4));
    assert_eq!(pair.server.peer().path(), &CLIENT);
    pair.server.assert_drops(&[]);
}

#[test]
fn a_packet_under_an_older_key_moves_nobody_once_a_newer_one_is_in_use() {
    let mut pair = Pair::aes();
    let second = KeyId::from_low_bits(1);
    let old: Vec<_> = (1..4).map(|last| pair.client.sealed(&up(last))).collect();
    pair.install(DataCipher::Aes256Gcm, second);
    let elsewhere = path(77, 5555);
    receives(&mut pair, &old[0], CLIENT, &up(1));
    // The newer key is there, but nothing came under it yet.
    receives(&mut pair, &old[1], elsewhere, &up(2));
    assert_eq!(pair.server.peer().path(), &elsewhere);

    pair.client.peer().keys.send_with(second).unwrap();
    let new = pair.client.sealed(&up(9));
    receives(&mut pair, &new, elsewhere, &up(9));
    receives(&mut pair, &old[2], CLIENT, &up(3));
    assert_eq!(pair.server.peer().path(), &elsewhere);
}

#[test]
fn nobody_moves_to_where_a_client_is_that_is_known_by_its_path() {
    // On the same shard and on another one; since it has no peer id, or since it ignores its own.
    for (shard, numbering) in [0, 1]
        .into_iter()
        .flat_map(|shard| NUMBERINGS.map(|numbering| (shard, numbering)))
    {
        let mut node = Node::new(2);
        let mover = node.connect(0, Numbering::PeerId);
        let holder = node.connect(shard, numbering);
        if numbering == Numbering::PeerId {
            node.ignore_peer_id(holder);
            assert_eq!(node.send_up(holder, 0).len(), 1);
            let peer = node.clients[holder].peer;
            let ignores_it = PeerEvent::IgnoresPeerId { peer };
            assert!(node.shards[shard].events.contains(&ignores_it));
            node.announce_by_path(holder);
        }
        let home = node.clients[mover].path;
        let taken = node.clients[holder].path;
        assert_eq!(node.send_up(mover, 0).len(), 1);
        let peer_id = node.peer(mover).peer_id();
        node.shards[0].events.clear();

        node.clients[mover].path = taken;
        node.now = node.now + Duration::from_secs(1);
        assert_eq!(node.send_up(mover, 0), []);
        assert_eq!(node.take_drops(), [(0, DropReason::FloatTaken, 1)]);
        let refused = PeerEvent::Refused {
            peer: node.clients[mover].peer,
            refusal: Refusal::Taken(taken.remote),
        };
        assert_eq!(node.shards[0].events, [refused]);
        assert_eq!(node.peer(mover).path(), &home);
        // It was authentic all the same: the peer lives.
        assert_eq!(node.peer(mover).last_received, node.now);

        // When the other one is gone the address is as good as any.
        node.disconnect(holder);
        node.withdraw_path(holder);
        assert_eq!(node.send_up(mover, 0).len(), 1);
        assert_eq!(node.peer(mover).path(), &taken);
        assert_eq!(node.peer(mover).peer_id(), peer_id);
        assert_eq!(node.send_down(mover, 0).len(), 1);
    }
}

#[test]
fn clients_with_peer_ids_share_an_address() {
    for (shard, has_sent) in [(0, true), (1, true), (0, false), (1, false)] {
        let mut node = Node::new(2);
        let mover = node.connect(0, Numbering::PeerId);
        let other = node.connect(shard, Numbering::PeerId);
        if has_sent {
            assert_eq!(node.send_up(other, shard).len(), 1);
        }
        node.clients[mover].path = node.clients[other].path;
        assert_eq!(node.send_up(mover, 0).len(), 1);
        for client in [mover, other] {
            assert_eq!(node.send_down(client, 0).len(), 1);
            assert_eq!(node.send_up(client, 1).len(), 1);
        }
        assert_eq!(node.take_drops(), []);
        let [mover, other] = [mover, other].map(|client| *node.peer(client).path());
        assert_eq!(mover, other);
    }
}

#[test]
fn a_client_that_took_to_its_peer_id_late_may_move_from_then_on() {
    let mut node = Node::new(1);
    let client = node.connect(0, Numbering::PeerId);
    let header = node.ignore_peer_id(client);
    assert_eq!(node.send_up(client, 0).len(), 1);
    node.clients[client].header = header;
    assert_eq!(node.send_up(client, 0).len(), 1);
    let elsewhere = path(77, 5555);
    node.clients[client].path = elsewhere;
    assert_eq!(node.send_up(client, 0).len(), 1);
    assert_eq!(node.peer(client).path(), &elsewhere);
}

#[test]
fn a_client_that_is_known_by_its_path_does_not_move() {
    let mut node = Node::new(2);
    let client = node.connect(0, Numbering::FourTuple);
    let home = node.clients[client].path;
    node.clients[client].path = path(77, 5555);
    assert_eq!(node.send_up(client, 0), []);
    assert_eq!(node.take_drops(), [(0, DropReason::UnknownPeer, 1)]);
    assert_eq!(node.peer(client).path(), &home);
}

#[test]
fn a_peer_moves_by_a_packet_that_another_shard_has_handed_over_too() {
    let mut node = Node::new(2);
    let client = node.connect(usize::from(HOME), Numbering::PeerId);
    let elsewhere = path(77, 5555);
    node.clients[client].path = elsewhere;
    let inner = node.clients[client].up();
    assert_eq!(node.send_up(client, 0), [Out::Tun(1, inner)]);
    assert_eq!(node.peer(client).path(), &elsewhere);
    assert_eq!(node.handed_over, 1);
}

//! Where a client that has moved is followed to.

use super::shards::{Node, Out};
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
    // On the same shard and on another one, by its way of sending or because it has not sent yet.
    for (shard, numbering) in [0, 1]
        .into_iter()
        .flat_map(|shard| NUMBERINGS.map(|numbering| (shard, numbering)))
    {
        let mut node = Node::new(2);
        let mover = node.connect(0, Numbering::PeerId);
        let holder = node.connect(shard, numbering);
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

        // The other one shows its peer id, or is gone: then the address is as good as any.
        match numbering {
            Numbering::PeerId => assert_eq!(node.send_up(holder, shard).len(), 1),
            Numbering::FourTuple => node.disconnect(holder),
        }
        node.withdraw_path(holder);
        assert_eq!(node.send_up(mover, 0).len(), 1);
        assert_eq!(node.peer(mover).path(), &taken);
        assert_eq!(node.peer(mover).peer_id(), peer_id);
        if numbering == Numbering::PeerId {
            let answer = node.send_down(holder, shard);
            assert_eq!(answer.len(), 1, "two clients behind one address");
        }
        assert_eq!(node.send_down(mover, 0).len(), 1);
    }
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

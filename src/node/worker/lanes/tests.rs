//! Who goes where when sockets are full: without a kernel that would fill them.

use super::*;
use crate::limits::LANES;
use crate::packet::{Mssfix, NewPeer, Numbering, Packet, Path, PeerTable, Pool, TrafficClass};
use crate::random::SeededRandom;
use crate::reactor::{Family, Listen, Reactor, ReactorConfig, Routing, UdpSocket, Waker};
use crate::time::Monotonic;

/// Lanes of some listeners, and what waits for peers and strangers.
struct Scene {
    lanes: Lanes,
    sockets: Vec<Vec<SocketId>>,
    waiting: Queues,
    pool: Pool,
    peers: Vec<PeerIndex>,
    _reactor: Reactor,
}

impl Scene {
    fn new(listeners: usize, lanes: usize) -> Self {
        let mut reactor = Reactor::new(ReactorConfig::default(), Waker::new().unwrap()).unwrap();
        let listen = Listen {
            family: Family::V4,
            address: Some([127, 0, 0, 1].into()),
            port: 0,
            send_buffer: 0,
            receive_buffer: 0,
            receive_offload: false,
            routing: Routing::default(),
        };
        let mut add = |()| {
            reactor
                .add_socket(UdpSocket::bind(&listen).unwrap())
                .unwrap()
        };
        // As in a ring: those that the data path knows come first.
        let mains: Vec<_> = (0..listeners).map(|_| add(())).collect();
        let sockets: Vec<Vec<_>> = mains
            .into_iter()
            .map(|main| {
                std::iter::once(main)
                    .chain((1..lanes).map(|_| add(())))
                    .collect()
            })
            .collect();
        let mut lanes = Lanes::new();
        for (number, sockets) in (0..).zip(&sockets) {
            assert_eq!(lanes.add(sockets.clone()), number);
        }
        let mut table = PeerTable::new(0, 1, 100, &mut SeededRandom::new(1));
        let peers = (0..100).map(|number| {
            let new = NewPeer {
                path: path(number, 0),
                numbering: Numbering::PeerId,
                mtu: 1500,
                mssfix: Mssfix::Off,
            };
            table.insert(new, Monotonic::ZERO).unwrap()
        });
        Self {
            lanes,
            sockets,
            waiting: Queues::default(),
            pool: Pool::new(512),
            peers: peers.collect(),
            _reactor: reactor,
        }
    }

    fn outgoing(&mut self, peer: Option<usize>, listener: u16) -> Outgoing {
        Outgoing {
            packet: Packet::single(self.pool.take().unwrap(), 0, 1),
            path: path(peer.unwrap_or(99) as u16, listener),
            class: TrafficClass::DEFAULT,
            peer: peer.map(|peer| self.peers[peer]),
        }
    }

    fn wait(&mut self, peer: usize, listener: u16, count: usize) {
        for _ in 0..count {
            let outgoing = self.outgoing(Some(peer), listener);
            self.waiting.push(outgoing).unwrap();
        }
    }

    fn nothing_waits_for(&mut self, peer: usize) {
        let peer = Some(self.peers[peer]);
        while let Some(outgoing) = self.waiting.pop(|next| next.peer == peer) {
            self.pool.give(outgoing.packet.buffer);
        }
    }

    fn fill(&mut self, listener: usize, lane: usize) {
        self.lanes.note_full(self.sockets[listener][lane], true);
    }

    fn drain(&mut self, listener: usize, lane: usize) {
        self.lanes.note_room(self.sockets[listener][lane]);
    }

    fn relieve(&mut self) {
        self.lanes.relieve(&self.waiting);
    }

    /// The lane by which a peer's datagrams leave.
    fn lane_of(&mut self, peer: Option<usize>, listener: u16) -> usize {
        let outgoing = self.outgoing(peer, listener);
        let socket = self.lanes.socket_of(&outgoing).unwrap();
        self.pool.give(outgoing.packet.buffer);
        let mut lanes = self.sockets[usize::from(listener)].iter();
        lanes.position(|it| *it == socket).unwrap()
    }
}

fn path(peer: u16, socket: u16) -> Path {
    Path {
        remote: ([192, 0, 2, 1], peer).into(),
        local: None,
        socket,
    }
}

#[test]
fn the_one_for_whom_most_waits_goes_apart_and_the_others_around() {
    let mut scene = Scene::new(1, LANES);
    scene.wait(1, 0, 3);
    scene.wait(2, 0, 8);
    scene.wait(3, 0, 1);
    scene.relieve();
    for peer in [Some(1), Some(2), Some(3), None] {
        assert_eq!(scene.lane_of(peer, 0), 0, "there is room");
    }

    scene.fill(0, 0);
    scene.relieve();
    assert_eq!(scene.lane_of(Some(2), 0), LANES_SHARED);
    for peer in [Some(1), Some(3), Some(4), None] {
        assert_eq!(scene.lane_of(peer, 0), 1, "{peer:?}");
    }
    // It is the first that is full, not the one that everybody uses now.
    scene.relieve();
    assert_eq!(scene.lanes.tenants(), 1);

    scene.fill(0, 1);
    scene.relieve();
    assert_eq!(scene.lane_of(Some(1), 0), LANES_SHARED + 1);
    assert_eq!(scene.lane_of(Some(3), 0), 2);

    // The first is the widest.
    scene.drain(0, 0);
    scene.relieve();
    assert_eq!(scene.lane_of(Some(3), 0), 0);
    assert_eq!(scene.lane_of(Some(2), 0), LANES_SHARED);
    assert_eq!(scene.lanes.tenants(), 2);
}

#[test]
fn when_all_are_full_everybody_stays() {
    let mut scene = Scene::new(1, LANES);
    for lane in 0..LANES_SHARED {
        scene.wait(lane, 0, 1);
        scene.fill(0, lane);
        scene.relieve();
    }
    assert_eq!(scene.lane_of(None, 0), LANES_SHARED - 1);
    scene.drain(0, 1);
    scene.relieve();
    assert_eq!(scene.lane_of(None, 0), 1);
}

#[test]
fn a_lane_is_left_by_those_who_need_it_no_more() {
    let mut scene = Scene::new(1, LANES);
    let own = LANES - LANES_SHARED;
    for peer in 0..own {
        scene.wait(peer, 0, 9);
        scene.fill(0, 0);
        scene.relieve();
        assert_eq!(scene.lane_of(Some(peer), 0), LANES_SHARED + peer);
        scene.drain(0, 0);
        scene.relieve();
    }
    // For the first nothing waits, but its lane is full; the second is only waiting; of the third neither.
    scene.nothing_waits_for(0);
    scene.fill(0, LANES_SHARED);
    scene.nothing_waits_for(2);
    scene.wait(50, 0, 1);
    scene.fill(0, 0);
    scene.relieve();
    assert_eq!(scene.lane_of(Some(50), 0), LANES_SHARED + 2);
    assert_eq!(scene.lane_of(Some(2), 0), 1, "it is back with everybody");
    for peer in [0, 1, 3, 4] {
        assert_eq!(scene.lane_of(Some(peer), 0), LANES_SHARED + peer);
    }
    assert_eq!(scene.lanes.tenants(), own);
}

#[test]
fn more_slow_ones_than_lanes_share_them_up_to_a_bound() {
    let mut scene = Scene::new(1, LANES);
    let own = LANES - LANES_SHARED;
    for peer in 0..SLOW_RECEIVERS + 3 {
        scene.wait(peer, 0, 2);
        scene.fill(0, 0);
        scene.relieve();
        scene.drain(0, 0);
        scene.relieve();
    }
    assert_eq!(scene.lanes.tenants(), SLOW_RECEIVERS);
    let lanes: Vec<_> = (0..SLOW_RECEIVERS)
        .map(|peer| scene.lane_of(Some(peer), 0))
        .collect();
    for lane in LANES_SHARED..LANES {
        let crowd = lanes.iter().filter(|it| **it == lane).count();
        assert!((SLOW_RECEIVERS / own..=SLOW_RECEIVERS.div_ceil(own)).contains(&crowd));
    }
    assert_eq!(scene.lane_of(Some(SLOW_RECEIVERS), 0), 0);
}

#[test]
fn one_socket_alone_leads_nobody_away() {
    let mut scene = Scene::new(1, 1);
    scene.wait(1, 0, 3);
    scene.fill(0, 0);
    scene.relieve();
    assert_eq!(scene.lane_of(Some(1), 0), 0);
    assert_eq!(scene.lanes.tenants(), 0);
    let outgoing = scene.outgoing(Some(1), 0);
    assert!(!scene.lanes.takes(&outgoing));
    scene.drain(0, 0);
    assert!(scene.lanes.takes(&outgoing));
}

#[test]
fn listeners_have_nothing_to_do_with_one_another() {
    let mut scene = Scene::new(2, LANES);
    for (listener, sockets) in scene.sockets.clone().iter().enumerate() {
        for socket in sockets {
            assert_eq!(usize::from(scene.lanes.number_of(*socket)), listener);
        }
        assert_eq!(scene.lanes.first(listener as u16), Some(sockets[0]));
    }
    assert_eq!(scene.lanes.sockets().count(), 2 * LANES);
    scene.wait(1, 0, 9);
    scene.wait(2, 1, 1);
    scene.fill(1, 0);
    scene.relieve();
    assert_eq!(scene.lane_of(Some(1), 0), 0);
    assert_eq!(scene.lane_of(Some(2), 1), LANES_SHARED);
    assert_eq!(scene.lane_of(None, 1), 1);
    // Somebody who comes by both is slow at one.
    assert_eq!(scene.lane_of(Some(2), 0), 0);
}

#[test]
fn one_that_will_not_say_is_tried_again() {
    let mut scene = Scene::new(1, 1);
    let socket = scene.sockets[0][0];
    let outgoing = scene.outgoing(None, 0);
    scene.lanes.note_full(socket, false);
    assert!(scene.lanes.is_untold() && !scene.lanes.takes(&outgoing));
    scene.lanes.try_untold();
    assert!(!scene.lanes.is_untold() && scene.lanes.takes(&outgoing));
    // One that will say is not, whatever comes back later.
    scene.lanes.note_full(socket, true);
    scene.lanes.note_full(socket, false);
    scene.lanes.try_untold();
    assert!(!scene.lanes.takes(&outgoing));
}

//! The sockets of the listeners: a whole set each, shared out to the shards.

use super::{StartError, Starting, patiently, shards};
use crate::limits::{LANE_SEND_BUFFER, LANES, RECEIVE_BUFFER, SEND_BUFFER};
use crate::node::event::NodeEvent;
use crate::node::settings::{Bind, ListenerSettings, ListenerTransport, Offloads, Settings};
use crate::node::worker::{ListenerSockets, OpeningRules};
use crate::reactor::{Family, Listen, Routing, TcpError, TcpListener, Tun, UdpError, UdpSocket};

impl Starting<'_> {
    /// A set of sockets for each listener: one a shard, then the lanes of the first shard, of the second
    /// and so on. They are all made here, since a process that has given up its privileges could not
    /// bind them any more.
    pub(super) fn bind(
        &mut self,
        settings: &Settings,
        wanted: Offloads,
    ) -> Result<Vec<Vec<UdpSocket>>, StartError> {
        let shards = shards(&settings.node);
        let mut sets = Vec::new();
        for listener in &settings.listeners {
            if listener.transport != ListenerTransport::Udp {
                continue;
            }
            let listen = listen(listener, wanted, &settings.node.routing);
            let bind = || UdpSocket::bind_set(&listen, shards * LANES as u16);
            let set = patiently(bind, UdpError::is_in_use)?;
            if let Some(Ok(address)) = set.first().map(UdpSocket::local_address) {
                let transport = ListenerTransport::Udp;
                self.publish(NodeEvent::ListenerBound { transport, address });
            }
            if listener.receive_buffer.is_none() {
                set.iter()
                    .try_for_each(|socket| socket.widen_receive_buffer(RECEIVE_BUFFER))?;
            }
            if listener.send_buffer.is_none() {
                set.iter()
                    .try_for_each(|socket| socket.widen_send_buffer(SEND_BUFFER))?;
            }
            if let Some(how) = settings.path_mtu {
                set.iter()
                    .try_for_each(|socket| socket.treat_path_mtu(how))?;
            }
            let mut lanes = set.iter().skip(shards.into());
            lanes.try_for_each(|lane| lane.quarter_send_buffer(LANE_SEND_BUFFER))?;
            sets.push(set);
        }
        Ok(sets)
    }

    /// A set of TCP listeners for each that is told to be one, one a shard.
    pub(super) fn bind_streams(
        &mut self,
        settings: &Settings,
    ) -> Result<Vec<Vec<(TcpListener, OpeningRules)>>, StartError> {
        let transport = ListenerTransport::Tcp;
        let listeners = settings.listeners.iter();
        let mut sets = Vec::new();
        for listener in listeners.filter(|listener| listener.transport == transport) {
            let listen = listen(listener, Offloads::default(), &settings.node.routing);
            let bind = || TcpListener::bind_set(&listen, shards(&settings.node));
            let set = patiently(bind, TcpError::is_in_use)?;
            if let Some(Ok(address)) = set.first().map(TcpListener::local_address) {
                self.publish(NodeEvent::ListenerBound { transport, address });
            }
            let rules = OpeningRules {
                proxy: listener.proxy.clone(),
                port_share: settings.port_share.is_some(),
            };
            let members = set.into_iter().map(|socket| (socket, rules.clone()));
            sets.push(members.collect());
        }
        Ok(sets)
    }
}

/// To each shard its core, its queue, and its sockets of each listener.
pub(super) fn share_out(
    sets: Vec<Vec<UdpSocket>>,
    streams: Vec<Vec<(TcpListener, OpeningRules)>>,
    queues: Vec<Tun>,
    cores: &[usize],
) -> Vec<shards::Own> {
    let shards = cores.len();
    let mut sets: Vec<_> = sets
        .into_iter()
        .map(|mut set| {
            let lanes = set.split_off(shards.min(set.len()));
            (set.into_iter(), lanes.into_iter())
        })
        .collect();
    let mut streams: Vec<_> = streams.into_iter().map(Vec::into_iter).collect();
    let members = queues.into_iter().zip(cores);
    members
        .map(|(tun, &core)| {
            let listeners = sets.iter_mut().filter_map(|(mains, lanes)| {
                Some(ListenerSockets {
                    main: mains.next()?,
                    lanes: lanes.take(LANES - 1).collect(),
                })
            });
            shards::Own {
                listeners: listeners.collect(),
                streams: streams.iter_mut().filter_map(Iterator::next).collect(),
                tun,
                core,
            }
        })
        .collect()
}

fn listen(listener: &ListenerSettings, wanted: Offloads, routing: &Routing) -> Listen {
    let (family, address) = match listener.bind {
        Bind::DualStack => (Family::Dual, None),
        Bind::V4(address) => (
            Family::V4,
            (!address.is_unspecified()).then_some(address.into()),
        ),
        Bind::V6(address) => (
            Family::V6,
            (!address.is_unspecified()).then_some(address.into()),
        ),
    };
    let bytes = |size: Option<std::num::NonZeroU32>| size.map_or(0, |size| size.get() as usize);
    Listen {
        family,
        address,
        port: listener.port,
        send_buffer: bytes(listener.send_buffer),
        receive_buffer: bytes(listener.receive_buffer),
        receive_offload: wanted.udp_gro,
        routing: routing.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::{TunConfig, testing};

    /// A steering program says the number of a shard: that of its socket in the whole set.
    #[test]
    fn each_shard_has_the_socket_of_its_number_and_lanes_of_its_own() {
        testing::in_own_network(|| {
            for shards in [1, 3] {
                let listen = Listen {
                    family: Family::Dual,
                    address: None,
                    port: 0,
                    send_buffer: 0,
                    receive_buffer: 0,
                    receive_offload: false,
                    routing: Routing::default(),
                };
                let sets: Vec<_> = (0..2)
                    .map(|_| UdpSocket::bind_set(&listen, shards * LANES as u16).unwrap())
                    .collect();
                let number = |socket: &UdpSocket| {
                    std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(socket))
                };
                let mains: Vec<Vec<_>> = sets
                    .iter()
                    .map(|set| set.iter().take(shards.into()).map(number).collect())
                    .collect();
                let queues = Tun::create_set(&TunConfig::default(), shards).unwrap();
                let cores: Vec<usize> = (0..shards.into()).collect();
                let owns = share_out(sets, Vec::new(), queues, &cores);
                assert_eq!(owns.len(), usize::from(shards));
                let mut seen = std::collections::BTreeSet::new();
                for (shard, own) in owns.iter().enumerate() {
                    assert_eq!(own.core, shard);
                    assert_eq!(own.listeners.len(), 2);
                    for (listener, mains) in own.listeners.iter().zip(&mains) {
                        assert_eq!(number(&listener.main), mains[shard]);
                        assert_eq!(listener.lanes.len(), LANES - 1);
                        seen.insert(number(&listener.main));
                        seen.extend(listener.lanes.iter().map(number));
                    }
                }
                assert_eq!(seen.len(), 2 * LANES * usize::from(shards));
            }
        });
    }
}

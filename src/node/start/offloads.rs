//! Which offloads are used: those that are wanted and that sockets and device were granted.

use super::Starting;
use crate::node::event::NodeEvent;
use crate::node::settings::{NodeSettings, Offloads, OffloadsInUse};
use crate::reactor::{Tun, TunOffloads, UdpSocket};

/// Those that sockets and device are to be asked for.
pub(super) fn wanted(settings: &NodeSettings) -> Offloads {
    settings.offloads
}

/// Those of the tun device.
pub(super) fn of_tun(wanted: Offloads) -> TunOffloads {
    TunOffloads {
        tso: wanted.tun_tso,
        uso: wanted.tun_uso,
        merge: wanted.tun_merge,
    }
}

impl Starting<'_> {
    /// Tells what came of the wish, and returns what all sockets and queues can do.
    pub(super) fn settle_offloads(
        &mut self,
        wanted: Offloads,
        sets: &[Vec<UdpSocket>],
        queues: &[Tun],
    ) -> Offloads {
        let mut sockets = sets.iter().flatten();
        let tun = queues.first().map(Tun::offloads).unwrap_or_default();
        let used = Offloads {
            udp_gro: wanted.udp_gro && sockets.clone().all(UdpSocket::receives_super_packets),
            udp_gso: wanted.udp_gso && sockets.all(UdpSocket::sends_super_packets),
            tun_tso: tun.tso,
            tun_uso: tun.uso,
            tun_merge: tun.merge,
        };
        self.publish(NodeEvent::OffloadsSettled(OffloadsInUse { wanted, used }));
        used
    }
}

//! Who brings packets to their shard: the programs of ours where the settings want them and the
//! machine takes them, else the kernel's own spreading and the shards.

use super::Starting;
use crate::node::event::{Direction, NodeEvent, SteeredBy};
use crate::node::leases::AddressPool;
use crate::node::settings::Settings;
use crate::reactor::{self, SteeringError, Tun, TunSteering, UdpSocket};
use crate::session::Steering;

impl Starting<'_> {
    /// Lets the kernel choose the socket of each datagram's shard.
    pub(super) fn steer_datagrams(
        &mut self,
        settings: &Settings,
        sets: &[Vec<UdpSocket>],
        steering: &Steering,
    ) {
        let program = steering.program();
        let attach = || {
            let mut sets = sets.iter();
            sets.try_for_each(|set| reactor::steer_datagrams(set, &program))
        };
        let wanted = settings.node.shards.steering.udp();
        if wanted && steering.shards() == 1 {
            // Nothing depends on it: all sockets are the one shard's.
            let _spread = attach();
        }
        self.steer(Direction::Datagrams, steering.shards(), wanted, attach);
    }

    /// Lets the kernel choose the tun queue of each inner packet's shard. What is returned is told
    /// who has which address, also when the process is `confined` to what needs no capability.
    pub(super) fn steer_tun(
        &mut self,
        settings: &Settings,
        confined: bool,
        queues: &[Tun],
        pool: AddressPool,
    ) -> Option<TunSteering> {
        let (first, shards) = (queues.first()?, queues.len() as u16);
        let attach = || {
            // Better no program than a process that keeps a capability for it.
            if confined && !reactor::can_update_without_capabilities()? {
                return Err(SteeringError::NotForTheUnprivileged);
            }
            let steering = {
                let bits = pool.v4_blocks.bits();
                TunSteering::new(pool.v4, bits, pool.v6, pool.slots, shards)
            }?;
            steering.attach(first)?;
            Ok(steering)
        };
        let wanted = settings.node.shards.steering.tun();
        self.steer(Direction::TunPackets, shards, wanted, attach)
    }

    /// Attaches a program where one is wanted and of use, and tells what came of it.
    fn steer<T>(
        &mut self,
        direction: Direction,
        shards: u16,
        wanted: bool,
        attach: impl FnOnce() -> Result<T, SteeringError>,
    ) -> Option<T> {
        let attached = match (shards, wanted) {
            (0 | 1, _) => Err(SteeredBy::OneShard),
            (_, false) => Err(SteeredBy::HandOver {
                reason: "switched off".into(),
            }),
            (_, true) => attach().map_err(|error| SteeredBy::HandOver {
                reason: error.to_string().as_str().into(),
            }),
        };
        let (by, attached) = match attached {
            Ok(attached) => (SteeredBy::Program, Some(attached)),
            Err(by) => (by, None),
        };
        self.steered.push((direction, by.clone()));
        self.publish(NodeEvent::Steered { direction, by });
        attached
    }
}

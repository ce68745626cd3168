//! Where a shard meets the kernel: the ring with its sockets and tun queue, the buffers, the sends
//! on their way, and the counts of what was dropped.

use super::sends::Sends;
use crate::limits::{POOL_BUFFERS, RECEIVE_BUFFERS, TUN_BUFFERS};
use crate::packet::{Buffer, DropCounters, DropReason, Packet, Path, Pool};
use crate::reactor::{
    Reactor, ReactorConfig, RingError, Sent, SocketId, Tun, TunId, UdpSocket, Waker,
};

/// A shard's side of the kernel.
pub(super) struct Edges {
    pub(super) reactor: Reactor,
    pub(super) pool: Pool,
    pub(super) drops: DropCounters,
    pub(super) sends: Sends,
    sockets: Vec<SocketId>,
    tun: TunId,
}

impl Edges {
    /// A ring with these sockets and this tun queue, and all buffers that it will ever need.
    ///
    /// # Errors
    /// io_uring is forbidden or lacks something.
    pub(super) fn new(sockets: Vec<UdpSocket>, tun: Tun, waker: Waker) -> Result<Self, RingError> {
        let mut reactor = Reactor::new(ReactorConfig::default(), waker)?;
        let mut pool = Pool::new((POOL_BUFFERS + RECEIVE_BUFFERS + TUN_BUFFERS) as u32);
        lend(&mut pool, RECEIVE_BUFFERS, |buffer| {
            reactor.return_receive_buffer(buffer)
        });
        lend(&mut pool, TUN_BUFFERS, |buffer| {
            reactor.return_tun_buffer(buffer)
        });
        let sockets = sockets
            .into_iter()
            .map(|socket| reactor.add_socket(socket))
            .collect::<Result<_, _>>()?;
        let tun = reactor.add_tun(tun)?;
        let (drops, sends) = (DropCounters::new(), Sends::new());
        Ok(Self {
            reactor,
            pool,
            drops,
            sends,
            sockets,
            tun,
        })
    }

    /// Sends a datagram, or counts why not.
    pub(super) fn send(&mut self, packet: Packet, path: Path) {
        let sent = self
            .sends
            .send(&mut self.reactor, &self.sockets, packet, path);
        if let Err((buffer, reason)) = sent {
            self.drop_buffer(buffer, reason);
        }
    }

    /// Tries the sends again that the kernel had no room for.
    pub(super) fn send_waiting(&mut self) {
        let (drops, pool) = (&mut self.drops, &mut self.pool);
        self.sends
            .send_waiting(&mut self.reactor, &self.sockets, |buffer, reason| {
                drops.count(reason);
                pool.give(buffer);
            });
    }

    /// A send that the kernel is done with.
    pub(super) fn sent(&mut self, sent: Sent) {
        if let Err(reason) = self.sends.complete(sent, &mut self.pool) {
            self.drops.count(reason);
        }
    }

    /// Writes an inner packet to the tun device, or counts why not.
    pub(super) fn write_tun(&mut self, packet: Packet) {
        let start = packet.start as usize;
        let range = start..start + packet.len as usize;
        if let Err((buffer, _)) = self.reactor.write_tun(self.tun, packet.buffer, range) {
            self.drop_buffer(buffer, DropReason::TunFull);
        }
    }

    /// A write to the tun device that the kernel is done with.
    pub(super) fn tun_written(&mut self, buffer: Buffer, result: std::io::Result<usize>) {
        self.pool.give(buffer);
        if let Err(error) = result {
            self.drops.count(match error.kind() {
                std::io::ErrorKind::WouldBlock => DropReason::TunFull,
                _ => DropReason::TunError,
            });
        }
    }

    /// Lends a buffer to the sockets again. The ring has room for all that it lent out; should it
    /// not, the pool takes it.
    pub(super) fn return_receive_buffer(&mut self, buffer: Buffer) {
        if let Err(buffer) = self.reactor.return_receive_buffer(buffer) {
            self.pool.give(buffer);
        }
    }

    /// Lends a buffer to the tun queue again.
    pub(super) fn return_tun_buffer(&mut self, buffer: Buffer) {
        if let Err(buffer) = self.reactor.return_tun_buffer(buffer) {
            self.pool.give(buffer);
        }
    }

    fn drop_buffer(&mut self, buffer: Buffer, reason: DropReason) {
        self.drops.count(reason);
        self.pool.give(buffer);
    }
}

fn lend(pool: &mut Pool, count: usize, mut provide: impl FnMut(Buffer) -> Result<(), Buffer>) {
    for _ in 0..count {
        let Some(buffer) = pool.take() else { return };
        if let Err(buffer) = provide(buffer) {
            pool.give(buffer);
            return;
        }
    }
}

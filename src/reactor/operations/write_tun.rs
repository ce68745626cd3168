//! Writing to tun queues: packets in pieces, several of one buffer.

use io_uring::opcode;

use crate::limits::TUN_HEADER;
use crate::packet::{Buffer, Gathered, Offload, Piece};
use crate::reactor::completion::{QueueFull, Refused, TunId, Written};
use crate::reactor::operations::memory::Operation;
use crate::reactor::operations::{Reactor, descriptor};

impl Reactor {
    /// Queues writes to a tun queue for the next turn, one for each of `packets`, whose pieces are among
    /// `pieces` and stand in the buffer. It is the kernel's until the last of the writes is done, and
    /// comes back with that. The first packet that can't be begun ends the row.
    pub fn write_tun(
        &mut self,
        tun: TunId,
        buffer: Buffer,
        packets: &[Gathered],
        pieces: &[Piece],
    ) -> Written {
        let lent = match self.memory.writes.lend(buffer) {
            Ok(lent) => lent,
            Err(buffer) => {
                return Written {
                    begun: 0,
                    refused: Some(QueueFull.into()),
                    buffer: Some(buffer),
                };
            }
        };
        let mut begun = 0;
        let mut refused = None;
        for packet in packets {
            if let Err(why) = self.begin_write(tun, lent, packet, pieces) {
                refused = Some(why);
                break;
            }
            begun += 1;
        }
        Written {
            begun,
            refused,
            buffer: self.memory.writes.settle(lent),
        }
    }

    fn begin_write(
        &mut self,
        tun: TunId,
        lent: usize,
        packet: &Gathered,
        pieces: &[Piece],
    ) -> Result<(), Refused> {
        let memory = &mut *self.memory;
        let source = memory.tuns.get(tun.0).ok_or(Refused::Unknown)?;
        let descriptor = descriptor(&source.device);
        let header = match (source.device.has_header(), packet.offload) {
            (true, offload) => Some(offload),
            (false, Offload::None) => None,
            (false, _) => return Err(Refused::Offload),
        };
        let pieces = pieces.get(packet.pieces.clone()).unwrap_or_default();
        let place = memory.in_flight.vacant().ok_or(QueueFull)?;
        let (write, vector) = memory.writes.begin(lent, header, pieces)?;
        let (key, _) = place.occupy(Operation::WriteTun {
            tun,
            segments: packet.segments,
            header: header.map_or(0, |_| TUN_HEADER),
            write,
        });
        let entry = opcode::Writev::new(descriptor, vector.pieces, vector.count)
            .rw_flags(libc::RWF_NOWAIT)
            .build();
        self.tun_writes += 1;
        self.begin(key, entry);
        Ok(())
    }
}

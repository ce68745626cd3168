//! A wake-up by event, as shards do it, beside one by `IORING_OP_MSG_RING`, which they could do. The
//! figures are in docs/perf.md:
//!
//!     cargo test --lib -- --ignored --nocapture wake_ups_by_event_and_by_ring

use std::os::fd::{AsRawFd, RawFd};
use std::sync::Barrier;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use io_uring::types::Fd;
use io_uring::{cqueue, opcode, squeue};

use super::*;
use crate::reactor::ring::Ring;

const ROUNDS: u32 = 10_000;
const RUNS: usize = 11;

/// How a thread wakes the other.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    Event,
    Ring,
}

#[test]
#[ignore = "it measures, and wants a machine at rest"]
fn wake_ups_by_event_and_by_ring() {
    let mut figures = [(By::Event, Vec::new()), (By::Ring, Vec::new())];
    for _ in 0..RUNS {
        for (by, runs) in &mut figures {
            runs.push(back_and_forth(*by) / ROUNDS);
        }
    }
    for (by, mut runs) in figures {
        runs.sort_unstable();
        let (least, middle, most) = (runs[0], runs[RUNS / 2], runs[RUNS - 1]);
        println!("by {by:?}: a round trip takes {least:?} / {middle:?} / {most:?}");
    }
}

/// How long two pinned threads take to wake each other in turn, so many times.
fn back_and_forth(by: By) -> Duration {
    let wakers = [(); 2].map(|()| Waker::new().unwrap());
    let rings = [const { AtomicI32::new(-1) }; 2];
    let together = Barrier::new(2);
    let side = |number: usize| {
        let core = core_affinity::CoreId { id: number };
        core_affinity::set_for_current(core);
        let mut side = Side::new(&wakers[number]);
        rings[number].store(side.ring.descriptor(), Ordering::Release);
        together.wait();
        let (other, ring) = (
            &wakers[1 - number],
            rings[1 - number].load(Ordering::Acquire),
        );
        let start = Instant::now();
        for _ in 0..ROUNDS {
            if number == 0 {
                side.wake(by, other, ring);
                side.wait(&wakers[number]);
            } else {
                side.wait(&wakers[number]);
                side.wake(by, other, ring);
            }
        }
        side.ring.turn(Some(Duration::ZERO)).unwrap();
        let took = start.elapsed();
        // Neither ring goes before the last message has come.
        together.wait();
        took
    };
    std::thread::scope(|scope| {
        let second = scope.spawn(|| side(1));
        let took = side(0);
        second.join().unwrap();
        took
    })
}

struct Side {
    ring: Ring,
    event: RawFd,
    count: Box<u64>,
    completed: Vec<cqueue::Entry>,
}

impl Side {
    fn new(waker: &Waker) -> Self {
        let mut side = Self {
            ring: Ring::new(8, 16).unwrap(),
            event: waker.event().as_raw_fd(),
            count: Box::new(0),
            completed: Vec::new(),
        };
        side.read_event();
        side
    }

    fn read_event(&mut self) {
        let count = (&raw mut *self.count).cast();
        self.push(
            opcode::Read::new(Fd(self.event), count, 8)
                .build()
                .user_data(READ),
        );
    }

    fn wake(&mut self, by: By, other: &Waker, ring: RawFd) {
        match by {
            By::Event => other.wake(),
            By::Ring => {
                let message = opcode::MsgRingData::new(Fd(ring), 0, CALLED, None).build();
                let silently = squeue::Flags::SKIP_SUCCESS;
                self.push(message.user_data(SENT).flags(silently));
            }
        }
    }

    fn wait(&mut self, waker: &Waker) {
        let mut called = false;
        while !called {
            self.ring.turn(None).unwrap();
            self.ring.collect(&mut self.completed);
            for entry in std::mem::take(&mut self.completed) {
                assert!(entry.result() >= 0, "{entry:?}");
                called = true;
                if entry.user_data() == READ {
                    self.read_event();
                }
            }
        }
        waker.acknowledge();
    }

    fn push(&mut self, entry: squeue::Entry) {
        // SAFETY: a read writes to `count`, which has a place of its own on the heap and, as the ring
        // before it, is not freed before the ring has ended.
        let queued = unsafe { self.ring.push(&entry) };
        assert!(queued);
    }
}

const READ: u64 = 1;
const SENT: u64 = 2;
const CALLED: u64 = 3;

//! More than anybody takes.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::network::Namespace;

/// Packets of 1,200 bytes, some thousands a second, until it is dropped.
pub(crate) struct Flood {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// Starts it.
    pub(crate) fn start(from: &Namespace, to: IpAddr) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ended);
        let thread = from.spawn(move || {
            let any: IpAddr = if to.is_ipv4() {
                [0; 4].into()
            } else {
                [0; 16].into()
            };
            let socket = UdpSocket::bind((any, 0)).unwrap();
            while !seen.load(Ordering::Relaxed) {
                for _ in 0..8 {
                    // A refusal of an earlier packet, or a full queue, is no end of it.
                    let _ = socket.send_to(&[0x5a; 1200], SocketAddr::new(to, 9));
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Self {
            ended,
            thread: Some(thread),
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

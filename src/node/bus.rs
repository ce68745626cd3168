//! The event bus: every [`NodeEvent`] to every subscriber, and nobody waits for a slow one.
//!
//! The node thread publishes. Each subscription has a queue of its own bound; an event for which
//! there is no room is lost for that subscriber alone, and counted, so that it can say so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::channel::{self, Receiver, RecvTimeoutError, Sender, TrySendError};

use super::event::NodeEvent;

/// The publishing side, owned by the node thread.
#[derive(Debug, Default)]
pub struct Bus {
    subscribers: Vec<Subscriber>,
}

/// An event with its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Unix seconds at which it was published.
    pub unix: u64,
    /// What happened.
    pub event: NodeEvent,
}

/// What a subscriber finds when it looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// An event.
    Event(Published),
    /// Nothing within the time that it was willing to wait.
    Nothing,
    /// The bus is gone and its last event has been delivered.
    Ended,
}

/// The receiving side: a bounded queue, in order, with a count of what did not fit.
#[derive(Debug)]
pub struct Subscription {
    queue: Receiver<Published>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Subscriber {
    queue: Sender<Published>,
    lost: Arc<AtomicU64>,
}

impl Bus {
    /// A bus without subscribers: what is published goes nowhere.
    pub const fn new() -> Self {
        Self {
            subscribers: Vec::new(),
        }
    }

    /// A new subscription with room for `capacity` events (at least one).
    pub fn subscribe(&mut self, capacity: usize) -> Subscription {
        let (sender, receiver) = channel::bounded(capacity.max(1));
        let lost = Arc::new(AtomicU64::new(0));
        self.subscribers.push(Subscriber {
            queue: sender,
            lost: Arc::clone(&lost),
        });
        Subscription {
            queue: receiver,
            lost,
        }
    }

    /// Gives an event to every subscriber that has room for it; never waits. Subscribers that went
    /// away are forgotten.
    pub fn publish(&mut self, unix: u64, event: NodeEvent) {
        let published = Published { unix, event };
        self.subscribers
            .retain(|subscriber| subscriber.offer(published.clone()));
    }
}

impl Subscriber {
    /// True while somebody listens.
    fn offer(&self, published: Published) -> bool {
        match self.queue.try_send(published) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }
}

impl Subscription {
    /// The next event, waiting at most `patience` for it.
    pub fn next(&self, patience: Duration) -> Delivery {
        match self.queue.recv_timeout(patience) {
            Ok(published) => Delivery::Event(published),
            Err(RecvTimeoutError::Timeout) => Delivery::Nothing,
            Err(RecvTimeoutError::Disconnected) => Delivery::Ended,
        }
    }

    /// Whether nothing waits at the moment.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many events were lost since the last call. They came after those that were in the
    /// queue when they were lost.
    pub fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dropped(packets: u64) -> NodeEvent {
        NodeEvent::StrangersSilenced { refusals: packets }
    }

    fn drain(subscription: &Subscription) -> Vec<NodeEvent> {
        std::iter::from_fn(|| match subscription.next(Duration::ZERO) {
            Delivery::Event(published) => Some(published.event),
            Delivery::Nothing | Delivery::Ended => None,
        })
        .collect()
    }

    #[test]
    fn every_subscriber_gets_every_event_in_order() {
        let mut bus = Bus::new();
        let (first, second) = (bus.subscribe(8), bus.subscribe(8));
        for packets in 0..5 {
            bus.publish(packets, dropped(packets));
        }
        let all: Vec<_> = (0..5).map(dropped).collect();
        assert_eq!(drain(&first), all);
        assert_eq!(drain(&second), all);
        assert_eq!((first.take_lost(), second.take_lost()), (0, 0));
    }

    #[test]
    fn a_slow_subscriber_loses_its_own_events_and_knows_how_many() {
        let mut bus = Bus::new();
        let (slow, quick) = (bus.subscribe(3), bus.subscribe(100));
        for packets in 0..10 {
            bus.publish(0, dropped(packets));
        }
        assert_eq!(drain(&quick).len(), 10);
        assert_eq!(quick.take_lost(), 0);
        assert_eq!(drain(&slow), (0..3).map(dropped).collect::<Vec<_>>());
        assert_eq!((slow.take_lost(), slow.take_lost()), (7, 0));
        bus.publish(0, dropped(99));
        assert_eq!(drain(&slow), [dropped(99)], "it goes on after a loss");
    }

    #[test]
    fn the_last_events_are_delivered_after_the_bus_is_gone() {
        let mut bus = Bus::new();
        let subscription = bus.subscribe(4);
        bus.publish(7, dropped(1));
        drop(bus);
        assert_eq!(
            subscription.next(Duration::ZERO),
            Delivery::Event(Published {
                unix: 7,
                event: dropped(1)
            })
        );
        assert_eq!(subscription.next(Duration::ZERO), Delivery::Ended);
    }

    #[test]
    fn a_subscriber_that_went_away_is_forgotten() {
        let mut bus = Bus::new();
        drop(bus.subscribe(1));
        let stays = bus.subscribe(1);
        bus.publish(0, dropped(1));
        assert_eq!(bus.subscribers.len(), 1);
        assert_eq!(drain(&stays).len(), 1);
    }
}

//! The node thread and the mail between it and the shards: late, now and then lost, never in another
//! order.

use std::collections::{HashMap, VecDeque};

use ringway::node::leases::AddressPool;
use ringway::node::message::{Instruction, Report};
use ringway::node::registry::{NoticeContent, Order, Registry, RegistryRules, SessionAt, Steered};
use ringway::random::{Random, SeededRandom};
use ringway::time::Monotonic;
use std::time::Duration;

use super::plan::{Mail, Plan, happens};

/// The registry with its letter boxes.
pub(crate) struct NodeThread {
    pub(crate) registry: Registry,
    pool: AddressPool,
    random: SeededRandom,
    /// Which shard the kernel brings packets for a slot to.
    pub(crate) steered: HashMap<u32, u16>,
    /// To each shard, with the time at which it can be read.
    boxes: Vec<VecDeque<(Monotonic, Instruction)>>,
    /// From each shard.
    inbox: Vec<VecDeque<(Monotonic, Report)>>,
    pub(crate) mail: Mail,
    /// It looks at nothing before.
    pub(crate) away_until: Monotonic,
    /// Every grant that the registry has not heard the end of, by its own words.
    pub(crate) granted: HashMap<SessionAt, u32>,
}

impl NodeThread {
    pub(crate) fn new(plan: &Plan, pool: AddressPool, seed: u64, now: Monotonic) -> Self {
        let registry = Registry::new(RegistryRules {
            pool,
            max_clients: plan.max_clients as usize,
            duplicate_cn: false,
            client_files: false,
            hooks: false,
            shards: plan.shards,
        });
        let shards = usize::from(plan.shards);
        Self {
            registry,
            pool,
            random: SeededRandom::new(seed ^ 0x90de),
            steered: HashMap::new(),
            boxes: (0..shards).map(|_| VecDeque::new()).collect(),
            inbox: (0..shards).map(|_| VecDeque::new()).collect(),
            mail: plan.mail,
            away_until: now,
            granted: HashMap::new(),
        }
    }

    /// What a shard has reported goes on its way.
    pub(crate) fn post(&mut self, shard: usize, now: Monotonic, report: Report) {
        if matches!(report, Report::Registry(_)) && happens(&mut self.random, self.mail.loss) {
            return;
        }
        let at = self.arrival(now, self.inbox[shard].back().map(|(at, _)| *at));
        self.inbox[shard].push_back((at, report));
    }

    /// How many reports of a shard wait.
    pub(crate) fn unread(&self, shard: usize) -> usize {
        self.inbox[shard].len()
    }

    /// An instruction that a shard can read now.
    pub(crate) fn instruction(&mut self, shard: usize, now: Monotonic) -> Option<Instruction> {
        let (at, _) = self.boxes[shard].front()?;
        if *at > now {
            return None;
        }
        self.boxes[shard]
            .pop_front()
            .map(|(_, instruction)| instruction)
    }

    /// When a shard has something to read.
    pub(crate) fn mail_for(&self, shard: usize) -> Option<Monotonic> {
        self.boxes[shard].front().map(|(at, _)| *at)
    }

    /// When the node thread has something to do.
    pub(crate) fn next_moment(&self) -> Option<Monotonic> {
        let mail = self.inbox.iter().filter_map(|letters| letters.front());
        let moments = mail.map(|(at, _)| *at).chain(self.registry.next_timeout());
        moments.min().map(|at| at.max(self.away_until))
    }

    /// Reads its mail and carries out what the registry wants. Calls `heard` with each report that
    /// is not for the registry, and `ordered` with each order.
    pub(crate) fn turn(
        &mut self,
        now: Monotonic,
        mut heard: impl FnMut(usize, Report),
        mut ordered: impl FnMut(&Order),
    ) {
        let mut shards: Vec<usize> = (0..self.inbox.len()).collect();
        shuffle(&mut self.random, &mut shards);
        for shard in shards {
            while let Some((at, _)) = self.inbox[shard].front() {
                if *at > now {
                    break;
                }
                match self.inbox[shard].pop_front() {
                    Some((_, Report::Registry(notice))) => {
                        if let NoticeContent::Gone { session } = notice.content {
                            let shard = notice.shard;
                            self.granted.remove(&SessionAt { shard, session });
                        }
                        self.registry.hear(*notice, now);
                        self.carry_out(now, &mut ordered);
                    }
                    Some((_, report)) => heard(shard, report),
                    None => {}
                }
            }
        }
        if self.registry.next_timeout().is_some_and(|at| at <= now) {
            self.registry.handle_timeout(now);
            self.carry_out(now, &mut ordered);
        }
        if happens(&mut self.random, self.mail.away) {
            let absence = self.random.below(self.mail.absence.as_nanos() as u64 + 1);
            self.away_until = now + Duration::from_nanos(absence);
        }
    }

    fn carry_out(&mut self, now: Monotonic, ordered: &mut impl FnMut(&Order)) {
        while let Some(order) = self.registry.poll_order() {
            ordered(&order);
            self.keep_book(&order);
            if let Order::Steer { what, shard } = order {
                let Steered::Slot(slot) = what else {
                    panic!("nobody has a network: {what:?}");
                };
                match shard {
                    Some(shard) => self.steered.insert(slot, shard),
                    None => self.steered.remove(&slot),
                };
            } else if let Some((shard, instruction)) = Instruction::of(order) {
                self.instruct(usize::from(shard), now, instruction);
            }
        }
    }

    /// What has no room is lost; the registry says it again.
    fn instruct(&mut self, shard: usize, now: Monotonic, instruction: Instruction) {
        let full = self.boxes[shard].len() >= self.mail.room;
        if full || happens(&mut self.random, self.mail.loss) {
            return;
        }
        let at = self.arrival(now, self.boxes[shard].back().map(|(at, _)| *at));
        self.boxes[shard].push_back((at, instruction));
    }

    /// When a message arrives that is sent now, behind the one before.
    fn arrival(&mut self, now: Monotonic, before: Option<Monotonic>) -> Monotonic {
        let delay = self.random.below(self.mail.delay.as_nanos() as u64 + 1);
        let at = now + Duration::from_nanos(delay);
        before.map_or(at, |before| at.max(before))
    }

    /// Follows the orders without looking into the registry: a slot is granted to one session, and
    /// to the next one only when that one's shard has said that it is gone.
    fn keep_book(&mut self, order: &Order) {
        let Order::Grant { to, place, .. } = order else {
            return;
        };
        let (to, v4) = (*to, place.addresses.v4);
        let slot = v4.and_then(|address| self.pool.slot_of(address.into()));
        let slot = slot.expect("there is an IPv4 pool");
        let mut others = self.granted.iter().filter(|(other, _)| **other != to);
        let holder = others.find(|(_, taken)| **taken == slot);
        assert!(
            holder.is_none(),
            "slot {slot} is granted to {to:?}, and {holder:?} has it"
        );
        self.granted.insert(to, slot);
    }
}

/// Puts the items into any order.
pub(crate) fn shuffle<T>(random: &mut SeededRandom, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        let other = random.below(last as u64 + 1) as usize;
        items.swap(last, other);
    }
}

//! The hosts in a client's networks that packets came from or went to lately: what others call cached routes.
//! They decide nothing on the data path, the networks do; who looks at the server sees them.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::limits;
use crate::time::Monotonic;

/// The hosts behind one client that were heard of.
///
/// The client chooses the addresses that it sends from, so what is remembered is bounded.
#[derive(Debug)]
pub struct HostsBehind {
    max: usize,
    /// Sorted by address.
    heard: Vec<(IpAddr, Monotonic)>,
}

impl HostsBehind {
    /// Nobody was heard of yet; no more than `max`, and [`limits::HOSTS_BEHIND_MAX`], are remembered.
    pub(super) fn new(max: usize) -> Self {
        Self {
            max: max.min(limits::HOSTS_BEHIND_MAX),
            heard: Vec::new(),
        }
    }

    /// A packet came from `host`, or goes to it. When too many are remembered it is not.
    pub(super) fn note(&mut self, host: IpAddr, now: Monotonic) {
        if let Ok(place) = self.place(host) {
            self.heard[place].1 = now;
            return;
        }
        if self.heard.len() >= self.max {
            self.heard
                .retain(|(_, last)| now.since(*last) < limits::HOSTS_REMEMBERED);
        }
        if self.heard.len() < self.max
            && let Err(place) = self.place(host)
        {
            self.heard.insert(place, (host, now));
        }
    }

    /// Hosts in `network` are no longer behind the client.
    pub(super) fn forget(&mut self, network: IpNet) {
        self.heard.retain(|(host, _)| !network.contains(host));
    }

    /// Who was heard of in the last so much time, and when last, by address.
    pub fn heard_in(
        &self,
        lately: Duration,
        now: Monotonic,
    ) -> impl Iterator<Item = (IpAddr, Monotonic)> {
        let all = self.heard.iter().copied();
        all.filter(move |(_, last)| now.since(*last) < lately)
    }

    fn place(&self, host: IpAddr) -> Result<usize, usize> {
        self.heard.binary_search_by_key(&host, |(heard, _)| *heard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::ZERO + Duration::from_secs(seconds)
    }

    fn host(last: u8) -> IpAddr {
        [10, 91, 0, last].into()
    }

    fn heard(hosts: &HostsBehind, seconds: u64) -> Vec<(IpAddr, Monotonic)> {
        hosts
            .heard_in(limits::HOSTS_REMEMBERED, at(seconds))
            .collect()
    }

    #[test]
    fn hosts_are_remembered_for_a_while_after_their_last_packet() {
        let mut hosts = HostsBehind::new(3);
        hosts.note(host(2), at(0));
        hosts.note(host(1), at(10));
        assert_eq!(heard(&hosts, 59), [(host(1), at(10)), (host(2), at(0))]);
        assert_eq!(heard(&hosts, 60), [(host(1), at(10))]);
        hosts.note(host(2), at(61));
        assert_eq!(heard(&hosts, 70), [(host(2), at(61))]);
    }

    #[test]
    fn no_more_than_the_bound_are_remembered_and_old_ones_make_room() {
        let mut hosts = HostsBehind::new(3);
        for last in 1..=200 {
            hosts.note(host(last), at(0));
            assert!(hosts.heard.len() <= 3);
        }
        let first = [1, 2, 3].map(|last| (host(last), at(0)));
        assert_eq!(heard(&hosts, 1), first);
        hosts.note(host(2), at(30));
        hosts.note(host(9), at(60));
        assert_eq!(heard(&hosts, 60), [(host(2), at(30)), (host(9), at(60))]);
        let mut none = HostsBehind::new(0);
        none.note(host(5), at(61));
        assert_eq!(heard(&none, 61), []);
    }

    #[test]
    fn hosts_go_with_their_network() {
        let mut hosts = HostsBehind::new(3);
        let other: IpAddr = "fd91::1".parse().unwrap();
        hosts.note(host(1), at(0));
        hosts.note(other, at(0));
        hosts.forget("10.91.0.0/24".parse().unwrap());
        assert_eq!(heard(&hosts, 0), [(other, at(0))]);
    }
}

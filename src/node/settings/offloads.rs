//! Which work on many packets at once is given to the kernel.

use std::fmt;

/// A switch for each offload. They differ in what they cost when something on the way does them badly, and
/// nothing else: packets come out the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloads {
    /// One receive brings many datagrams of a peer.
    pub udp_gro: bool,
    /// One send brings many datagrams to a peer.
    pub udp_gso: bool,
    /// One read of the tun device brings many segments of a TCP connection.
    pub tun_tso: bool,
    /// The same of UDP.
    pub tun_uso: bool,
    /// One write to the tun device takes many packets of a flow.
    pub tun_merge: bool,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffloadName {
    /// [`Offloads::udp_gro`].
    UdpGro,
    /// [`Offloads::udp_gso`].
    UdpGso,
    /// [`Offloads::tun_tso`].
    TunTso,
    /// [`Offloads::tun_uso`].
    TunUso,
    /// [`Offloads::tun_merge`].
    TunMerge,
}

/// Which offloads a node uses of those that it is to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffloadsInUse {
    /// Those that are not switched off.
    pub wanted: Offloads,
    /// Those of them that the machine has.
    pub used: Offloads,
}

impl Offloads {
    /// All.
    pub const ALL: Self = Self::each(true);

    /// None.
    pub const NONE: Self = Self::each(false);

    const fn each(on: bool) -> Self {
        Self {
            udp_gro: on,
            udp_gso: on,
            tun_tso: on,
            tun_uso: on,
            tun_merge: on,
        }
    }

    /// Whether one is on.
    pub fn has(mut self, name: OffloadName) -> bool {
        *self.switch(name)
    }

    /// Switches one on or off.
    pub fn set(&mut self, name: OffloadName, on: bool) {
        *self.switch(name) = on;
    }

    fn switch(&mut self, name: OffloadName) -> &mut bool {
        match name {
            OffloadName::UdpGro => &mut self.udp_gro,
            OffloadName::UdpGso => &mut self.udp_gso,
            OffloadName::TunTso => &mut self.tun_tso,
            OffloadName::TunUso => &mut self.tun_uso,
            OffloadName::TunMerge => &mut self.tun_merge,
        }
    }
}

/// Nothing is switched off.
impl Default for Offloads {
    fn default() -> Self {
        Self::ALL
    }
}

impl OffloadName {
    /// All, in the order in which packets meet them on their way up, then down.
    pub const ALL: [Self; 5] = [
        Self::UdpGro,
        Self::UdpGso,
        Self::TunTso,
        Self::TunUso,
        Self::TunMerge,
    ];

    /// The word of the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UdpGro => "udp-gro",
            Self::UdpGso => "udp-gso",
            Self::TunTso => "tun-tso",
            Self::TunUso => "tun-uso",
            Self::TunMerge => "tun-merge",
        }
    }
}

/// As people read it: what is used, and why not what is not.
impl fmt::Display for OffloadsInUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wanted, used } = *self;
        let groups = [
            ("", used.names_where(|_| true)),
            (
                "not of this machine: ",
                wanted.names_where(|name| !used.has(name)),
            ),
            (
                "switched off: ",
                Offloads::ALL.names_where(|name| !wanted.has(name)),
            ),
        ];
        let written = groups.iter().filter(|(_, names)| !names.is_empty());
        for (index, (why, names)) in written.enumerate() {
            let before = if index == 0 { "" } else { "; " };
            write!(f, "{before}{why}{}", names.join(", "))?;
        }
        Ok(())
    }
}

impl Offloads {
    fn names_where(self, is: impl Fn(OffloadName) -> bool) -> Vec<&'static str> {
        let names = OffloadName::ALL.into_iter();
        let on = names.filter(|name| self.has(*name) && is(*name));
        on.map(OffloadName::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_switch_of_its_own() {
        for (index, name) in OffloadName::ALL.into_iter().enumerate() {
            let mut offloads = Offloads::NONE;
            offloads.set(name, true);
            let on = OffloadName::ALL.map(|other| offloads.has(other));
            let expected: [bool; 5] = std::array::from_fn(|place| place == index);
            assert_eq!(on, expected, "{name:?}");
        }
        assert_eq!(Offloads::default(), Offloads::ALL);
    }

    #[test]
    fn what_is_used_is_told_with_reasons() {
        let no_uso = Offloads {
            tun_uso: false,
            ..Offloads::ALL
        };
        let udp = Offloads {
            udp_gro: true,
            udp_gso: true,
            ..Offloads::NONE
        };
        for (wanted, used, text) in [
            (
                Offloads::ALL,
                Offloads::ALL,
                "udp-gro, udp-gso, tun-tso, tun-uso, tun-merge",
            ),
            (
                Offloads::ALL,
                no_uso,
                "udp-gro, udp-gso, tun-tso, tun-merge; not of this machine: tun-uso",
            ),
            (
                no_uso,
                udp,
                "udp-gro, udp-gso; not of this machine: tun-tso, tun-merge; switched off: tun-uso",
            ),
            (
                Offloads::NONE,
                Offloads::NONE,
                "switched off: udp-gro, udp-gso, tun-tso, tun-uso, tun-merge",
            ),
        ] {
            assert_eq!(OffloadsInUse { wanted, used }.to_string(), text);
        }
    }
}

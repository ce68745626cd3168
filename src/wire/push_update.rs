//! PUSH_UPDATE: what a server changes in what it has pushed before.
//!
//! Wire: wire.md section 10.5. An item is an option, which takes the place of all of its name that were
//! there before the message; `-` in front of a name takes those away; `?` in front says that who can't follow
//! may go on without. Long ones continue as replies do.

use super::PushError;
use super::push::{check_option, messages};

/// The items of an update, in the order in which they are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushUpdate {
    items: Vec<String>,
}

impl PushUpdate {
    /// What leads from the options of `before` to those of `after`, as far as it can be told.
    ///
    /// # Errors
    /// An option that no client could read.
    pub fn between(before: &[String], after: &[String]) -> Result<Self, PushError> {
        let mut items = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        for option in before.iter().chain(after) {
            let kind = kind(option);
            if seen.contains(&kind) || !UPDATABLE.contains(&kind) {
                continue;
            }
            seen.push(kind);
            let (old, new) = (of_kind(before, kind), of_kind(after, kind));
            if old == new {
                continue;
            }
            if new.is_empty() {
                items.push(format!("-{kind}"));
            }
            for option in new {
                check_option(option)?;
                items.push(option.clone());
            }
        }
        Ok(Self { items })
    }

    /// The texts to send in this order, without their NULs; none if nothing has changed.
    pub fn messages(&self) -> Vec<String> {
        match self.items.is_empty() {
            true => Vec::new(),
            false => messages(PUSH_UPDATE, &self.items),
        }
    }
}

/// An item as a client reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpdateItem<'a> {
    /// The option, or for one that is removed its name.
    pub option: &'a str,
    /// All options of this name go.
    pub removes: bool,
    /// Who can't follow it may ignore it.
    pub optional: bool,
}

impl<'a> UpdateItem<'a> {
    /// Reads an item; `None` if its prefixes make no sense. Blanks in front mean nothing.
    pub fn parse(text: &'a str) -> Option<Self> {
        let text = text.trim_start();
        let (removes, text) = strip(text, '-');
        let (optional, option) = strip(text, '?');
        let plain = option.starts_with(|first: char| first != '-' && first != '?');
        plain.then_some(Self {
            option,
            removes,
            optional,
        })
    }

    /// Whether options of its name can be changed in a tunnel that is up.
    pub fn is_updatable(&self) -> bool {
        UPDATABLE.contains(&kind(self.option))
    }
}

/// The options as an update leaves them; `items` are those that are followed.
pub fn updated<'a>(
    options: &[String],
    items: impl IntoIterator<Item = UpdateItem<'a>>,
) -> Vec<String> {
    let mut options = options.to_vec();
    let mut begun: Vec<&str> = Vec::new();
    for item in items {
        let kind = kind(item.option);
        if item.removes || !begun.contains(&kind) {
            begun.push(kind);
            options.retain(|option| self::kind(option) != kind);
        }
        if !item.removes {
            options.push(item.option.to_owned());
        }
    }
    options
}

fn strip(text: &str, prefix: char) -> (bool, &str) {
    match text.strip_prefix(prefix) {
        Some(rest) => (true, rest),
        None => (false, text),
    }
}

/// What replaces one another: options of one name. The two that redirect are one.
fn kind(option: &str) -> &str {
    match option.split_ascii_whitespace().next().unwrap_or_default() {
        "redirect-private" => "redirect-gateway",
        name => name,
    }
}

fn of_kind<'a>(options: &'a [String], kind: &str) -> Vec<&'a String> {
    let same = |option: &&String| self::kind(option) == kind;
    options.iter().filter(same).collect()
}

/// Wire: those of 2.7 but for `tun-mtu`, which is agreed on when a tunnel begins, and `keepalive`, which
/// is no option of clients.
const UPDATABLE: [&str; 13] = [
    "block-ipv6",
    "block-outside-dns",
    "dhcp-option",
    "dns",
    "ifconfig",
    "ifconfig-ipv6",
    "redirect-gateway",
    "redirect-private",
    "route",
    "route-gateway",
    "route-ipv6",
    "route-metric",
    "topology",
];

const PUSH_UPDATE: &str = "PUSH_UPDATE,";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PUSH_MESSAGE_MAX;
    use crate::wire::{ControlMessage, PushAssembler};
    use proptest::prelude::*;

    fn options(options: &[&str]) -> Vec<String> {
        options.iter().map(|&option| option.to_owned()).collect()
    }

    /// What a client has after the messages that lead from one list to another.
    fn followed(before: &[String], after: &[String]) -> Vec<String> {
        let mut assembler = PushAssembler::new();
        let mut received = None;
        for message in PushUpdate::between(before, after).unwrap().messages() {
            assert!(received.is_none() && message.len() <= PUSH_MESSAGE_MAX + 20);
            let record = [message.as_bytes(), &[0]].concat();
            let Ok(ControlMessage::PushUpdate(part)) = ControlMessage::parse(&record) else {
                panic!("{message}");
            };
            received = assembler.take(part).unwrap();
        }
        let items = received.unwrap_or_default();
        updated(
            before,
            items.iter().map(|item| UpdateItem::parse(item).unwrap()),
        )
    }

    #[test]
    fn only_what_has_changed_is_said() {
        for (before, after, messages) in [
            (
                &["route 10.1.0.0 255.255.0.0"][..],
                &["route 10.1.0.0 255.255.0.0"][..],
                &[][..],
            ),
            // All of a name take the place of all.
            (
                &["route a", "route-gateway g", "dhcp-option DNS x"],
                &["route a", "route b", "route-gateway g", "dhcp-option DNS y"],
                &["PUSH_UPDATE,route a,route b,dhcp-option DNS y"],
            ),
            (
                &["route a", "redirect-private", "block-ipv6"],
                &["redirect-gateway def1"],
                &["PUSH_UPDATE,-route,redirect-gateway def1,-block-ipv6"],
            ),
            // What can't be said in a tunnel waits for the next one.
            (&["ping 10", "sndbuf 9"], &["ping 20", "tun-mtu 1400"], &[]),
        ] {
            let update = PushUpdate::between(&options(before), &options(after)).unwrap();
            assert_eq!(update.messages(), messages);
        }
        let comma = PushUpdate::between(&[], &options(&["route a,b"]));
        assert_eq!(comma, Err(PushError::Comma));
    }

    #[test]
    fn items_and_their_prefixes() {
        let item = |option, removes, optional| {
            Some(UpdateItem {
                option,
                removes,
                optional,
            })
        };
        for (text, read, updatable) in [
            ("route 10.0.0.0", item("route 10.0.0.0", false, false), true),
            (
                " ?dns search-domains x",
                item("dns search-domains x", false, true),
                true,
            ),
            ("-route", item("route", true, false), true),
            ("-?route-ipv6", item("route-ipv6", true, true), true),
            ("?sndbuf 9", item("sndbuf 9", false, true), false),
            ("tun-mtu 1400", item("tun-mtu 1400", false, false), false),
            ("routes", item("routes", false, false), false),
            ("?-route", None, false),
            ("--route", None, false),
            ("-", None, false),
            ("?", None, false),
            ("", None, false),
        ] {
            let parsed = UpdateItem::parse(text);
            assert_eq!(parsed, read, "{text}");
            assert_eq!(
                parsed.is_some_and(|it| it.is_updatable()),
                updatable,
                "{text}"
            );
        }
    }

    /// Wire: the example of wire.md section 10.5 among them.
    #[test]
    fn an_update_takes_the_place_of_what_was_there() {
        for (before, items, after) in [
            (
                &["route a", "ping 10", "route b"][..],
                &["route 10.99.0.0 255.255.0.0", " ?dns x"][..],
                &["ping 10", "route 10.99.0.0 255.255.0.0", "dns x"][..],
            ),
            (
                &["route a"],
                &["route b", "route c"],
                &["route b", "route c"],
            ),
            (
                &["route a"],
                &["route b", "-route", "route c"],
                &["route c"],
            ),
            (
                &["redirect-private", "route-ipv6 x"],
                &["-redirect-gateway"],
                &["route-ipv6 x"],
            ),
        ] {
            let items = items.iter().map(|item| UpdateItem::parse(item).unwrap());
            assert_eq!(updated(&options(before), items), options(after));
        }
    }

    fn lists() -> impl Strategy<Value = Vec<String>> {
        let option = "(route|dns|route-ipv6|ping|redirect-gateway) [a-z0-9.]{1,100}";
        proptest::collection::vec(option, 0..40)
    }

    proptest! {
        #[test]
        fn who_follows_an_update_has_what_a_new_client_gets(before in lists(), after in lists()) {
            let has = followed(&before, &after);
            for name in UPDATABLE {
                prop_assert_eq!(of_kind(&has, name), of_kind(&after, name), "{}", name);
            }
            prop_assert_eq!(of_kind(&has, "ping"), of_kind(&before, "ping"));
        }
    }
}

//! Commands that OpenVPN does not have: lines of JSON, one an object, then `END`.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::conversation::Conversation;
use crate::node::counters::NodeReport;
use crate::node::status::{ClientStatus, RouteDestination};

/// Answers `shards`, `drops` or `sessions`.
pub(super) fn answer(to: &mut Conversation, command: &str, report: &NodeReport) {
    match command {
        "shards" => shards(to, report),
        "drops" => drops(to, report),
        _ => report
            .status
            .clients
            .iter()
            .for_each(|client| to.say(session(client))),
    }
    to.say("END");
}

/// What each shard counts, by group and name; one that did not answer says so.
fn shards(to: &mut Conversation, report: &NodeReport) {
    for (number, shard) in report.shards.iter().enumerate() {
        let mut object = Object::new();
        object.plain("shard", number);
        object.plain("answered", shard.is_some());
        if let Some(shard) = shard {
            let mut groups = Object::new();
            for (group, values) in shard.counters.groups() {
                let mut counters = Object::new();
                values.for_each(|(name, value)| counters.plain(name, value));
                groups.plain(group, counters.end());
            }
            object.plain("counters", groups.end());
        }
        to.say(object.end());
    }
}

/// Packets that were dropped, by reason; those that never happened are left out.
fn drops(to: &mut Conversation, report: &NodeReport) {
    let mut sums = BTreeMap::new();
    for shard in report.shards.iter().flatten() {
        for (reason, packets) in shard.drops.iter().filter(|(_, packets)| *packets > 0) {
            *sums.entry(reason.name()).or_insert(0) += packets;
        }
    }
    for (reason, packets) in sums {
        let mut object = Object::new();
        object.text("reason", Some(reason));
        object.plain("packets", packets);
        to.say(object.end());
    }
}

fn session(client: &ClientStatus) -> String {
    let routes = client.routes.iter().map(|route| match route.destination {
        RouteDestination::Address(address) | RouteDestination::Host(address) => {
            format!("\"{address}\"")
        }
        RouteDestination::Network(network) => format!("\"{network}\""),
    });
    let routes = routes.collect::<Vec<_>>().join(",");
    let mut object = Object::new();
    object.plain("client_id", client.client_id);
    object.text("common_name", client.common_name.as_deref());
    object.text("username", client.username.as_deref());
    let address = client.address.ip().to_canonical().to_string();
    object.text("address", Some(&address));
    object.plain("port", client.address.port());
    object.text("v4", client.v4.map(|v4| v4.to_string()).as_deref());
    object.text("v6", client.v6.map(|v6| v6.to_string()).as_deref());
    object.plain("bytes_received", client.bytes_received);
    object.plain("bytes_sent", client.bytes_sent);
    object.plain("connected_since", client.connected_since);
    object.plain("peer_id", client.peer_id.get());
    object.text("cipher", Some(&client.cipher));
    object.plain("routes", format_args!("[{routes}]"));
    object.end()
}

/// An object on its way. Names are ours and need no escapes.
struct Object(String);

impl Object {
    fn new() -> Self {
        Self("{".to_owned())
    }

    /// A value that is written as it shows itself.
    fn plain(&mut self, name: &str, value: impl fmt::Display) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        // Writing to a String cannot fail.
        let _infallible = write!(self.0, "\"{name}\":{value}");
    }

    /// A text that somebody else may have chosen, or `null`.
    fn text(&mut self, name: &str, value: Option<&str>) {
        let value = value.map(|text| {
            let escaped = text.chars().map(|character| match character {
                '"' | '\\' => format!("\\{character}"),
                control if control.is_control() => format!("\\u{:04x}", u32::from(control)),
                plain => plain.to_string(),
            });
            format!("\"{}\"", escaped.collect::<String>())
        });
        self.plain(name, value.as_deref().unwrap_or("null"));
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_calls_itself_stays_inside_its_quotes() {
        let mut object = Object::new();
        object.text("name", Some("a\"b\\c\nd"));
        object.text("none", None);
        object.plain("number", 5);
        let expected = r#"{"name":"a\"b\\c\u000ad","none":null,"number":5}"#;
        assert_eq!(object.end(), expected);
    }
}

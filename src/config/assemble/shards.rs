//! How many shards there are, and on which cores.

use crate::config::diagnostics::Severity;
use crate::config::draft::Draft;
use crate::config::settings::{CoreList, ShardSettings};

/// The shards; `None` for an error.
pub(super) fn shards(draft: &mut Draft) -> Option<ShardSettings> {
    let (count, listed) = (draft.shards.count.clone(), draft.shards.cores.clone());
    let cores = match &listed {
        Some(listed) => listed.value.clone(),
        None => draft.usable_cores.clone(),
    };
    if cores.is_empty() {
        let why = "not written, and the system does not say which cores this process may use";
        let instead = "write for example `ringway-cores 0-3`";
        draft.missing("ringway-cores", why, instead);
        return None;
    }
    let mut shards = ShardSettings::one_a_core(&cores);
    if let Some(count) = count {
        let (number, at) = (count.value, count.at);
        if number > cores.len() {
            let why = format!(
                "{number} shards take turns on {}: more shards than cores only cost time",
                plural(cores.len(), "core")
            );
            let instead = Some("write at most as many as there are cores".to_owned());
            draft.remark_at(Severity::Warning, "ringway-shards", &at, why, instead);
        }
        let left = cores.get(number..).unwrap_or_default();
        if let Some(listed) = listed.filter(|_| !left.is_empty()) {
            let why = format!("{number} shards leave cores unused: {}", CoreList(left));
            let at = &listed.at;
            draft.remark_at(Severity::Warning, "ringway-cores", at, why, None);
        }
        shards = ShardSettings::on(&cores, number);
    }
    shards.steering = draft.shards.steering;
    Some(shards)
}

fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

//! What a server changes in what it has pushed, judged by this client's rules.

use crate::node::settings::{FilterAction, PullRules};
use crate::wire::{UpdateItem, updated};

/// The pushed options as an update leaves them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Updated {
    pub(super) options: Vec<String>,
    /// What of it is not followed, and need not be: a sentence each.
    pub(super) ignored: Vec<String>,
}

impl Updated {
    /// Follows what of an update passes the filter and can be followed. Wire: wire.md section 10.5.
    ///
    /// # Errors
    /// A sentence: what the server insists on and can't have. The connection is to begin anew then.
    pub(super) fn by(
        options: &[String],
        items: &[String],
        rules: &PullRules,
    ) -> Result<Self, String> {
        let mut followed = Vec::new();
        let mut ignored = Vec::new();
        for text in items {
            let item = UpdateItem::parse(text);
            let item = item.ok_or_else(|| format!("Pushed update is malformed: '{text}'"))?;
            let refused = match rules.action(item.option) {
                _ if !item.is_updatable() => Some("is not updatable"),
                FilterAction::Accept => None,
                FilterAction::Ignore => continue,
                FilterAction::Reject => Some("rejected by filter"),
            };
            match refused {
                None => followed.push(item),
                Some(why) if item.optional => {
                    let text = text.trim();
                    ignored.push(format!(
                        "Pushed dispensable option {why}: '{text}'. Ignoring."
                    ));
                }
                Some(why) => return Err(format!("Pushed option {why}: '{text}'.")),
            }
        }
        Ok(Self {
            options: updated(options, followed),
            ignored,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::settings::PullFilter;

    #[test]
    fn what_is_followed_ignored_and_refused() {
        let filter = |action, prefix: &str| PullFilter {
            action,
            prefix: prefix.to_owned(),
        };
        let rules = PullRules {
            filters: vec![
                filter(FilterAction::Ignore, "route 10.66."),
                filter(FilterAction::Reject, "redirect-"),
            ],
            without_routes: false,
        };
        let options = |texts: &[&str]| texts.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
        let before = options(&["route 10.1.0.0", "ping 10"]);
        for (items, after) in [
            (
                &["route 10.2.0.0"][..],
                Ok((&["ping 10", "route 10.2.0.0"][..], 0)),
            ),
            (&["-route"], Ok((&["ping 10"], 0))),
            (
                &["route 10.66.0.0"],
                Ok((&["route 10.1.0.0", "ping 10"], 0)),
            ),
            (&["?sndbuf 9", "-route"], Ok((&["ping 10"], 1))),
            (
                &["?redirect-gateway def1"],
                Ok((&["route 10.1.0.0", "ping 10"], 1)),
            ),
            (
                &["-route", "sndbuf 9"],
                Err("Pushed option is not updatable: 'sndbuf 9'."),
            ),
            (
                &["redirect-gateway def1"],
                Err("Pushed option rejected by filter: 'redirect-gateway def1'."),
            ),
            (&["?-route"], Err("Pushed update is malformed: '?-route'")),
        ] {
            let updated = Updated::by(&before, &options(items), &rules);
            let seen = updated
                .as_ref()
                .map(|it| (it.options.clone(), it.ignored.len()));
            let expected = after.map(|(after, ignored)| (options(after), ignored));
            assert_eq!(seen.map_err(String::as_str), expected, "{items:?}");
        }
    }
}

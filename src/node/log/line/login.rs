//! The lines about logins, in stock's words.

use super::{INFO, PLUGIN, PLUGIN_DEBUG, Page, TLS_ERROR, WARNING};
use crate::node::event::{Printable, Text};
use crate::node::plugins::{self, Notice};

impl Page<'_> {
    pub(super) fn login_accepted(&mut self, username: Option<&Text>, renamed: bool) {
        let name = username.map_or("", |name| name);
        let set = if renamed { "[CN SET]" } else { "" };
        self.say(
            INFO,
            format_args!(
                "TLS: Username/Password authentication succeeded for username '{}' {set}",
                Printable(name)
            ),
        );
    }

    pub(super) fn plugins(&mut self, notice: &Notice) {
        match notice {
            Notice::Said { level, text } => {
                let level = match level {
                    plugins::Level::Error => TLS_ERROR,
                    plugins::Level::Warning => WARNING,
                    plugins::Level::Note => INFO,
                    plugins::Level::Step => PLUGIN,
                    plugins::Level::Debug => PLUGIN_DEBUG,
                };
                self.say(level, format_args!("{}", Printable(text)));
            }
            Notice::Died { reason, pause } => self.say(
                WARNING,
                format_args!(
                    "WARNING: the plug-in host is gone: {}. Logins are refused until it is back; it is \
                     started again in {pause} seconds",
                    Printable(reason)
                ),
            ),
            Notice::Gone => self.say(
                WARNING,
                format_args!(
                    "WARNING: the plug-in host is gone, and what watched over it: logins are refused \
                     until ringway is started again"
                ),
            ),
            Notice::Back => self.say(
                INFO,
                format_args!("The plug-in host is back: plug-ins judge logins again"),
            ),
            Notice::Refused { reason } => {
                self.say(WARNING, format_args!("WARNING: {}", Printable(reason)));
            }
        }
    }

    pub(super) fn login_refused(&mut self, why: &Text) {
        self.say(WARNING, format_args!("WARNING: {}", Printable(why)));
        self.say(
            TLS_ERROR,
            format_args!("TLS Auth Error: Auth Username/Password verification failed for peer"),
        );
    }
}

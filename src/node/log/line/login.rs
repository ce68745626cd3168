//! The lines about logins, in stock's words.

use super::{INFO, Page, TLS_ERROR, WARNING};
use crate::node::event::{Printable, Text};

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

    pub(super) fn login_refused(&mut self, why: &Text) {
        self.say(
            WARNING,
            format_args!("WARNING: Failed running command ({})", Printable(why)),
        );
        self.say(
            TLS_ERROR,
            format_args!("TLS Auth Error: Auth Username/Password verification failed for peer"),
        );
    }
}

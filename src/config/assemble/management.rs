//! The management interface.

use zeroize::Zeroizing;

use crate::config::diagnostics::{Diagnostic, Reason, Severity};
use crate::config::draft::{Draft, ManagementDraft, Written};
use crate::config::lexer::Location;
use crate::config::settings::{ManagementSettings, ManagementSocket};
use crate::limits::MANAGEMENT_LOG_LINES;

/// What the lines say together.
pub(super) fn management(draft: &mut Draft) -> Option<ManagementSettings> {
    let ManagementDraft {
        socket,
        client_user,
        client_group,
        hold,
        log_lines,
        signal,
        up_down,
        asks,
        forgets,
        judges,
    } = std::mem::take(&mut draft.process.management);
    let Some(socket) = socket else {
        let alone = [
            ("management-client-user", at(client_user.as_ref())),
            ("management-client-group", at(client_group.as_ref())),
            ("management-hold", at(hold.as_ref())),
            ("management-log-cache", at(log_lines.as_ref())),
            ("management-signal", at(signal.as_ref())),
            ("management-up-down", at(up_down.as_ref())),
            ("management-query-passwords", at(asks.as_ref())),
            ("management-forget-disconnect", at(forgets.as_ref())),
            ("management-client-auth", at(judges.as_ref())),
        ];
        for (directive, at) in alone {
            if let Some(at) = at {
                // Wire: 2.6 refuses it as well.
                fault(
                    draft,
                    directive,
                    at,
                    "it needs a `management` line".to_owned(),
                );
            }
        }
        return None;
    };
    let Written { value, at: place } = socket;
    let (socket, file) = value;
    if matches!(socket, ManagementSocket::Tcp(_)) {
        let of_unix = [
            ("management-client-user", at(client_user.as_ref())),
            ("management-client-group", at(client_group.as_ref())),
        ];
        for (directive, at) in of_unix {
            if let Some(at) = at {
                let why = "it is for a unix socket: write `management PATH unix`";
                fault(draft, directive, at, why.to_owned());
            }
        }
    }
    let password = match file {
        None => None,
        Some(name) => Some(password(draft, &name, place)?),
    };
    Some(ManagementSettings {
        socket,
        password,
        client_user: client_user.map(|line| line.value),
        client_group: client_group.map(|line| line.value),
        hold: hold.is_some(),
        log_lines: log_lines.map_or(MANAGEMENT_LOG_LINES, |line| line.value),
        signal: signal.is_some(),
        up_down: up_down.is_some(),
        forgets: forgets.is_some(),
    })
}

/// Wire: the first line of the file is the password.
fn password(draft: &mut Draft, name: &str, at: Location) -> Option<Zeroizing<String>> {
    let path = draft.path(name);
    let why = match std::fs::read_to_string(&path).map(Zeroizing::new) {
        Ok(text) => match text.lines().next().filter(|line| !line.is_empty()) {
            Some(line) => return Some(Zeroizing::new(line.to_owned())),
            None => format!("the password file '{}' is empty", path.display()),
        },
        Err(error) => format!(
            "the password file '{}' can't be read: {error}",
            path.display()
        ),
    };
    fault(draft, "management", at, why);
    None
}

fn at<T>(line: Option<&Written<T>>) -> Option<Location> {
    line.map(|line| line.at.clone())
}

fn fault(draft: &mut Draft, directive: &str, at: Location, why: String) {
    draft.diagnostics.push(Diagnostic {
        severity: Severity::Error,
        at: Some(at),
        directive: directive.to_owned(),
        reason: Reason::Because(why),
        instead: None,
    });
}

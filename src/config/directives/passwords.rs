//! Lines about user names and passwords.

use super::client::command;
use crate::config::directive::Refusal;
use crate::config::draft::{Draft, Written};
use crate::config::lexer::Line;
use crate::node::settings::{ClientCertificate, HandOver};

/// Wire: as in 2.6 `none` and `optional` need something else that knows the clients.
pub(super) fn verify_client_cert(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.login.certificate = match line.argument(0) {
        None | Some("require") => None,
        Some("none") => Written::new(ClientCertificate::None, line),
        Some("optional") => Written::new(ClientCertificate::Optional, line),
        Some(word) => {
            return Err(Refusal::because(format!("`{word}` is no choice"))
                .instead("write `verify-client-cert require`, `optional` or `none`"));
        }
    };
    Ok(())
}

pub(super) fn verify(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    if line.arguments.len() > 2 {
        let (method, words) = line.arguments.split_last().unwrap_or((&line.name, &[]));
        let command = words.join(" ");
        return Err(Refusal::because("a command is one word").instead(format!(
            "write it in quotes: {} \"{command}\" {method}",
            line.name
        )));
    }
    let by = match line.argument(1) {
        Some("via-env") => HandOver::Environment,
        Some("via-file") => HandOver::File,
        Some(word) => {
            return Err(Refusal::because(format!("`{word}` is no method"))
                .instead("write `via-env` or `via-file` behind the command"));
        }
        None => {
            return Err(Refusal::because("no method")
                .instead("write `via-env` or `via-file` behind the command"));
        }
    };
    let command = command(draft, line.argument(0).unwrap_or_default())?;
    draft.login.script = Written::new((command, by), line);
    Ok(())
}

pub(super) fn optional(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.login.optional = Written::new((), line);
    Ok(())
}

pub(super) fn username_as_common_name(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.login.named_by_user = Written::new((), line);
    Ok(())
}

pub(super) fn temporary(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let directory = line.argument(0).unwrap_or_default();
    let path = draft.path(directory);
    if !path.is_dir() {
        return Err(
            Refusal::because(format!("'{directory}' is not a directory"))
                .instead("write a directory that is there"),
        );
    }
    draft.login.temporary = Some(path);
    Ok(())
}

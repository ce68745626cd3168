//! Lines about programs that are run when clients come and go, and for their certificates.

use super::client::command;
use crate::config::directive::Refusal;
use crate::config::draft::{Draft, Written};
use crate::config::lexer::Line;
use crate::node::settings::ScriptCommand;

pub(super) fn tls_verify(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.login.verify = one(draft, line)?;
    Ok(())
}

pub(super) fn client_connect(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.login.connect = one(draft, line)?;
    Ok(())
}

pub(super) fn client_disconnect(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.login.disconnect = one(draft, line)?;
    Ok(())
}

pub(super) fn learn_address(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.login.learn = one(draft, line)?;
    Ok(())
}

/// Wire: a command is one word, in quotes if it has arguments.
fn one(draft: &mut Draft, line: &Line) -> Result<Option<Written<ScriptCommand>>, Refusal> {
    if line.arguments.len() > 1 {
        let command = line.arguments.join(" ");
        return Err(Refusal::because("a command is one word")
            .instead(format!("write it in quotes: {} \"{command}\"", line.name)));
    }
    let command = command(draft, line.argument(0).unwrap_or_default())?;
    Ok(Written::new(command, line))
}

//! Lines about programs that are run when clients come and go, and for their certificates.

use super::client::one_command;
use crate::config::directive::Refusal;
use crate::config::draft::{Draft, Written};
use crate::config::lexer::Line;

pub(super) fn script(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let command = Written::new(one_command(draft, line)?, line);
    let login = &mut draft.login;
    let place = match line.name.as_str() {
        "tls-verify" => &mut login.verify,
        "tls-crypt-v2-verify" => &mut login.key_metadata,
        "client-connect" => &mut login.connect,
        "client-disconnect" => &mut login.disconnect,
        "client-crresponse" => &mut login.challenge,
        _ => &mut login.learn,
    };
    *place = command;
    Ok(())
}

//! Lines about user names and passwords.

use std::path::Path;

use super::client::command;
use super::values::{YEAR, number, source};
use crate::config::directive::Refusal;
use crate::config::draft::{Draft, TokenLine, Written};
use crate::config::lexer::{Line, words};
use crate::config::pki::reason;
use crate::node::plugins::Plugin;
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

/// Wire: the words behind the lifetime may be a time and `external-auth`, in this order.
pub(super) fn auth_gen_token(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let words = line.arguments.len();
    let lifetime = match words {
        0 => 0,
        _ => number(line, 0, 0..=YEAR)?,
    };
    let external_auth = words > 1 && line.argument(words - 1) == Some("external-auth");
    let times = words - usize::from(external_auth);
    if times > 2 {
        let word = line.argument(2).unwrap_or_default();
        return Err(Refusal::because(format!("`{word}` is no choice"))
            .instead("write `external-auth` behind the times, or nothing"));
    }
    let renewal = (times == 2).then(|| number(line, 1, 1..=YEAR));
    let token = TokenLine {
        lifetime,
        renewal: renewal.transpose()?,
        external_auth,
    };
    draft.login.token = Written::new(token, line);
    Ok(())
}

pub(super) fn auth_gen_token_secret(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    if let Some(source) = source(line) {
        draft.login.token_secret = Written::new(source, line);
    }
    Ok(())
}

pub(super) fn username_as_common_name(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.login.named_by_user = Written::new((), line);
    Ok(())
}

/// Wire: a name without a directory in front is one of those that came with OpenVPN, and the arguments may be
/// words of their own or one text.
pub(super) fn plugin(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let (name, rest) = line.arguments.split_first().unwrap_or((&line.name, &[]));
    let path = if name.starts_with('/') || name.starts_with('.') {
        draft.path(name)
    } else {
        let debian = format!(
            "/usr/lib/{}-linux-gnu/openvpn/plugins",
            std::env::consts::ARCH
        );
        let debian = Path::new(&debian).join(name);
        let others = PLUGIN_DIRECTORIES.map(|directory| Path::new(directory).join(name));
        let mut others = others.into_iter().filter(|path| path.exists());
        let found = others.next().filter(|_| !debian.exists());
        found.unwrap_or(debian)
    };
    if let Err(error) = std::fs::File::open(&path) {
        return Err(Refusal::because(format!(
            "'{}' can't be read: {}",
            path.display(),
            reason(&error)
        ))
        .instead("name the shared object of a plug-in"));
    }
    let arguments = match rest {
        [text] => words(text).map_err(|fault| Refusal::because(fault.to_string()))?,
        words => words.to_vec(),
    };
    let name = name.clone();
    let plugin = Plugin {
        path,
        name,
        arguments,
    };
    draft.login.plugins.extend(Written::new(plugin, line));
    Ok(())
}

/// Where OpenVPN's own plug-ins are beside Debian's place: in Fedora, and where it was built by hand.
const PLUGIN_DIRECTORIES: [&str; 3] = [
    "/usr/lib64/openvpn/plugins",
    "/usr/lib/openvpn/plugins",
    "/usr/local/lib/openvpn/plugins",
];

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

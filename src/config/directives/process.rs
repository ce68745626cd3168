//! What the process does with itself, and how the configuration is read.

use nix::unistd::{Group, User};

use super::logging::file;
use super::passwords;
use super::values::number;
use crate::config::directive::{Directive, MANY, Refusal, Support};
use crate::config::draft::{Draft, Written};
use crate::config::lexer::Line;
use crate::config::settings::{Account, RestartSignal};
use crate::wire::Role;

pub(super) const ROWS: &[Directive] = &[
    Directive::served("config", "FILE", (1, 1), "read more lines here", included),
    Directive::served(
        "cd",
        "DIRECTORY",
        (1, 1),
        "directory that relative names start from",
        cd,
    ),
    Directive::served("daemon", "[NAME]", (0, 1), "go to the background", daemon),
    Directive::served(
        "writepid",
        "FILE",
        (1, 1),
        "write the process id to a file",
        writepid,
    ),
    Directive::served(
        "setenv",
        "NAME [VALUE]",
        (1, 2),
        "a variable for scripts; `setenv opt LINE` marks a line that may be unknown",
        setenv,
    ),
    Directive::served(
        "setenv-safe",
        "NAME [VALUE]",
        (1, 2),
        "a variable OPENVPN_NAME for scripts",
        setenv_safe,
    ),
    Directive::served(
        "ignore-unknown-option",
        "NAME...",
        (1, MANY),
        "pass over these when they are not served",
        ignore_unknown_option,
    ),
    Directive::served(
        "script-security",
        "0..3",
        (1, 1),
        "which programs may be started",
        script_security,
    ),
    Directive::always(
        "persist-key",
        "",
        (0, 0),
        "keep keys over a restart",
        "keys are read once, at the start",
    ),
    Directive::always(
        "persist-local-ip",
        "",
        (0, 0),
        "keep the local address over a restart",
        "it is kept as long as the process lives",
    ),
    Directive::ignored(
        "persist-remote-ip",
        "",
        (0, 0),
        "keep the remote address over a restart",
        "it belongs to clients",
    ),
    Directive::ignored(
        "compat-mode",
        "VERSION",
        (1, 2),
        "defaults of an older version",
        "there is one set of defaults",
    ),
    Directive::served(
        "tmp-dir",
        "DIRECTORY",
        (1, 1),
        "files for scripts",
        passwords::temporary,
    )
    .on_client(Support::Ignored("no script is given a file")),
    Directive::served(
        "user",
        "NAME",
        (1, 1),
        "become this user once everything is opened and bound",
        user,
    ),
    Directive::served(
        "group",
        "NAME",
        (1, 1),
        "become a member of this group alone; that of `user` if not written",
        group,
    ),
    Directive::served(
        "chroot",
        "DIRECTORY",
        (1, 1),
        "make this directory the root once everything is opened and bound",
        chroot,
    ),
    Directive::refused(
        "setcon",
        "CONTEXT",
        (1, 1),
        "SELinux context",
        "its threads would change one by one; write SELinuxContext= into the unit file",
    ),
    Directive::served(
        "nice",
        "N",
        (1, 1),
        "priority, from -20 for the highest to 19",
        nice,
    ),
    Directive::served(
        "mlock",
        "",
        (0, 0),
        "keep memory out of swap; it needs leave to lock any amount",
        mlock,
    ),
    Directive::served(
        "remap-usr1",
        "SIGHUP|SIGTERM",
        (1, 1),
        "what SIGUSR1 is taken for, and on a client each new beginning",
        remap_usr1,
    ),
    Directive::refused(
        "iproute",
        "COMMAND",
        (1, 1),
        "another `ip` program",
        "addresses are set without a program; remove the line",
    ),
    Directive::refused(
        "gremlin",
        "MASK",
        (1, 1),
        "drop packets on purpose",
        "it is for tests of OpenVPN; use `tc netem`",
    ),
];

/// The reader of lines has put the file's lines here already.
fn nice(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.process.nice = Some(number(line, 0, -20..=19)?);
    Ok(())
}

fn mlock(draft: &mut Draft, _: &Line) -> Result<(), Refusal> {
    draft.process.locks_memory = true;
    Ok(())
}

fn remap_usr1(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.process.restart = match (line.argument(0), draft.role) {
        (Some("SIGTERM"), _) => RestartSignal::Terminate,
        // Reading the configuration again is all that a server has to begin anew.
        (Some("SIGHUP"), Role::Server) => RestartSignal::Own,
        (Some("SIGHUP"), Role::Client) => {
            let why = "a client's configuration is read when it starts, and not again";
            return Err(Refusal::because(why).instead("write `remap-usr1 SIGTERM`"));
        }
        (other, _) => {
            let why = format!("`{}` is no signal for it", other.unwrap_or_default());
            return Err(Refusal::because(why).instead("write SIGHUP or SIGTERM"));
        }
    };
    Ok(())
}

fn included(_: &mut Draft, _: &Line) -> Result<(), Refusal> {
    Ok(())
}

fn cd(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let directory = draft.path(file(line)?);
    if !directory.is_dir() {
        return Err(Refusal::because(format!(
            "`{}` is not a directory",
            file(line)?
        )));
    }
    draft.directory = directory;
    draft.changes_directory = true;
    Ok(())
}

fn daemon(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.process.daemon = true;
    if let Some(name) = line.argument(0) {
        draft.process.syslog = Some(name.to_owned());
    }
    Ok(())
}

fn writepid(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.process.pid_file = Some(file(line)?.to_owned());
    Ok(())
}

fn user(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let name = line.argument(0).unwrap_or_default();
    let user = User::from_name(name)
        .ok()
        .flatten()
        // Wire: 2.6's words; it does not take numbers.
        .ok_or_else(|| Refusal::because(format!("failed to find UID for user {name}")))?;
    let id = user.uid.as_raw();
    if id == 0 {
        let why = "the process stays the superuser; name another, such as `nobody`";
        draft.warn(line, why);
    }
    draft.process.user = Some(Account {
        name: name.to_owned(),
        id,
    });
    Ok(())
}

fn group(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let name = line.argument(0).unwrap_or_default();
    let Some(id) = gid(name) else {
        let refusal = Refusal::because(format!("failed to find GID for group {name}"));
        // The group of `nobody` has one name on Debian, another on Red Hat.
        let other = NOBODYS_GROUPS
            .iter()
            .find(|other| NOBODYS_GROUPS.contains(&name) && gid(other).is_some());
        return Err(match other {
            Some(other) => refusal.instead(format!("write `group {other}`")),
            None => refusal,
        });
    };
    draft.process.group = Some(Account {
        name: name.to_owned(),
        id,
    });
    Ok(())
}

fn gid(name: &str) -> Option<u32> {
    let group = Group::from_name(name).ok().flatten()?;
    Some(group.gid.as_raw())
}

fn chroot(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let directory = draft.path(file(line)?);
    if !directory.is_dir() {
        return Err(Refusal::because(format!(
            "`{}` is not a directory",
            file(line)?
        )));
    }
    draft.process.chroot = Written::new(directory, line);
    Ok(())
}

fn setenv(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let value = line.argument(1).unwrap_or_default();
    match line.argument(0).unwrap_or_default() {
        "" => Err(Refusal::because("the name of the variable is empty")),
        "FORWARD_COMPATIBLE" => {
            draft.ignores_all_unknown = value == "1";
            Ok(())
        }
        "GENERIC_CONFIG" => Err(Refusal::because(
            "this is a template of OpenVPN Access Server, which has to be filled in first",
        )),
        name => {
            draft
                .process
                .environment
                .push((name.to_owned(), value.to_owned()));
            Ok(())
        }
    }
}

fn setenv_safe(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let name = format!("OPENVPN_{}", line.argument(0).unwrap_or_default());
    draft
        .process
        .environment
        .push((name, line.argument(1).unwrap_or_default().to_owned()));
    Ok(())
}

fn ignore_unknown_option(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.ignore(&line.arguments);
    Ok(())
}

fn script_security(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.process.script_security = number(line, 0, 0..=3)?;
    Ok(())
}

/// What the group of the user `nobody` is called.
const NOBODYS_GROUPS: [&str; 2] = ["nobody", "nogroup"];

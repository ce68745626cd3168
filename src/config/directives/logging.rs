//! Log lines and the status file.

use std::num::NonZeroU32;
use std::time::Duration;

use super::values::{number, optional};
use crate::config::directive::{Directive, MANY, Refusal, Support};
use crate::config::draft::Draft;
use crate::config::lexer::Line;
use crate::limits::MANAGEMENT_HISTORY;
use crate::node::log::{LogTarget, Stamp};
use crate::node::status::StatusFormat;

pub(super) const ROWS: &[Directive] = &[
    Directive::served(
        "verb",
        "0..11",
        (1, 1),
        "how much is logged, 1 if not written",
        verb,
    ),
    Directive::served("mute", "N", (1, 1), "lines of one kind in a row", mute),
    Directive::served(
        "log",
        "FILE",
        (1, 1),
        "log to a file that is emptied first",
        log,
    ),
    Directive::served(
        "log-append",
        "FILE",
        (1, 1),
        "log to a file that grows",
        log_append,
    ),
    Directive::served("syslog", "[NAME]", (0, 1), "log to the system log", syslog),
    Directive::served(
        "suppress-timestamps",
        "",
        (0, 0),
        "no time before a line",
        suppress_timestamps,
    ),
    Directive::served(
        "status",
        "FILE [SECONDS]",
        (1, 2),
        "write who is connected to a file, every 60 seconds if not written",
        status,
    )
    .on_client(Support::Ignored("a client writes no status file yet")),
    Directive::served(
        "status-version",
        "1|2|3",
        (1, 1),
        "format of the status file",
        status_version,
    )
    .on_client(Support::Ignored("a client writes no status file yet")),
    Directive::served(
        "machine-readable-output",
        "",
        (0, 0),
        "times as numbers before a line",
        machine_readable_output,
    ),
    Directive::ignored(
        "errors-to-stderr",
        "",
        (0, 0),
        "where early errors go",
        "they always go to the standard error",
    ),
    Directive::served(
        "echo",
        "[WORD...]",
        (0, MANY),
        "tell words to the manager (`echo`), and to the log if they begin with msg",
        echo,
    )
    .on_client(Support::Ignored("it is for user interfaces")),
    Directive::ignored(
        "memstats",
        "FILE",
        (1, 1),
        "live counters in a mapped file",
        "no longer in OpenVPN 2.7: write `status`",
    ),
    Directive::refused(
        "msg-channel",
        "N...",
        (1, MANY),
        "messages of the Windows service",
        "it is about Windows; remove the line",
    ),
];

/// Wire: the words with a blank between two, as 2.6 has them.
fn echo(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let words = (0..MANY).map_while(|index| line.argument(index));
    let words = words.collect::<Vec<_>>().join(" ");
    let told = &mut draft.process.echo;
    // The interface remembers no more.
    if told.len() == MANAGEMENT_HISTORY {
        told.remove(0);
    }
    told.push(words);
    Ok(())
}

fn verb(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let verb: u32 = number(line, 0, 0..=u32::MAX)?;
    draft.process.verb = verb.min(VERB_MAX) as u8;
    if verb > VERB_MAX {
        let why = format!("`{verb}` says no more than {VERB_MAX} does");
        return Err(Refusal::because(why).but_served());
    }
    Ok(())
}

fn mute(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.process.mute = NonZeroU32::new(number(line, 0, 0..=u32::MAX)?);
    Ok(())
}

fn log(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.process.log = Some(LogTarget::Truncate(draft.path(file(line)?)));
    Ok(())
}

fn log_append(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.process.log = Some(LogTarget::Append(draft.path(file(line)?)));
    Ok(())
}

fn syslog(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.process.syslog = Some(line.argument(0).unwrap_or("ringway").to_owned());
    Ok(())
}

fn suppress_timestamps(draft: &mut Draft, _: &Line) -> Result<(), Refusal> {
    draft.process.stamp = Stamp::None;
    Ok(())
}

fn machine_readable_output(draft: &mut Draft, _: &Line) -> Result<(), Refusal> {
    draft.process.stamp = Stamp::Machine;
    Ok(())
}

fn status(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let interval = optional(line, 1, 1..=u32::MAX)?.unwrap_or(STATUS_SECONDS);
    draft.process.status = Some((file(line)?.to_owned(), Duration::from_secs(interval.into())));
    Ok(())
}

fn status_version(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.process.status_format = match number(line, 0, 1..=3)? {
        1 => StatusFormat::V1,
        2 => StatusFormat::V2,
        _ => StatusFormat::V3,
    };
    Ok(())
}

pub(super) fn file(line: &Line) -> Result<&str, Refusal> {
    let name = line.argument(0).unwrap_or_default();
    if name.is_empty() {
        return Err(Refusal::because("the name of the file is empty"));
    }
    Ok(name)
}

/// Wire: as in 2.6.
const VERB_MAX: u32 = 11;
/// Wire: the default of 2.6.
const STATUS_SECONDS: u32 = 60;

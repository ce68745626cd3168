//! One row of the table of directives, and how a line is held against it.

use super::diagnostics::{Diagnostic, Reason, Severity};
use super::directives;
use super::draft::Draft;
use super::lexer::Line;
use crate::wire::Role;

/// A directive that OpenVPN knows.
#[derive(Debug)]
pub struct Directive {
    /// Its name, without dashes.
    pub name: &'static str,
    /// Its arguments as the documentation writes them; empty when it has none.
    pub arguments: &'static str,
    /// The fewest and the most arguments.
    pub arity: (usize, usize),
    /// Whether its file may stand between `<name>` and `</name>` instead.
    pub block: bool,
    /// What it is for, in a few words.
    pub help: &'static str,
    /// What a line with it does in a server's configuration.
    pub(super) server: Support,
    /// What it does in a client's.
    pub(super) client: Support,
}

/// What a line with a directive does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Support {
    /// It has effect.
    Served(Setter),
    /// What it asks for is so in any case; the sentence says why.
    Always(&'static str),
    /// It is accepted, has no effect, and a warning says why.
    Ignored(&'static str),
    /// It will have effect in a later release; until then it is refused. The sentence says what to
    /// do meanwhile.
    Later(&'static str),
    /// It will never have effect here; the sentence says why, or what to write instead.
    Refused(&'static str),
}

/// Puts a line into the draft.
pub(super) type Setter = fn(&mut Draft, &Line) -> Result<(), Refusal>;

/// Why a setter did not take a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    severity: Severity,
    reason: String,
    instead: Option<String>,
}

impl Refusal {
    pub(super) fn because(reason: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            reason: reason.into(),
            instead: None,
        }
    }

    pub(super) fn instead(mut self, instead: impl Into<String>) -> Self {
        self.instead = Some(instead.into());
        self
    }

    /// It is no error: the rest of what the line says is served.
    pub(super) fn but_served(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// How bad it is, why, and what to write instead.
    pub(super) fn into_parts(self) -> (Severity, String, Option<String>) {
        (self.severity, self.reason, self.instead)
    }
}

impl Directive {
    const fn row(
        name: &'static str,
        arguments: &'static str,
        arity: (usize, usize),
        help: &'static str,
        support: Support,
    ) -> Self {
        Self {
            name,
            arguments,
            arity,
            block: false,
            help,
            server: support,
            client: support,
        }
    }

    pub(super) const fn served(
        name: &'static str,
        arguments: &'static str,
        arity: (usize, usize),
        help: &'static str,
        setter: Setter,
    ) -> Self {
        Self::row(name, arguments, arity, help, Support::Served(setter))
    }

    pub(super) const fn always(
        name: &'static str,
        arguments: &'static str,
        arity: (usize, usize),
        help: &'static str,
        why: &'static str,
    ) -> Self {
        Self::row(name, arguments, arity, help, Support::Always(why))
    }

    pub(super) const fn ignored(
        name: &'static str,
        arguments: &'static str,
        arity: (usize, usize),
        help: &'static str,
        why: &'static str,
    ) -> Self {
        Self::row(name, arguments, arity, help, Support::Ignored(why))
    }

    pub(super) const fn later(
        name: &'static str,
        arguments: &'static str,
        arity: (usize, usize),
        help: &'static str,
        meanwhile: &'static str,
    ) -> Self {
        Self::row(name, arguments, arity, help, Support::Later(meanwhile))
    }

    pub(super) const fn refused(
        name: &'static str,
        arguments: &'static str,
        arity: (usize, usize),
        help: &'static str,
        why: &'static str,
    ) -> Self {
        Self::row(name, arguments, arity, help, Support::Refused(why))
    }

    /// Its file may be inline.
    pub(super) const fn or_block(mut self) -> Self {
        self.block = true;
        self
    }

    /// A client does otherwise.
    pub(super) const fn on_client(mut self, support: Support) -> Self {
        self.client = support;
        self
    }

    /// It has no place in a client's configuration.
    pub(super) const fn of_servers(self) -> Self {
        self.on_client(Support::Refused("it belongs to a server's configuration"))
    }

    /// What a line with it does in a configuration of this role.
    pub(super) fn support(&self, role: Role) -> Support {
        match role {
            Role::Server => self.server,
            Role::Client => self.client,
        }
    }

    /// The directive and its arguments, as the documentation writes them.
    pub fn synopsis(&self) -> String {
        format!("{} {}", self.name, self.arguments)
            .trim_end()
            .to_owned()
    }

    /// Why the line does not have the form of this directive, if so.
    pub(super) fn misfit(&self, line: &Line) -> Option<String> {
        if line.block.is_some() {
            return (!self.block).then(|| format!("<{}> cannot be a block", self.name));
        }
        let (fewest, most) = self.arity;
        let written = line.arguments.len();
        if (fewest..=most).contains(&written) {
            return None;
        }
        let wanted = match (fewest, most) {
            (0, 0) => "no argument".to_owned(),
            (1, 1) => "1 argument".to_owned(),
            (fewest, most) if fewest == most => format!("{fewest} arguments"),
            (fewest, MANY) => format!("at least {fewest}"),
            (fewest, most) => format!("{fewest} to {most} arguments"),
        };
        Some(format!("takes {wanted}, not {written}"))
    }

    fn suggestion(&self, line: &Line) -> String {
        if self.arity == (1, 1) && line.arguments.len() > 1 && self.name == "push" {
            return format!("write it in quotes: push \"{}\"", line.arguments.join(" "));
        }
        format!("write `{}`", self.synopsis())
    }
}

/// Holds a line against the table and puts it into the draft, or remarks on it.
pub(super) fn apply(draft: &mut Draft, line: &Line) {
    if line.name == "setenv" && line.argument(0) == Some("opt") {
        return apply_optional(draft, line);
    }
    let Some(directive) = directives::find(&line.name) else {
        return remark_unknown(draft, line);
    };
    if let Some(misfit) = directive.misfit(line) {
        let instead = Some(directive.suggestion(line));
        return draft.remark(Severity::Error, line, Reason::Unrecognized(misfit), instead);
    }
    let (severity, reason, instead) = match directive.support(draft.role) {
        Support::Always(_) => return,
        Support::Served(setter) => match setter(draft, line) {
            Ok(()) => return,
            Err(refusal) => refusal.into_parts(),
        },
        Support::Ignored(why) => (Severity::Warning, format!("{NO_EFFECT}{why}"), None),
        // Not to be passed over: OpenVPN would obey the line, and it may be what keeps someone out.
        Support::Later(meanwhile) => (
            Severity::Error,
            format!("not supported yet ({})", directive.help),
            Some(meanwhile.to_owned()),
        ),
        Support::Refused(why) if draft.may_be_ignored(&line.name) => {
            (Severity::Warning, why.to_owned(), None)
        }
        Support::Refused(why) => (Severity::Error, why.to_owned(), None),
    };
    draft.remark(severity, line, Reason::Because(reason), instead);
}

/// `setenv opt X ...`: the line `X ...`, which may be unknown.
fn apply_optional(draft: &mut Draft, line: &Line) {
    let words = line.arguments.iter().skip(1).cloned().collect();
    let Some(inner) = Line::from_words(line.at.clone(), words) else {
        let reason = Reason::Unrecognized("`setenv opt` needs a directive".into());
        return draft.remark(Severity::Error, line, reason, None);
    };
    draft.ignoring(inner.name.clone(), |draft| apply(draft, &inner));
}

fn remark_unknown(draft: &mut Draft, line: &Line) {
    let own = directives::is_own(&line.name);
    let severity = if draft.may_be_ignored(&line.name) && !own {
        Severity::Warning
    } else {
        Severity::Error
    };
    let near = directives::nearest(&line.name).map(|near| format!("did you mean `{near}`?"));
    let instead = near.or_else(|| own.then(own_names));
    draft.remark(
        severity,
        line,
        Reason::Unrecognized("no such directive".into()),
        instead,
    );
}

fn own_names() -> String {
    let names: Vec<&str> = directives::own().collect();
    format!("there are `{}`", names.join("`, `"))
}

impl Draft {
    pub(super) fn remark(
        &mut self,
        severity: Severity,
        line: &Line,
        reason: Reason,
        instead: Option<String>,
    ) {
        let (at, directive) = (Some(line.at.clone()), line.name.clone());
        self.diagnostics.push(Diagnostic {
            severity,
            at,
            directive,
            reason,
            instead,
        });
    }

    pub(super) fn warn(&mut self, line: &Line, why: impl Into<String>) {
        self.remark(Severity::Warning, line, Reason::Because(why.into()), None);
    }

    pub(super) fn note(&mut self, line: &Line, what: impl Into<String>) {
        self.remark(Severity::Note, line, Reason::Because(what.into()), None);
    }
}

/// How a remark on a line that is accepted and ignored begins.
pub(super) const NO_EFFECT: &str = "has no effect: ";

/// The most arguments of a directive that takes a list.
pub(super) const MANY: usize = usize::MAX;

//! How strictly a configuration is read, and which of its lines are from another time.
//!
//! Three modes: the usual one takes what OpenVPN 2.6 takes; `--strict` makes an error of each line that
//! is obsolete; `--compat-legacy` translates lines that 2.6 refuses and older versions took, and says so. In
//! each of them the better line is known, and `ringway check` prints it.

use super::diagnostics::{Diagnostic, Reason, Severity};
use super::directive;
use super::draft::Draft;
use super::lexer::{Line, Location};

/// How strictly a configuration is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// As OpenVPN 2.6 reads it.
    #[default]
    Usual,
    /// Obsolete lines are errors.
    Strict,
    /// Lines of older versions are translated.
    Legacy,
}

/// What is wrong with a line that works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It was needed once.
    Obsolete,
    /// It makes the tunnel weaker.
    Insecure,
}

/// Takes the words for the mode out of a command line.
///
/// # Errors
/// Both are there.
pub(super) fn split(arguments: &[String]) -> (Result<Mode, Diagnostic>, Vec<String>) {
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    let mode = match (has(STRICT), has(LEGACY)) {
        (false, false) => Ok(Mode::Usual),
        (true, false) => Ok(Mode::Strict),
        (false, true) => Ok(Mode::Legacy),
        (true, true) => Err(Diagnostic {
            severity: Severity::Error,
            at: None,
            directive: "strict".to_owned(),
            reason: Reason::Because(format!("`{STRICT}` and `{LEGACY}` exclude one another")),
            instead: None,
        }),
    };
    let rest = arguments
        .iter()
        .filter(|it| ![STRICT, LEGACY].contains(&it.as_str()));
    (mode, rest.cloned().collect())
}

/// Puts a line into the draft as the mode wants it. What is better written otherwise is advised.
pub(super) fn apply(draft: &mut Draft, line: &Line, mode: Mode, advice: &mut Vec<Diagnostic>) {
    if mode == Mode::Legacy
        && let Some((translated, why)) = translation(line)
    {
        let instead = match &translated {
            Some(line) => format!("write `{}`", words(line)),
            None => "remove the line".to_owned(),
        };
        draft.remark(
            Severity::Warning,
            line,
            Reason::Because(format!("of an older version, and translated: {why}")),
            Some(instead),
        );
        if let Some(line) = translated {
            directive::apply(draft, &line);
        }
        return;
    }
    let found = fault(line);
    if let Some((Fault::Obsolete, why, instead)) = &found
        && mode == Mode::Strict
    {
        let reason = Reason::Because(format!("obsolete: {why}"));
        return draft.remark(Severity::Error, line, reason, Some(instead.clone()));
    }
    directive::apply(draft, line);
    if let Some((fault, why, instead)) = found {
        let (severity, word) = match fault {
            Fault::Obsolete => (Severity::Note, "obsolete"),
            Fault::Insecure => (Severity::Warning, "insecure"),
        };
        advice.push(Diagnostic {
            severity,
            at: Some(line.at.clone()),
            directive: line.name.clone(),
            reason: Reason::Because(format!("{word}: {why}")),
            instead: Some(instead),
        });
    }
}

/// What was found, line by line, with a better line for each that has one: what `ringway check` prints.
pub fn explained(found: &[Diagnostic], advice: &[Diagnostic]) -> Vec<Diagnostic> {
    let same = |one: &Diagnostic, other: &Diagnostic| one.at.is_some() && one.at == other.at;
    let mut all: Vec<Diagnostic> = found.to_vec();
    for advised in advice {
        let known = all.iter_mut().find(|one| same(one, advised));
        match known {
            Some(known) if known.instead.is_none() => known.instead.clone_from(&advised.instead),
            Some(_) => {}
            None => all.push(advised.clone()),
        }
    }
    for one in &mut all {
        let useless =
            matches!(&one.reason, Reason::Because(why) if why.starts_with(directive::NO_EFFECT));
        if useless && one.instead.is_none() {
            one.instead = Some("remove the line".to_owned());
        }
    }
    let place = |at: &Option<Location>| at.as_ref().map(|at| (at.file.clone(), at.line));
    all.sort_by_key(|one| (one.at.is_none(), place(&one.at)));
    all
}

/// What is wrong with a line, why, and what to write instead.
fn fault(line: &Line) -> Option<(Fault, &'static str, String)> {
    let (fault, why, instead) = told(line)?;
    let all = line.arguments.join(" ");
    let instead = match instead {
        "" => "remove the line".to_owned(),
        line => format!("write `{}`", line.replace('*', &all)),
    };
    Some((fault, why, instead))
}

/// The same, with a star for the line's own arguments, and nothing where there is no better line.
fn told(line: &Line) -> Option<(Fault, &'static str, &'static str)> {
    use Fault::{Insecure, Obsolete};
    let first = line.argument(0).unwrap_or_default();
    Some(match (line.name.as_str(), first) {
        ("comp-lzo", _) => (
            Obsolete,
            "compression leaks what is encrypted, and nothing is compressed",
            "compress migrate",
        ),
        ("compress", "lzo" | "lz4" | "lz4-v2" | "stub" | "stub-v2" | "")
            if line.block.is_none() =>
        {
            (
                Obsolete,
                "compression leaks what is encrypted, and nothing is compressed",
                "compress migrate",
            )
        }
        ("allow-compression", "yes" | "asym") => (
            Insecure,
            "compression leaks what is encrypted",
            "allow-compression no",
        ),
        ("ncp-ciphers", _) => (Obsolete, "renamed in OpenVPN 2.5", "data-ciphers *"),
        ("cipher" | "data-ciphers-fallback", "none") => (
            Insecure,
            "nothing is encrypted",
            "data-ciphers AES-256-GCM:AES-128-GCM",
        ),
        ("cipher", name) if !name.ends_with("-GCM") && !name.ends_with("-POLY1305") => (
            Obsolete,
            "ciphers are negotiated, and this one is for clients before 2.4",
            "data-ciphers AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305",
        ),
        ("auth", "none" | "MD5" | "MD4" | "RSA-MD5") => {
            (Insecure, "control packets can be forged", "auth SHA256")
        }
        ("keysize", _) => (Obsolete, "the cipher decides", ""),
        ("key-method", _) => (Obsolete, "method 2 is the only one", ""),
        ("ncp-disable", _) => (Obsolete, "every client since 2.4 negotiates", ""),
        ("tun-ipv6", _) => (Obsolete, "IPv6 needs no switch", ""),
        ("max-routes", _) => (Obsolete, "there is no bound", ""),
        ("prng", _) => (Obsolete, "the library's generator is used", ""),
        ("opt-verify" | "disable-occ", _) => (Obsolete, "options are not compared any more", ""),
        ("fast-io" | "memstats", _) => (Obsolete, "it has no meaning any more", ""),
        ("compat-names" | "no-name-remapping", _) => {
            (Obsolete, "names have one form since OpenVPN 2.5", "")
        }
        ("link-mtu", _) => (Obsolete, "the cipher is only known later", "tun-mtu 1500"),
        ("ecdh-curve", _) => (Obsolete, "a list of groups took its place", "tls-groups *"),
        ("ns-cert-type", _) => (Obsolete, "Netscape's marks are gone", "remote-cert-tls *"),
        ("tls-remote", _) => (
            Obsolete,
            "removed in OpenVPN 2.4",
            "verify-x509-name * name",
        ),
        ("client-cert-not-required", _) => (
            Obsolete,
            "renamed in OpenVPN 2.4",
            "verify-client-cert none",
        ),
        ("auth-gen-token-key", _) => (Obsolete, "renamed", "auth-gen-token-secret *"),
        ("tun-max-mtu", _) => (Obsolete, "renamed", "tun-mtu-max *"),
        ("topology", "net30") => (
            Obsolete,
            "it was for Windows clients before 2.1, and takes four addresses a client",
            "topology subnet",
        ),
        ("tls-version-min", "1.0" | "1.1") => (
            Insecure,
            "broken versions are not served",
            "tls-version-min 1.2",
        ),
        ("script-security", "3") => (
            Insecure,
            "passwords are put into the environment of scripts",
            "script-security 2",
        ),
        ("no-replay", _) => (Insecure, "packets can be repeated by anybody", ""),
        ("duplicate-cn", _) => (
            Insecure,
            "nobody can tell who shares a certificate, and none of them can be shut out alone; \
             give each client its own",
            "",
        ),
        ("verify-client-cert", "none" | "optional") => (
            Insecure,
            "whoever has a password needs nothing else",
            "verify-client-cert require",
        ),
        ("reneg-sec", "0") => (Insecure, "keys are used for ever", "reneg-sec 3600"),
        ("secret" | "allow-deprecated-insecure-static-crypto", _) => (
            Insecure,
            "who learns the key reads all that was ever sent; use certificates or `peer-fingerprint`",
            "",
        ),
        _ => return None,
    })
}

/// What a line of an older version is today, `None` for nothing, and why.
fn translation(line: &Line) -> Option<(Option<Line>, &'static str)> {
    let first = line.argument(0).unwrap_or_default();
    let today = |words: &[&str]| {
        let words = words.iter().map(|&word| word.to_owned()).collect();
        Line::from_words(line.at.clone(), words)
    };
    Some(match (line.name.as_str(), line.arguments.len()) {
        ("client-cert-not-required", 0) => (
            today(&["verify-client-cert", "none"]),
            "renamed in OpenVPN 2.4",
        ),
        ("keysize", 1) => (None, "the cipher decides"),
        ("key-method", 1) if first == "2" => (None, "method 2 is the only one"),
        ("ncp-disable", 0) => (None, "every client since 2.4 negotiates"),
        ("script-security", 2) if matches!(line.argument(1), Some("execve" | "system")) => (
            today(&["script-security", first]),
            "programs are started in one way",
        ),
        ("tls-remote", 1) => (
            today(&["verify-x509-name", first, "name"]),
            "removed in OpenVPN 2.4",
        ),
        ("auth-gen-token-key", 1) => (today(&["auth-gen-token-secret", first]), "renamed"),
        ("tun-max-mtu", 1) => (today(&["tun-mtu-max", first]), "renamed"),
        ("push", 2..) => (
            today(&["push", &line.arguments.join(" ")]),
            "what is pushed stands in quotes",
        ),
        _ => return None,
    })
}

/// A line as it would be written.
fn words(line: &Line) -> String {
    let quoted = |word: &String| match word.contains([' ', '#', ';', '"']) {
        true => format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"")),
        false => word.clone(),
    };
    let words: Vec<String> = line.arguments.iter().map(quoted).collect();
    format!("{} {}", line.name, words.join(" "))
        .trim_end()
        .to_owned()
}

/// The words of a command line.
const STRICT: &str = "--strict";
const LEGACY: &str = "--compat-legacy";

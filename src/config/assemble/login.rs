//! Who judges logins: whether the lines about that fit together.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use super::{Draft, Severity};
use crate::config::SCRIPT_HELPER;
use crate::config::draft::Written;
use crate::config::lexer::Location;
use crate::config::pki::{self, Opened};
use crate::crypto::AuthTokenKey;
use crate::node::logins::{Followed, PasswordFile, SecretFile};
use crate::node::settings::{
    AuthSettings, HandOver, HookScripts, ManagerPart, OwnUsers, PluginSettings, ScriptCommand,
    TokenSettings, VerifyScript,
};
use crate::random::SystemRandom;

/// The judges, `None` if there are none; what can't be is remarked.
pub(super) fn login(draft: &mut Draft) -> Option<AuthSettings> {
    let script = draft.login.script.take();
    let plugins = std::mem::take(&mut draft.login.plugins);
    let management = &draft.process.management;
    let manager_at = management.socket.as_ref().map(|it| it.at.clone());
    let manager_judges = management.judges.is_some();
    let manager = manager_at.as_ref().map(|_| match manager_judges {
        true => ManagerPart::Judges,
        false => ManagerPart::Hears,
    });
    let (own, own_at) = own_users(draft);
    let unjudged =
        script.is_none() && plugins.is_empty() && !manager_judges && own.passwords.is_none();
    if let (Some(written), true) = (own_at.as_ref(), own.secrets.is_some() && unjudged) {
        let why = "a code stands beside a password, and nothing looks at passwords";
        let instead = Some("add a `ringway-password-file` line".to_owned());
        let name = "ringway-totp-file";
        draft.remark_at(Severity::Error, name, written, why, instead);
    }
    let token = token(draft, unjudged);
    let exporter = draft.login.exporter.take();
    if let (Some(written), true) = (&exporter, plugins.is_empty()) {
        let why = "only plug-ins are told it, and there is none";
        let name = "keying-material-exporter";
        draft.remark_at(Severity::Warning, name, &written.at, why, None);
    }
    if unjudged {
        remark_unjudged(draft);
    }
    let hooks = [
        draft.login.key_metadata.take(),
        draft.login.verify.take(),
        draft.login.connect.take(),
        draft.login.disconnect.take(),
        draft.login.learn.take(),
        draft.login.challenge.take(),
    ];
    let places = script.as_ref().map(|it| &it.at);
    let places = places.into_iter().chain(plugins.iter().map(|it| &it.at));
    let mut places = places
        .chain(hooks.iter().flatten().map(|it| &it.at))
        .chain(&own_at)
        .chain(&manager_at)
        .peekable();
    places.peek()?;
    let configuration = places.next().map(|at| at.file.to_string());
    let configuration = configuration.unwrap_or_default();
    let first = script.as_ref().map(|it| &it.at);
    let first = first.or(hooks.iter().flatten().map(|it| &it.at).next());
    if let Some(at) = first.cloned() {
        remark_script_security(draft, &at);
    }
    let [key_metadata, verify, connect, disconnect, learn, challenge] =
        hooks.map(|it| it.map(|it| it.value));
    let script = script.map(|written| verify_script(draft, written));
    // Wire: 2.6 takes TMPDIR, else /tmp.
    let from_system = || std::env::var_os("TMPDIR").map_or_else(|| "/tmp".into(), PathBuf::from);
    let temporary = draft.login.temporary.take();
    let helper = script_helper();
    let plugins = (!plugins.is_empty()).then(|| PluginSettings {
        host: helper.program.with_file_name(PLUGIN_HOST),
        plugins: plugins.into_iter().map(|it| it.value).collect(),
    });
    Some(AuthSettings {
        script,
        plugins,
        hooks: HookScripts {
            key_metadata,
            verify,
            connect,
            disconnect,
            learn,
            challenge,
        },
        manager,
        own,
        token,
        optional: draft.login.optional.is_some(),
        certificate: draft
            .login
            .certificate
            .take()
            .map(|it| it.value)
            .unwrap_or_default(),
        username_as_common_name: draft.login.named_by_user.is_some(),
        exporter: exporter.map(|it| it.value),
        temporary: temporary.unwrap_or_else(from_system),
        helper,
        configuration,
    })
}

/// The program that starts scripts: this one. A server that has given up its privileges may not look any more where its
/// program is, and reads its configuration again all the same.
pub(super) fn script_helper() -> ScriptCommand {
    static OWN: OnceLock<PathBuf> = OnceLock::new();
    let own = || std::env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into());
    ScriptCommand {
        program: OWN.get_or_init(own).clone(),
        arguments: vec![SCRIPT_HELPER.to_owned()],
    }
}

/// Wire: 2.6 starts, and fails when the first script is due.
pub(super) fn remark_script_security(draft: &mut Draft, at: &Location) {
    if draft.process.script_security < 2 {
        let why = "programs are started with `script-security 2` alone";
        let instead = Some("add `script-security 2`".to_owned());
        draft.remark_at(Severity::Error, "script-security", at, why, instead);
    }
}

/// The script that judges passwords.
fn verify_script(draft: &mut Draft, written: Written<(ScriptCommand, HandOver)>) -> VerifyScript {
    let (command, by) = written.value;
    let security = draft.process.script_security;
    if security == 2 && by == HandOver::Environment {
        let why = "the script is not told the password: it may stand in an environment with \
                   `script-security 3` alone";
        let instead = Some("write `via-file`, or `script-security 3`".to_owned());
        draft.remark_at(
            Severity::Warning,
            "script-security",
            &written.at,
            why,
            instead,
        );
    }
    VerifyScript {
        command,
        by,
        password_in_environment: security >= 3,
    }
}

/// What the server itself is to know of its users, and where that is written; files that it could not use are
/// remarked.
fn own_users(draft: &mut Draft) -> (OwnUsers, Option<Location>) {
    let passwords = draft.login.passwords.take();
    let secrets = draft.login.secrets.take();
    let backoff = draft.login.backoff.take();
    let judges = passwords.is_some() || secrets.is_some();
    if let Some(written) = &passwords {
        let instead = "make one: ringway passwd FILE NAME";
        let name = "ringway-password-file";
        check_file(draft, name, written, PasswordFile::parse, instead);
    }
    if let Some(written) = &secrets {
        let instead = "write a line for each user: `name:secret`";
        let name = "ringway-totp-file";
        check_file(draft, name, written, SecretFile::parse, instead);
    }
    let at = passwords.as_ref().or(secrets.as_ref());
    let at = at.map(|it| it.at.clone());
    let at = at.or_else(|| Some(backoff.as_ref()?.at.clone()));
    let own = OwnUsers {
        passwords: passwords.map(|it| it.value),
        secrets: secrets.map(|it| it.value),
        backoff: backoff.map_or(judges, |it| it.value),
    };
    (own, at)
}

/// Reads it as the server will.
fn check_file<T: 'static, E: Display + 'static>(
    draft: &mut Draft,
    name: &'static str,
    written: &Written<PathBuf>,
    parse: fn(&str) -> Result<T, E>,
    instead: &str,
) {
    let (path, at) = (&written.value, &written.at);
    pki::warn_of_others(draft, name, at, path, &path.display().to_string());
    if let Err(why) = Followed::read(path, parse) {
        let instead = Some(instead.to_owned());
        draft.remark_at(Severity::Error, name, at, why, instead);
    }
}

/// Tokens for passwords, if clients are to get some.
fn token(draft: &mut Draft, unjudged: bool) -> Option<TokenSettings> {
    let secret = draft.login.token_secret.take();
    let key = secret.as_ref().map(|line| {
        let opened = Opened::new(draft, "auth-gen-token-secret", line, true)?;
        pki::auth_token_key(draft, &opened)
    });
    let Some(written) = draft.login.token.take() else {
        if let Some(line) = secret {
            let why = "no client gets a token without `auth-gen-token`";
            let name = "auth-gen-token-secret";
            draft.remark_at(Severity::Warning, name, &line.at, why, None);
        }
        return None;
    };
    let (line, at) = (written.value, &written.at);
    let (latest, _) = draft.control.renegotiate;
    let hand_window = draft.control.hand_window.as_secs();
    if latest == 0 {
        let why = "tokens are renewed when keys are, and `reneg-sec 0` never renews them";
        let instead = Some("write another `reneg-sec`".to_owned());
        draft.remark_at(Severity::Error, "auth-gen-token", at, why, instead);
    }
    if line
        .renewal
        .is_some_and(|it| u64::from(it) < 2 * hand_window)
    {
        let why = format!("a token must be good for two times `hand-window` ({hand_window} s)");
        let instead = Some(format!(
            "write a renewal time of at least {}",
            2 * hand_window
        ));
        draft.remark_at(Severity::Error, "auth-gen-token", at, why.as_str(), instead);
    }
    if unjudged {
        let why = "no client gets a token: nothing looks at user names and passwords";
        let instead = Some("add an `auth-user-pass-verify` line".to_owned());
        draft.remark_at(Severity::Warning, "auth-gen-token", at, why, instead);
        return None;
    }
    let seconds = |it: u32| Duration::from_secs(it.into());
    Some(TokenSettings {
        lifetime: (line.lifetime > 0).then(|| seconds(line.lifetime)),
        renewal: seconds(line.renewal.unwrap_or(latest)),
        between: line.renewal.filter(|it| *it < latest).map(seconds),
        external_auth: line.external_auth,
        key: match key {
            Some(key) => key?,
            None => AuthTokenKey::generate(&mut SystemRandom),
        },
    })
}

/// Wire: 2.6 refuses these too, where nobody looks at passwords.
fn remark_unjudged(draft: &mut Draft) {
    // Who names a judge that is refused hears of that alone.
    let judges = ["auth-user-pass-verify", "plugin", "management-client-auth"];
    if judges.iter().any(|name| draft.diagnostics.mentions(name)) {
        return;
    }
    let lines = [
        (
            "verify-client-cert",
            draft.login.certificate.as_ref().map(|it| it.at.clone()),
        ),
        (
            "auth-user-pass-optional",
            draft.login.optional.as_ref().map(|it| it.at.clone()),
        ),
        (
            "username-as-common-name",
            draft.login.named_by_user.as_ref().map(|it| it.at.clone()),
        ),
    ];
    for (name, at) in lines {
        if let Some(at) = at {
            let why = "nothing looks at user names and passwords";
            let instead = Some("add an `auth-user-pass-verify` line".to_owned());
            draft.remark_at(Severity::Error, name, &at, why, instead);
        }
    }
}

/// The program of plug-ins, which stands beside this one.
const PLUGIN_HOST: &str = "ringway-plugin-host";

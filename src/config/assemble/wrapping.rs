//! How control packets are wrapped: which of the keys that the lines name go together.

use std::sync::Arc;

use super::super::diagnostics::Severity;
use super::super::draft::{Draft, Source, Written};
use super::super::pki::{self, Opened};
use super::super::settings::WrappingSettings;
use super::auth;
use crate::session::ClientKeyRules;
use crate::wire::Role;

/// What the lines say; `None` for an error.
pub(super) fn wrapping(draft: &mut Draft) -> Option<WrappingSettings> {
    let shared = shared_key(draft);
    let Some(line) = draft.control.tls_crypt_v2.clone() else {
        if let Some(max_age) = draft.control.client_key_max_age.clone() {
            let why = "no client has a key with an age without `tls-crypt-v2`";
            let at = &max_age.at;
            draft.remark_at(Severity::Warning, "tls-crypt-v2-max-age", at, why, None);
        }
        if let Some(script) = draft.login.key_metadata.clone() {
            let why = "no client has a key of its own without `tls-crypt-v2`";
            let name = "tls-crypt-v2-verify";
            draft.remark_at(Severity::Warning, name, &script.at, why, None);
        }
        return shared;
    };
    match draft.role {
        Role::Server => client_keys(draft, &line, shared?),
        Role::Client => own_key(draft, &line, &shared?),
    }
}

/// A server opens the keys of its clients.
fn client_keys(
    draft: &mut Draft,
    line: &Written<Source>,
    others: WrappingSettings,
) -> Option<WrappingSettings> {
    let opened = Opened::new(draft, TLS_CRYPT_V2, line, true)?;
    let max_age = draft.control.client_key_max_age.as_ref();
    let max_age = max_age.map(|max_age| max_age.value);
    let rules = ClientKeyRules {
        key: pki::tls_crypt_v2_server_key(draft, &opened)?,
        without_cookie: draft.control.without_cookie,
        max_age,
        keeps_metadata: draft.login.key_metadata.is_some(),
    };
    Some(WrappingSettings::TlsCryptV2Server {
        rules: Arc::new(rules),
        others: match others {
            WrappingSettings::Plain => None,
            others => Some(Box::new(others)),
        },
    })
}

/// A client has one key. Wire: 2.6 takes no other beside it.
fn own_key(
    draft: &mut Draft,
    line: &Written<Source>,
    others: &WrappingSettings,
) -> Option<WrappingSettings> {
    if !matches!(others, WrappingSettings::Plain) {
        let why = "a client has it, or `tls-auth`, or `tls-crypt`";
        let instead = Some("keep the one that the server has".into());
        draft.remark_at(Severity::Error, TLS_CRYPT_V2, &line.at, why, instead);
        return None;
    }
    let opened = Opened::new(draft, TLS_CRYPT_V2, line, true)?;
    let key = pki::tls_crypt_v2_client_key(draft, &opened)?;
    Some(WrappingSettings::TlsCryptV2Client { key })
}

/// The wrapping with the one key that all share.
fn shared_key(draft: &mut Draft) -> Option<WrappingSettings> {
    let (tls_auth, tls_crypt) = (
        draft.control.tls_auth.clone(),
        draft.control.tls_crypt.clone(),
    );
    match (tls_auth, tls_crypt) {
        (None, None) => Some(WrappingSettings::Plain),
        (Some(_), Some(tls_crypt)) => {
            let why = "it does not go with `tls-auth`";
            let instead = Some("keep the one that the clients have".into());
            draft.remark_at(Severity::Error, "tls-crypt", &tls_crypt.at, why, instead);
            None
        }
        (None, Some(tls_crypt)) => {
            let opened = Opened::new(draft, "tls-crypt", &tls_crypt, true)?;
            Some(WrappingSettings::TlsCrypt {
                key: pki::static_key(draft, &opened)?,
            })
        }
        (Some(tls_auth), None) => tls_auth_key(draft, &tls_auth),
    }
}

fn tls_auth_key(draft: &mut Draft, line: &Written<Source>) -> Option<WrappingSettings> {
    let written = draft.control.auth.clone();
    if let Some(auth) = written.filter(|auth| auth.value.is_none()) {
        let why = "`tls-auth` needs a digest";
        let instead = Some("write the one that the clients have, such as SHA256".into());
        draft.remark_at(Severity::Error, "auth", &auth.at, why, instead);
    }
    let opened = Opened::new(draft, "tls-auth", line, true)?;
    let key = pki::static_key(draft, &opened)?;
    Some(WrappingSettings::TlsAuth {
        key,
        direction: draft.control.direction,
        digest: auth(draft)?,
    })
}

const TLS_CRYPT_V2: &str = "tls-crypt-v2";

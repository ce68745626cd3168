//! The tokens that a server hands out in place of passwords, and the key with which it signs them.
//!
//! Wire: wire.md section 12.1.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use data_encoding::BASE64;
use zeroize::Zeroizing;

use super::pem::{self, KeyFileError};
use crate::random::Random;

/// A token, as it is pushed and as clients send it in place of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionToken(Zeroizing<String>);

impl SessionToken {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a password is meant to be one.
    pub fn is_meant(password: &str) -> bool {
        password.starts_with(PREFIX)
    }
}

impl fmt::Debug for SessionToken {
    /// Without the secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SessionToken")
    }
}

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenFacts {
    /// What the tokens of one session have in common.
    pub session: [u8; SESSION_LEN],
    /// When its password was looked at, in Unix seconds.
    pub initial: u64,
    /// When it was made, in Unix seconds.
    pub issued: u64,
}

impl TokenFacts {
    /// The session, as it stands in the token.
    pub fn session_id(&self) -> String {
        BASE64.encode(&self.session)
    }
}

/// The key of a server that hands out tokens.
#[derive(Clone)]
pub struct AuthTokenKey(hmac::Key);

impl AuthTokenKey {
    /// Reads a key file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        let bytes = pem::parse(text, LABEL)?;
        let key = bytes.get(HMAC_AT..HMAC_AT + HMAC_LEN);
        let key = key.filter(|_| bytes.len() >= KEY_LEN);
        let key = key.ok_or(KeyFileError::Length(bytes.len()))?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, key)))
    }

    /// A key that nobody else has: its tokens are good as long as it lives.
    pub fn generate(random: &mut dyn Random) -> Self {
        let mut bytes = Zeroizing::new([0; HMAC_LEN]);
        random.fill(bytes.as_mut_slice());
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes.as_slice()))
    }

    /// The token of that user that says this.
    pub fn sign(&self, username: &str, facts: &TokenFacts) -> SessionToken {
        let mut raw = Zeroizing::new([0; RAW_LEN]);
        let (said, signature) = raw.split_at_mut(SAID_LEN);
        said.copy_from_slice(&facts.to_bytes());
        signature.copy_from_slice(self.signature(username, said).as_ref());
        let mut text = Zeroizing::new(String::with_capacity(TOKEN_LEN));
        text.push_str(PREFIX);
        BASE64.encode_append(raw.as_slice(), &mut text);
        SessionToken(text)
    }

    /// What a token says that this key has signed for that user; when it is still good is another question.
    pub fn open(&self, username: &str, token: &str) -> Option<TokenFacts> {
        let digits = token.strip_prefix(PREFIX)?.as_bytes();
        // Reserved at once, and no longer than a token is.
        let mut raw = Zeroizing::new([0; RAW_LEN]);
        if BASE64.decode_len(digits.len()) != Ok(RAW_LEN) {
            return None;
        }
        let length = BASE64.decode_mut(digits, raw.as_mut_slice()).ok()?;
        let (said, signature) = raw.split_at(SAID_LEN);
        let right = self.signature(username, said);
        verify_slices_are_equal(right.as_ref(), signature).ok()?;
        TokenFacts::from_bytes(said).filter(|_| length == RAW_LEN)
    }

    fn signature(&self, username: &str, said: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(username.as_bytes());
        context.update(said);
        context.sign()
    }
}

impl fmt::Debug for AuthTokenKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("AuthTokenKey")
    }
}

impl PartialEq for AuthTokenKey {
    /// Whether they sign alike.
    fn eq(&self, other: &Self) -> bool {
        let [one, other] = [self, other].map(|key| key.signature("", b"same"));
        verify_slices_are_equal(one.as_ref(), other.as_ref()).is_ok()
    }
}

impl Eq for AuthTokenKey {}

impl TokenFacts {
    fn to_bytes(self) -> [u8; SAID_LEN] {
        let mut bytes = [0; SAID_LEN];
        let (session, times) = bytes.split_at_mut(SESSION_LEN);
        let (initial, issued) = times.split_at_mut(size_of::<u64>());
        session.copy_from_slice(&self.session);
        initial.copy_from_slice(&self.initial.to_be_bytes());
        issued.copy_from_slice(&self.issued.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (session, rest) = bytes.split_first_chunk()?;
        let (initial, rest) = rest.split_first_chunk()?;
        let issued = rest.first_chunk()?;
        Some(Self {
            session: *session,
            initial: u64::from_be_bytes(*initial),
            issued: u64::from_be_bytes(*issued),
        })
    }
}

/// The text of a key file with a new random key.
pub fn auth_token_key_file(random: &mut dyn Random) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; KEY_LEN]);
    random.fill(bytes.as_mut_slice());
    pem::emit(LABEL, bytes.as_slice())
}

const LABEL: &str = "OpenVPN auth-token server key";

/// Two halves, for a cipher and for an HMAC, of which only the second is used.
const KEY_LEN: usize = 128;

/// Where the key of the HMAC stands, and what of it is used.
const HMAC_AT: usize = 64;
const HMAC_LEN: usize = 32;

const PREFIX: &str = "SESS_ID_AT_";

/// Bytes of a session's id.
const SESSION_LEN: usize = 12;
const SAID_LEN: usize = SESSION_LEN + 2 * size_of::<u64>();
const RAW_LEN: usize = SAID_LEN + 32;
const TOKEN_LEN: usize = PREFIX.len() + RAW_LEN / 3 * 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    #[test]
    fn a_token_is_good_for_its_user_and_its_key_alone() {
        let mut random = SeededRandom::new(1);
        let key = AuthTokenKey::parse(&auth_token_key_file(&mut random)).unwrap();
        let other = AuthTokenKey::generate(&mut random);
        assert_ne!(key, other);
        let facts = TokenFacts {
            session: *b"twelve bytes",
            initial: 1_700_000_000,
            issued: 1_700_000_600,
        };
        let token = key.sign("anna", &facts);
        let text = token.as_str();
        assert!(SessionToken::is_meant(text) && text.len() == 91, "{text}");
        // Wire: the session id of stock's environment is the beginning of what follows the prefix.
        assert_eq!(text[PREFIX.len()..][..16], facts.session_id());
        assert_eq!(key.open("anna", text), Some(facts));
        assert_eq!(key.open("bert", text), None);
        assert_eq!(other.open("anna", text), None);
        assert_eq!(format!("{token:?} {key:?}"), "SessionToken AuthTokenKey");
        for at in PREFIX.len()..text.len() {
            let mut changed = text.as_bytes().to_vec();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(key.open("anna", &changed), None, "{changed}");
        }
        for text in ["", PREFIX, &text[1..], &text[..87], &format!("{text}AAAA")] {
            assert_eq!(key.open("anna", text), None, "{text}");
        }
        let short = pem::emit(LABEL, &[1; 96]);
        let error = AuthTokenKey::parse(&short).unwrap_err();
        assert_eq!(error, KeyFileError::Length(96));
    }

    #[test]
    fn each_file_has_another_key_of_the_length_of_openvpns() {
        let mut random = SeededRandom::new(1);
        let [one, other] = [(); 2].map(|()| auth_token_key_file(&mut random));
        assert_ne!(*one, *other);
        assert_eq!(pem::parse(&one, LABEL).unwrap().len(), 128);
        // As `openvpn --genkey auth-token` writes it.
        assert_eq!((one.len(), one.lines().count()), (265, 5));
    }
}

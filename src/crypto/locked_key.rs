//! Private keys that a password locks: PKCS #8 (PBES2), the older form of OpenSSL with `DEK-Info`, and
//! files of PKCS #12.

use aes::{Aes128, Aes192, Aes256};
use cbc::Decryptor;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, KeyIvInit};
use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use des::TdesEde3;
use md5::{Digest as _, Md5};
use p12_keystore::{Certificate, Pkcs12Archive};
use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::pem;

/// A private key in PEM form that a password locks.
#[derive(Debug)]
pub struct LockedKey<'t> {
    text: &'t str,
    form: Form,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    /// RFC 5958, with RFC 8018 inside.
    Pkcs8,
    /// RFC 1421, with the key of `EVP_BytesToKey`; the label of what is inside.
    Older(&'static str),
}

/// Why a password does not open it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnlockError {
    /// With another password it might.
    #[error("the password is wrong")]
    Password,
    /// It is locked in a way that is not served.
    #[error("it is encrypted in a way that is not served")]
    Unsupported,
    /// It is not what it says.
    #[error("it cannot be read")]
    Malformed,
    /// A file of PKCS #12 with no key in it, or without the certificate of that key.
    #[error("there is no key with its certificate in it")]
    NoIdentity,
}

/// What is in a file of PKCS #12, in PEM form.
#[derive(Debug)]
pub struct Pkcs12 {
    /// The certificate of the key, then what leads to the authority without the authority itself.
    pub chain: Zeroizing<String>,
    /// The key.
    pub key: Zeroizing<String>,
    /// All other certificates. Wire: 2.6 trusts them if there is no `ca`.
    pub authorities: Zeroizing<String>,
}

impl<'t> LockedKey<'t> {
    /// The locked key in a text, `None` if there is none.
    pub fn find(text: &'t str) -> Option<Self> {
        if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
            let form = Form::Pkcs8;
            return Some(Self { text, form });
        }
        let label = OLDER_LABELS
            .into_iter()
            .find(|label| text.contains(&format!("-----BEGIN {label}-----")))?;
        text.contains(DEK_INFO).then_some(Self {
            text,
            form: Form::Older(label),
        })
    }

    /// The key.
    ///
    /// # Errors
    /// The password, or the file, is no good.
    pub fn unlock(&self, password: &str) -> Result<PrivateKeyDer<'static>, UnlockError> {
        match self.form {
            Form::Pkcs8 => self.unlock_pkcs8(password),
            Form::Older(label) => self.unlock_older(label, password),
        }
    }

    fn unlock_pkcs8(&self, password: &str) -> Result<PrivateKeyDer<'static>, UnlockError> {
        let sealed = pem::parse(self.text, "ENCRYPTED PRIVATE KEY");
        let sealed = sealed.map_err(|_| UnlockError::Malformed)?;
        let sealed = EncryptedPrivateKeyInfoRef::try_from(sealed.as_slice());
        // A scheme that is not known is an error of the structure to the library.
        let sealed = sealed.map_err(|_| UnlockError::Unsupported)?;
        let key = sealed.decrypt(password).map_err(|error| match error {
            pkcs8::Error::EncryptedPrivateKey(pkcs8::pkcs5::Error::DecryptFailed) => {
                UnlockError::Password
            }
            pkcs8::Error::EncryptedPrivateKey(_) => UnlockError::Unsupported,
            // What came out begins as no key does: one padding in 256 is right by chance.
            _ => UnlockError::Password,
        })?;
        Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
    }

    fn unlock_older(
        &self,
        label: &'static str,
        password: &str,
    ) -> Result<PrivateKeyDer<'static>, UnlockError> {
        let (cipher, vector, sealed) = self.older_parts(label).ok_or(UnlockError::Malformed)?;
        let open = match cipher {
            "AES-128-CBC" => older::<Decryptor<Aes128>>,
            "AES-192-CBC" => older::<Decryptor<Aes192>>,
            "AES-256-CBC" => older::<Decryptor<Aes256>>,
            "DES-EDE3-CBC" => older::<Decryptor<TdesEde3>>,
            _ => return Err(UnlockError::Unsupported),
        };
        let key = open(&vector, &sealed, password)?;
        Ok(match label {
            "RSA PRIVATE KEY" => PrivatePkcs1KeyDer::from(key).into(),
            _ => PrivateSec1KeyDer::from(key).into(),
        })
    }

    /// The cipher's name, its initialisation vector, and the ciphertext.
    fn older_parts(&self, label: &str) -> Option<(&'t str, Vec<u8>, Vec<u8>)> {
        let (_, rest) = self.text.split_once(&format!("-----BEGIN {label}-----"))?;
        let (inner, _) = rest.split_once(&format!("-----END {label}-----"))?;
        let mut lines = inner.lines().map(str::trim);
        let information = lines.find_map(|line| line.strip_prefix(DEK_INFO))?;
        let (cipher, vector) = information.trim().split_once(',')?;
        let vector = HEXLOWER_PERMISSIVE.decode(vector.trim().as_bytes()).ok()?;
        let digits: String = lines.filter(|line| !line.contains(':')).collect();
        let sealed = BASE64.decode(digits.as_bytes()).ok()?;
        Some((cipher.trim(), vector, sealed))
    }
}

/// Opens what OpenSSL has closed by a key of one round of MD5.
fn older<C: BlockModeDecrypt + KeyIvInit>(
    vector: &[u8],
    sealed: &[u8],
    password: &str,
) -> Result<Vec<u8>, UnlockError> {
    let salt = vector.get(..SALT).ok_or(UnlockError::Malformed)?;
    let mut key = Zeroizing::new(Vec::with_capacity(C::key_size() + Md5::output_size()));
    let mut last = Zeroizing::new(Vec::new());
    while key.len() < C::key_size() {
        let digest = Md5::new().chain_update(&*last).chain_update(password);
        let digest = digest.chain_update(salt).finalize();
        last = Zeroizing::new(digest.to_vec());
        key.extend_from_slice(&last);
    }
    key.truncate(C::key_size());
    let cipher = C::new_from_slices(&key, vector).map_err(|_| UnlockError::Malformed)?;
    let opened = cipher.decrypt_padded_vec::<Pkcs7>(sealed);
    let opened = opened.map_err(|_| UnlockError::Password)?;
    // One padding in 256 is right by chance.
    match opened.first() {
        Some(&SEQUENCE) => Ok(opened),
        _ => Err(UnlockError::Password),
    }
}

impl Pkcs12 {
    /// Opens a file. Wire: as 2.6, it is tried without a password first.
    ///
    /// # Errors
    /// The password, or the file, is no good.
    pub fn open(bytes: &[u8], password: Option<&str>) -> Result<Self, UnlockError> {
        let archive = match (Pkcs12Archive::from_pkcs12(bytes, ""), password) {
            (Err(_), Some(password)) => Pkcs12Archive::from_pkcs12(bytes, password),
            (opened, _) => opened,
        };
        let archive = archive.map_err(|error| match error {
            p12_keystore::error::Error::MacError(_)
            | p12_keystore::error::Error::Pkcs5Error(_)
            | p12_keystore::error::Error::UnpadError => UnlockError::Password,
            p12_keystore::error::Error::UnsupportedEncryptionScheme
            | p12_keystore::error::Error::UnsupportedMacAlgorithm => UnlockError::Unsupported,
            _ => UnlockError::Malformed,
        })?;
        let key = archive.keys.first().ok_or(UnlockError::NoIdentity)?;
        let key = Zeroizing::new(key.key.as_der().to_vec());
        let all: Vec<Certificate> = archive.certs.into_iter().map(|bag| bag.cert).collect();
        let own = all.iter().find(|certificate| belongs(certificate, &key));
        let own = own.ok_or(UnlockError::NoIdentity)?;
        let chain = chain(own, &all);
        let others = all.iter().filter(|certificate| *certificate != own);
        Ok(Self {
            chain: certificates(chain.into_iter()),
            key: pem::emit("PRIVATE KEY", &key),
            authorities: certificates(others),
        })
    }
}

/// Whether a certificate is that of the key.
fn belongs(certificate: &Certificate, key: &[u8]) -> bool {
    let chain = vec![CertificateDer::from(certificate.as_der().to_vec())];
    let key = PrivatePkcs8KeyDer::from(key.to_vec()).into();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, key, &provider).is_ok()
}

/// From `own` by the names of issuers, as far as these are no roots.
fn chain<'c>(own: &'c Certificate, all: &'c [Certificate]) -> Vec<&'c Certificate> {
    let mut chain = vec![own];
    while let Some(last) = chain.last()
        && let Some(issuer) = all.iter().find(|it| {
            it.subject() == last.issuer() && it.subject() != it.issuer() && !chain.contains(it)
        })
    {
        chain.push(issuer);
    }
    chain
}

fn certificates<'c>(certificates: impl Iterator<Item = &'c Certificate>) -> Zeroizing<String> {
    let texts = certificates.map(|it| pem::emit("CERTIFICATE", it.as_der()));
    texts.fold(Zeroizing::default(), |mut all, text| {
        all.push_str(&text);
        all
    })
}

/// What the older form stands between.
const OLDER_LABELS: [&str; 2] = ["RSA PRIVATE KEY", "EC PRIVATE KEY"];

/// The header that names cipher and initialisation vector.
const DEK_INFO: &str = "DEK-Info:";

/// Bytes of the vector that salt the key.
const SALT: usize = 8;

/// What every key begins with.
const SEQUENCE: u8 = 0x30;

//! Codes of a second factor that change every 30 seconds, as authenticator apps show them.
//!
//! Source: RFC 6238 with HMAC-SHA-1 and six digits, which is what all of them understand.

use std::collections::HashMap;

use aws_lc_rs::hmac;
use data_encoding::BASE32_NOPAD;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use super::password_file::{entries, is_name};

/// What an app and the server both know.
pub struct Secret(Zeroizing<Vec<u8>>);

/// Why a text is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Not Base32.
    #[error("a secret is written in Base32: letters and the digits 2 to 7")]
    Form,
    /// Too short to be one.
    #[error("a secret has at least {SECRET_MIN} bytes, {} characters of Base32", SECRET_MIN * 8 / 5)]
    Short,
}

impl Secret {
    /// Reads a secret as apps take it: Base32, with or without spaces, hyphens and padding, in any case.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let letters = text.chars().filter(|it| !" -=".contains(*it));
        let upper: Zeroizing<String> = Zeroizing::new(letters.collect::<String>().to_uppercase());
        let bytes = BASE32_NOPAD.decode(upper.as_bytes());
        let bytes = Zeroizing::new(bytes.map_err(|_| SecretError::Form)?);
        if bytes.len() < SECRET_MIN {
            return Err(SecretError::Short);
        }
        Ok(Self(bytes))
    }

    /// Whether `code` is right at this time, in Unix seconds, or was right a step before or after it,
    /// since clocks differ. Gives the step that it is the code of: a code is good once, so a step
    /// that is not later than `used` counts as wrong.
    pub fn verify(&self, code: &str, unix: u64, used: Option<u64>) -> Option<u64> {
        let now = unix / STEP;
        let mut found = (Choice::from(0), 0);
        for step in now.saturating_sub(1)..=now + 1 {
            let right = self.code(step).as_bytes().ct_eq(code.as_bytes());
            found.1 = u64::conditional_select(&found.1, &step, right);
            found.0 |= right;
        }
        let (right, step) = found;
        (bool::from(right) && used.is_none_or(|used| step > used)).then_some(step)
    }

    /// The code of a step. Source: RFC 4226 section 5.3.
    fn code(&self, step: u64) -> Zeroizing<String> {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0);
        let tag = hmac::sign(&key, &step.to_be_bytes());
        let tag = tag.as_ref();
        let offset = usize::from(tag.last().copied().unwrap_or_default() & 0x0f);
        let four = tag
            .get(offset..offset + 4)
            .and_then(|it| it.try_into().ok());
        let number = u32::from_be_bytes(four.unwrap_or_default()) & 0x7fff_ffff;
        Zeroizing::new(format!("{:06}", number % 1_000_000))
    }
}

/// Names with their secrets, a line each: `anna:JBSWY3DPEHPK3PXPJBSWY3DP`. Lines that begin with `#` and empty ones
/// mean nothing.
#[derive(Debug, Default)]
pub struct SecretFile(HashMap<String, Secret>);

impl SecretFile {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// The first line that is none, with its number.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut secrets = HashMap::new();
        for (number, name, secret) in entries(text) {
            let failed = |problem: &dyn std::fmt::Display| format!("line {number}: {problem}");
            let name = name.filter(|name| is_name(name));
            let name = name.ok_or_else(|| failed(&"write `name:secret`"))?;
            let secret = Secret::parse(secret).map_err(|error| failed(&error))?;
            if secrets.insert(name.to_owned(), secret).is_some() {
                return Err(failed(&"there is a line with this name before"));
            }
        }
        Ok(Self(secrets))
    }

    /// The secret of that name.
    pub fn of(&self, name: &str) -> Option<&Secret> {
        self.0.get(name)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret")
    }
}

/// Seconds that a code is shown.
const STEP: u64 = 30;

/// Bytes of the shortest secret: RFC 4226 asks for 16, some sites give out 10.
const SECRET_MIN: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of RFC 6238, appendix B, `12345678901234567890`.
    fn secret() -> Secret {
        Secret::parse("GEZD GNBV-gy3tqojq GEZDGNBVGY3TQOJQ").unwrap()
    }

    #[test]
    fn codes_are_those_of_the_rfc() {
        // The last six of its eight digits.
        for (unix, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(secret().verify(code, unix, None), Some(unix / 30), "{unix}");
        }
    }

    #[test]
    fn a_code_is_good_once_and_in_its_time() {
        let (secret, code) = (secret(), "287082");
        assert_eq!(secret.verify(code, 30, None), Some(1));
        assert_eq!(secret.verify(code, 0, None), Some(1), "a clock behind");
        assert_eq!(secret.verify(code, 89, None), Some(1), "a clock ahead");
        assert_eq!(secret.verify(code, 90, None), None, "too late");
        assert_eq!(secret.verify(code, 59, Some(0)), Some(1));
        assert_eq!(secret.verify(code, 59, Some(1)), None, "again");
        assert_eq!(secret.verify(code, 59, Some(2)), None, "an older one");
    }

    #[test]
    fn what_is_no_code_is_wrong() {
        for code in ["", "287083", "28708", "2870822", "287082 ", "94287082"] {
            assert_eq!(secret().verify(code, 59, None), None, "{code}");
        }
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        for (text, error) in [
            ("", SecretError::Short),
            ("GEZDGNBVGY3TQ", SecretError::Short),
            ("GEZDGNBVGY3TQOJQG", SecretError::Form),
            ("GEZDGNBV", SecretError::Short),
            ("GEZDGNB1GEZDGNBV", SecretError::Form),
        ] {
            assert_eq!(Secret::parse(text).unwrap_err(), error, "{text}");
        }
        assert_eq!(format!("{:?}", secret()), "Secret");
    }
}

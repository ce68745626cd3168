//! A client's login: what it tells the server inside TLS, in every key generation.

use std::fmt;

use zeroize::Zeroizing;

/// A user name with a password, or with the token that the server has given in its place.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name.
    pub username: String,
    /// The password or token.
    pub password: Zeroizing<String>,
}

impl fmt::Debug for Credentials {
    /// Without the secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("Credentials");
        debug
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        let credentials = Credentials {
            username: "anna".to_owned(),
            password: Zeroizing::new("sesame".to_owned()),
        };
        let shown = format!("{credentials:?}");
        assert!(
            shown.contains("anna") && !shown.contains("sesame"),
            "{shown}"
        );
    }
}

//! What is a client's own in a session: its login, which it tells the server inside TLS in every key
//! generation, and what it takes of what the server says.

use std::fmt;
use std::sync::Arc;

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

/// Whether a client's session follows an option that its server pushes.
pub type PullFilter = Arc<dyn Fn(&str) -> bool + Send + Sync>;

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

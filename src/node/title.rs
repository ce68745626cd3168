//! How the program presents itself to the tools that talk to an OpenVPN server.

use std::sync::LazyLock;

/// The title of log and status file. Tools read a three-part OpenVPN version from its second word,
/// so that comes first and our own name after it.
pub fn title() -> &'static str {
    static TITLE: LazyLock<String> = LazyLock::new(|| {
        format!(
            "OpenVPN {COMPATIBLE} ringway {} {}-{} [SSL (rustls)] [AEAD]",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::ARCH,
            std::env::consts::OS,
        )
    });
    &TITLE
}

/// The OpenVPN release whose formats and words are kept.
pub const COMPATIBLE: &str = "2.6.14";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_word_is_a_version_of_three_numbers() {
        let words: Vec<_> = title().split(' ').collect();
        assert_eq!(words[..3], ["OpenVPN", "2.6.14", "ringway"]);
        assert!(!title().contains(','), "status files separate by commas");
    }
}

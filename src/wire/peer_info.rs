//! Peer info: what a client tells of itself in its key-method-2 message.
//!
//! Wire: wire.md section 6.2 (variables, IV_PROTO bits) and section 11 (ciphers).

use crate::limits::PEER_INFO_ENTRIES_MAX;

/// The `KEY=VALUE` lines of a client, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerInfo {
    entries: Vec<(String, String)>,
}

impl PeerInfo {
    /// The lines of `text`. A line without `=`, or whose key is not made of ASCII letters, digits and
    /// `_`, is left out, and so are all after [`PEER_INFO_ENTRIES_MAX`].
    ///
    /// Non-printable characters, blanks and the characters with which a shell starts a substitution
    /// become `_` in values, since these go to logs and to the environment of scripts.
    pub fn parse(text: &str) -> Self {
        let entries = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .filter(|(key, _)| is_key(key))
            .take(PEER_INFO_ENTRIES_MAX)
            .map(|(key, value)| (key.to_owned(), value.chars().map(harmless).collect()))
            .collect();
        Self { entries }
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The value of `key`; the last one counts if a client repeats it.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.iter()
            .filter(|(name, _)| *name == key)
            .last()
            .map(|(_, value)| value)
    }

    /// `IV_VER`, such as `2.6.14`.
    pub fn version(&self) -> Option<&str> {
        self.value("IV_VER")
    }

    /// `IV_PLAT`, such as `linux`.
    pub fn platform(&self) -> Option<&str> {
        self.value("IV_PLAT")
    }

    /// `IV_PROTO`; no bit is set if it is absent or no number.
    pub fn proto(&self) -> Proto {
        Proto(self.number("IV_PROTO").unwrap_or(0))
    }

    /// `IV_MTU`, the largest `tun-mtu` that may be pushed.
    pub fn mtu(&self) -> Option<u32> {
        self.number("IV_MTU")
    }

    /// What the client says about its data ciphers.
    pub fn ciphers(&self) -> ClientCiphers {
        if let Some(list) = self.value("IV_CIPHERS") {
            let names = list.split(':').filter(|name| !name.is_empty());
            return ClientCiphers::Listed(names.map(str::to_owned).collect());
        }
        match self.number("IV_NCP") {
            Some(level) if level >= 2 => ClientCiphers::Gcm,
            _ => ClientCiphers::Unannounced,
        }
    }

    fn number(&self, key: &str) -> Option<u32> {
        self.value(key)?.parse().ok()
    }
}

/// The bits of `IV_PROTO`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proto(pub u32);

impl Proto {
    /// Understands DATA_V2: push `peer-id`.
    pub const fn data_v2(self) -> bool {
        self.bit(1)
    }

    /// Does not send PUSH_REQUEST for its first reply: push as soon as ready.
    pub const fn request_push(self) -> bool {
        self.bit(2)
    }

    /// Can export data keys from TLS.
    pub const fn tls_key_export(self) -> bool {
        self.bit(3)
    }

    /// Understands `AUTH_PENDING,timeout N`.
    pub const fn auth_pending_keyword(self) -> bool {
        self.bit(4)
    }

    /// Is in peer-to-peer mode, pulls nothing.
    pub const fn p2p_negotiation(self) -> bool {
        self.bit(5)
    }

    /// Understands the first form of pushed `dns`.
    pub const fn dns_option(self) -> bool {
        self.bit(6)
    }

    /// Says EXIT on the control channel, and understands `protocol-flags`.
    pub const fn cc_exit_notify(self) -> bool {
        self.bit(7)
    }

    /// Understands `AUTH_FAILED,TEMP`.
    pub const fn auth_fail_temp(self) -> bool {
        self.bit(8)
    }

    /// Can wrap renegotiations with a key of their own.
    pub const fn dynamic_tls_crypt(self) -> bool {
        self.bit(9)
    }

    /// Understands the epoch data format.
    pub const fn data_epoch(self) -> bool {
        self.bit(10)
    }

    /// Understands the current form of pushed `dns`.
    pub const fn dns_option_v2(self) -> bool {
        self.bit(11)
    }

    /// Understands PUSH_UPDATE.
    pub const fn push_update(self) -> bool {
        self.bit(12)
    }

    const fn bit(self, number: u32) -> bool {
        self.0 >> number & 1 == 1
    }
}

/// What a client says about the data ciphers it takes. Wire: wire.md section 11.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientCiphers {
    /// `IV_CIPHERS`: exactly these.
    Listed(Vec<String>),
    /// `IV_NCP=2`: AES-256-GCM and AES-128-GCM, and the cipher of its options string.
    Gcm,
    /// Neither: at most the cipher of its options string is known.
    Unannounced,
}

impl ClientCiphers {
    /// True if the client takes `cipher`, where `options_cipher` is the one of its options string.
    pub fn accept(&self, cipher: &str, options_cipher: Option<&str>) -> bool {
        let configured = || options_cipher.is_some_and(|name| name.eq_ignore_ascii_case(cipher));
        match self {
            Self::Listed(names) => names.iter().any(|name| name.eq_ignore_ascii_case(cipher)),
            Self::Gcm => GCM.iter().any(|name| name.eq_ignore_ascii_case(cipher)) || configured(),
            Self::Unannounced => configured(),
        }
    }

    /// True if the client understands a pushed `cipher`.
    pub const fn take_push(&self) -> bool {
        !matches!(self, Self::Unannounced)
    }
}

fn is_key(key: &str) -> bool {
    !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn harmless(character: char) -> char {
    match character {
        '$' | '(' | '`' => '_',
        _ if character.is_control() || character.is_whitespace() => '_',
        _ => character,
    }
}

const GCM: [&str; 2] = ["AES-256-GCM", "AES-128-GCM"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_captured_peer_info_of_a_2_6_client() {
        let info = PeerInfo::parse(
            "IV_VER=2.6.14\nIV_PLAT=linux\nIV_TCPNL=1\nIV_MTU=1600\nIV_CIPHERS=AES-256-GCM\n\
             IV_PROTO=990\nIV_LZO_STUB=1\nIV_COMP_STUB=1\nIV_COMP_STUBv2=1\n",
        );
        assert_eq!(info.iter().count(), 9);
        assert_eq!(info.version(), Some("2.6.14"));
        assert_eq!(info.platform(), Some("linux"));
        assert_eq!(info.mtu(), Some(1600));
        assert_eq!(info.value("IV_COMP_STUBv2"), Some("1"));
        assert_eq!(info.value("IV_GUI_VER"), None);
        assert_eq!(
            info.ciphers(),
            ClientCiphers::Listed(vec!["AES-256-GCM".into()])
        );
        let proto = info.proto();
        assert_eq!(proto, Proto(990));
        assert!(proto.data_v2() && proto.request_push() && proto.tls_key_export());
        assert!(proto.auth_pending_keyword() && proto.dns_option() && proto.cc_exit_notify());
        assert!(proto.auth_fail_temp() && proto.dynamic_tls_crypt());
        assert!(!proto.p2p_negotiation() && !proto.data_epoch());
        assert!(!proto.dns_option_v2() && !proto.push_update());
    }

    #[test]
    fn each_bit_of_iv_proto_has_one_accessor() {
        let accessors: [fn(Proto) -> bool; 12] = [
            Proto::data_v2,
            Proto::request_push,
            Proto::tls_key_export,
            Proto::auth_pending_keyword,
            Proto::p2p_negotiation,
            Proto::dns_option,
            Proto::cc_exit_notify,
            Proto::auth_fail_temp,
            Proto::dynamic_tls_crypt,
            Proto::data_epoch,
            Proto::dns_option_v2,
            Proto::push_update,
        ];
        for (index, accessor) in accessors.iter().enumerate() {
            assert!(accessor(Proto(2 << index)), "bit {}", index + 1);
            assert!(!accessor(Proto(!(2 << index))), "bit {}", index + 1);
        }
    }

    #[test]
    fn hostile_lines_are_left_out_or_made_harmless() {
        let mut text = String::from(
            "no equals sign\n=empty key\nBAD KEY=1\nIV_SSL=OpenSSL 3.0.2\nUV_X=$(reboot)`\x1b[31m\r\n\
             IV_VER=1\nIV_VER=2\nIV_PROTO=many\nIV_MTU=-1\n",
        );
        let info = PeerInfo::parse(&text);
        assert_eq!(info.value("IV_SSL"), Some("OpenSSL_3.0.2"));
        assert_eq!(info.value("UV_X"), Some("__reboot)__[31m"));
        assert_eq!(info.version(), Some("2"));
        assert_eq!((info.proto(), info.mtu()), (Proto(0), None));
        assert_eq!(info.iter().count(), 6);
        for number in 0..2 * PEER_INFO_ENTRIES_MAX {
            text.push_str(&format!("UV_{number}=1\n"));
        }
        assert_eq!(PeerInfo::parse(&text).iter().count(), PEER_INFO_ENTRIES_MAX);
    }

    #[test]
    fn which_ciphers_a_client_takes() {
        let table = [
            // peer info, cipher of the options string, cipher asked for, taken
            (
                "IV_CIPHERS=AES-128-GCM:CHACHA20-POLY1305",
                None,
                "chacha20-poly1305",
                true,
            ),
            (
                "IV_CIPHERS=AES-128-GCM",
                Some("AES-256-GCM"),
                "AES-256-GCM",
                false,
            ),
            (
                "IV_CIPHERS=AES-128-GCM\nIV_NCP=2",
                None,
                "AES-256-GCM",
                false,
            ),
            ("IV_CIPHERS=", None, "", false),
            ("IV_NCP=2", None, "AES-256-GCM", true),
            ("IV_NCP=2", None, "AES-128-GCM", true),
            ("IV_NCP=2", None, "CHACHA20-POLY1305", false),
            ("IV_NCP=2", Some("BF-CBC"), "BF-CBC", true),
            ("IV_NCP=1", None, "AES-256-GCM", false),
            ("", Some("AES-256-GCM"), "AES-256-GCM", true),
            ("", Some("BF-CBC"), "AES-256-GCM", false),
            ("", None, "AES-256-GCM", false),
        ];
        for (text, options, cipher, taken) in table {
            let ciphers = PeerInfo::parse(text).ciphers();
            assert_eq!(ciphers.accept(cipher, options), taken, "{text} {cipher}");
            assert_eq!(
                ciphers.take_push(),
                text.contains("CIPHERS") || text == "IV_NCP=2"
            );
        }
    }
}

//! The options string ("OCC") in which each side describes its configuration to the other.
//!
//! Wire: wire.md section 6.1. Since 2.6 a difference is only logged; from an old client's string two
//! items still matter, its cipher and whether it frames for compression.

use std::fmt;

use super::{FragmentHeader, Role};

/// What our side tells of itself. [`fmt::Display`] gives the string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionsString<'a> {
    /// Who is speaking.
    pub role: Role,
    /// True over TCP.
    pub tcp: bool,
    /// The MTU of the tunnel interface.
    pub tun_mtu: u32,
    /// Whether packets are framed for compression, in whatever way.
    pub framed: bool,
    /// Whether packets are cut, and have a header for it.
    pub fragments: bool,
    /// The cipher, or `None` to leave it to negotiation as 2.6 does.
    pub cipher: Option<&'a str>,
    /// Key bits of the cipher.
    pub keysize: u32,
    /// The digest of `--auth`, upper case.
    pub auth: &'a str,
    /// `Some` with tls-auth; inside, its direction if it has one.
    pub tls_auth: Option<Option<u8>>,
}

impl OptionsString<'_> {
    /// What stock 2.6 sends over UDP with nothing configured.
    pub const fn stock(role: Role) -> Self {
        Self {
            role,
            tcp: false,
            tun_mtu: 1500,
            framed: false,
            fragments: false,
            cipher: None,
            keysize: 128,
            auth: "SHA1",
            tls_auth: None,
        }
    }
}

impl fmt::Display for OptionsString<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proto = match (self.tcp, self.role) {
            (false, _) => "UDPv4",
            (true, Role::Server) => "TCPv4_SERVER",
            (true, Role::Client) => "TCPv4_CLIENT",
        };
        let link_mtu = self.tun_mtu + LINK_OVERHEAD + if self.tcp { 2 } else { 0 };
        let link_mtu = link_mtu + u32::from(self.framed);
        let link_mtu = match self.fragments {
            true => link_mtu + FragmentHeader::LEN as u32,
            false => link_mtu,
        };
        write!(
            formatter,
            "V4,dev-type tun,link-mtu {link_mtu},tun-mtu {},proto {proto}",
            self.tun_mtu
        )?;
        if self.framed {
            formatter.write_str(",comp-lzo")?;
        }
        if self.fragments {
            formatter.write_str(",mtu-dynamic")?;
        }
        if let Some(Some(direction)) = self.tls_auth {
            write!(formatter, ",keydir {direction}")?;
        }
        if let Some(cipher) = self.cipher {
            write!(formatter, ",cipher {cipher}")?;
        }
        write!(formatter, ",auth {},keysize {}", self.auth, self.keysize)?;
        if self.tls_auth.is_some() {
            formatter.write_str(",tls-auth")?;
        }
        formatter.write_str(match self.role {
            Role::Server => ",key-method 2,tls-server",
            Role::Client => ",key-method 2,tls-client",
        })
    }
}

/// The cipher that a peer's options string names, `none` for the null cipher.
pub fn options_cipher(options: &str) -> Option<&str> {
    let name = options
        .split(',')
        .find_map(|item| item.strip_prefix("cipher "))?;
    Some(if name == "[null-cipher]" {
        "none"
    } else {
        name
    })
}

/// True if a peer's options string says that it frames packets for compression.
pub fn options_compress(options: &str) -> bool {
    options.split(',').skip(1).any(|item| item == "comp-lzo")
}

/// What 2.x adds to the tunnel's MTU for its fallback cipher (BF-CBC with SHA1) over UDP.
const LINK_OVERHEAD: u32 = 41;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_observed_strings_of_stock_2_6() {
        assert_eq!(
            OptionsString::stock(Role::Server).to_string(),
            "V4,dev-type tun,link-mtu 1541,tun-mtu 1500,proto UDPv4,auth SHA1,keysize 128,\
             key-method 2,tls-server"
        );
        assert_eq!(
            OptionsString::stock(Role::Client).to_string(),
            "V4,dev-type tun,link-mtu 1541,tun-mtu 1500,proto UDPv4,auth SHA1,keysize 128,\
             key-method 2,tls-client"
        );
    }

    #[test]
    fn every_item_stands_at_its_place() {
        let options = OptionsString {
            tcp: true,
            tun_mtu: 1400,
            framed: true,
            fragments: true,
            cipher: Some("AES-256-GCM"),
            keysize: 256,
            auth: "SHA256",
            tls_auth: Some(Some(1)),
            ..OptionsString::stock(Role::Client)
        };
        assert_eq!(
            options.to_string(),
            "V4,dev-type tun,link-mtu 1448,tun-mtu 1400,proto TCPv4_CLIENT,comp-lzo,mtu-dynamic,\
             keydir 1,cipher AES-256-GCM,auth SHA256,keysize 256,tls-auth,key-method 2,tls-client"
        );
        let undirected = OptionsString {
            tls_auth: Some(None),
            ..OptionsString::stock(Role::Server)
        };
        assert!(
            undirected
                .to_string()
                .contains("proto UDPv4,auth SHA1,keysize 128,tls-auth,key")
        );
    }

    #[test]
    fn what_matters_in_a_peers_string() {
        let table = [
            (
                "V4,dev-type tun,cipher BF-CBC,auth SHA1",
                Some("BF-CBC"),
                false,
            ),
            (
                "V4,comp-lzo,cipher [null-cipher],auth SHA1",
                Some("none"),
                true,
            ),
            ("V4,auth SHA1,keysize 128", None, false),
            ("V4,comp-lzo-not,ciphers X", None, false),
            ("", None, false),
        ];
        for (options, cipher, compress) in table {
            assert_eq!(options_cipher(options), cipher, "{options}");
            assert_eq!(options_compress(options), compress, "{options}");
        }
    }
}

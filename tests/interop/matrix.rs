//! Every control-channel wrapping with every TLS version, data cipher and outer family.
//!
//! The fast tier is a pairwise-covering choice of the rows: any two values of any two columns
//! stand together in one of them. The full tier is all the others.

use crate::client::{Client, ClientConfig};
use crate::network::{LAN_V4, LAN_V6, server_v6};
use crate::pki::{static_key, tls_crypt_v2_keys};
use crate::server::{PORT, Server, ServerConfig, Site};
use crate::traffic::transfer_both_ways;

use Cipher::{Aes128Gcm, Aes256Gcm, ChaCha20};
use Outer::{V4, V6};
use Tls::{V12, V13};
use Wrapping::{AuthSha1, AuthSha256, AuthSha512, Crypt, CryptV2, Plain};

/// How control packets are wrapped.
#[derive(Clone, Copy)]
pub(crate) enum Wrapping {
    Plain,
    /// tls-auth with the default digest and one key for both directions.
    AuthSha1,
    /// tls-auth with a key for each direction, chosen by the directive's second word.
    AuthSha256,
    /// tls-auth from an inline block, direction by `key-direction`.
    AuthSha512,
    Crypt,
    /// tls-crypt-v2, the server's key in a file and the client's in a block.
    CryptV2,
}

#[derive(Clone, Copy)]
enum Tls {
    V12,
    V13,
}

#[derive(Clone, Copy)]
enum Cipher {
    Aes256Gcm,
    Aes128Gcm,
    ChaCha20,
}

#[derive(Clone, Copy)]
enum Outer {
    V4,
    V6,
}

impl Wrapping {
    pub(crate) fn apply(
        self,
        site: &Site,
        server: ServerConfig,
        client: ClientConfig,
    ) -> (ServerConfig, ClientConfig) {
        let key = static_key();
        let path = site.topology.write("static.key", &key);
        let path = path.display();
        match self {
            Plain => (server, client),
            AuthSha1 => (
                server.line(format!("tls-auth {path}")).line("auth SHA1"),
                client.line(format!("tls-auth {path}")).line("auth SHA1"),
            ),
            AuthSha256 => (
                server
                    .line(format!("tls-auth {path} 0"))
                    .line("auth SHA256"),
                client
                    .line(format!("tls-auth {path} 1"))
                    .line("auth SHA256"),
            ),
            AuthSha512 => (
                server
                    .block("tls-auth", &key)
                    .line("key-direction 0")
                    .line("auth SHA512"),
                client
                    .block("tls-auth", &key)
                    .line("key-direction 1")
                    .line("auth SHA512"),
            ),
            Crypt => (
                server.line(format!("tls-crypt {path}")),
                client.line(format!("tls-crypt {path}")),
            ),
            CryptV2 => {
                let (server_key, client_key) = tls_crypt_v2_keys(&site.topology);
                let path = site.topology.write("server-v2.key", server_key);
                (
                    server.line(format!("tls-crypt-v2 {}", path.display())),
                    client.block("tls-crypt-v2", &client_key),
                )
            }
        }
    }
}

impl Cipher {
    fn name(self) -> &'static str {
        match self {
            Aes256Gcm => "AES-256-GCM",
            Aes128Gcm => "AES-128-GCM",
            ChaCha20 => "CHACHA20-POLY1305",
        }
    }
}

/// Connects, and checks what was agreed, that IPv4 and IPv6 pass in both directions, and that 10 MB
/// arrive as they were sent.
fn connects(wrapping: Wrapping, tls: Tls, cipher: Cipher, outer: Outer) {
    let site = Site::new(1);
    let server = site
        .server_config()
        .line(format!("data-ciphers {}", cipher.name()));
    let mut client = ClientConfig::new(&site, 0, "alice")
        .line("data-ciphers AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305");
    let control = match tls {
        V12 => {
            client = client.line("tls-version-max 1.2");
            "Control Channel: TLSv1.2,"
        }
        V13 => {
            client = client.line("tls-version-min 1.3");
            "Control Channel: TLSv1.3,"
        }
    };
    if matches!(outer, V6) {
        client = client.remote(server_v6(0), PORT);
    }
    let (server, client) = wrapping.apply(&site, server, client);

    let mut server = Server::start(&site, &server);
    let client = Client::connect(&site, &client);
    client.process.wait_for(control);
    client
        .process
        .wait_for(&format!("cipher '{}'", cipher.name()));
    server
        .process
        .wait_for("[alice] Peer Connection Initiated with [AF_INET");
    client.assert_reaches_all(&site);
    let inner = if matches!(outer, V4) { LAN_V6 } else { LAN_V4 };
    transfer_both_ways(client.namespace(&site), &site.topology.lan, inner);
    assert_eq!(server.stop().code(), Some(0), "the server's exit code");
}

macro_rules! connects {
    (fast $($name:ident: $($value:ident),*;)*) => {
        $(
            #[test]
            fn $name() {
                connects($($value),*);
            }
        )*
    };
    (full $($name:ident: $($value:ident),*;)*) => {
        $(
            #[test]
            #[ignore = "full tier"]
            fn $name() {
                connects($($value),*);
            }
        )*
    };
}

connects! { fast
    plain_tls12_aes256_over_v4: Plain, V12, Aes256Gcm, V4;
    plain_tls12_chacha_over_v4: Plain, V12, ChaCha20, V4;
    plain_tls13_aes128_over_v6: Plain, V13, Aes128Gcm, V6;
    auth_sha1_tls12_aes128_over_v6: AuthSha1, V12, Aes128Gcm, V6;
    auth_sha1_tls13_aes256_over_v4: AuthSha1, V13, Aes256Gcm, V4;
    auth_sha1_tls13_chacha_over_v6: AuthSha1, V13, ChaCha20, V6;
    auth_sha256_tls12_aes256_over_v6: AuthSha256, V12, Aes256Gcm, V6;
    auth_sha256_tls12_aes128_over_v4: AuthSha256, V12, Aes128Gcm, V4;
    auth_sha256_tls13_chacha_over_v6: AuthSha256, V13, ChaCha20, V6;
    auth_sha512_tls12_aes256_over_v6: AuthSha512, V12, Aes256Gcm, V6;
    auth_sha512_tls13_aes128_over_v4: AuthSha512, V13, Aes128Gcm, V4;
    auth_sha512_tls13_chacha_over_v6: AuthSha512, V13, ChaCha20, V6;
    crypt_tls12_aes256_over_v6: Crypt, V12, Aes256Gcm, V6;
    crypt_tls12_aes128_over_v4: Crypt, V12, Aes128Gcm, V4;
    crypt_tls13_chacha_over_v6: Crypt, V13, ChaCha20, V6;
    crypt_v2_tls12_aes256_over_v6: CryptV2, V12, Aes256Gcm, V6;
    crypt_v2_tls12_chacha_over_v4: CryptV2, V12, ChaCha20, V4;
    crypt_v2_tls13_aes128_over_v4: CryptV2, V13, Aes128Gcm, V4;
}

connects! { full
    plain_tls12_aes256_over_v6: Plain, V12, Aes256Gcm, V6;
    plain_tls12_aes128_over_v4: Plain, V12, Aes128Gcm, V4;
    plain_tls12_aes128_over_v6: Plain, V12, Aes128Gcm, V6;
    plain_tls12_chacha_over_v6: Plain, V12, ChaCha20, V6;
    plain_tls13_aes256_over_v4: Plain, V13, Aes256Gcm, V4;
    plain_tls13_aes256_over_v6: Plain, V13, Aes256Gcm, V6;
    plain_tls13_aes128_over_v4: Plain, V13, Aes128Gcm, V4;
    plain_tls13_chacha_over_v4: Plain, V13, ChaCha20, V4;
    plain_tls13_chacha_over_v6: Plain, V13, ChaCha20, V6;
    auth_sha1_tls12_aes256_over_v4: AuthSha1, V12, Aes256Gcm, V4;
    auth_sha1_tls12_aes256_over_v6: AuthSha1, V12, Aes256Gcm, V6;
    auth_sha1_tls12_aes128_over_v4: AuthSha1, V12, Aes128Gcm, V4;
    auth_sha1_tls12_chacha_over_v4: AuthSha1, V12, ChaCha20, V4;
    auth_sha1_tls12_chacha_over_v6: AuthSha1, V12, ChaCha20, V6;
    auth_sha1_tls13_aes256_over_v6: AuthSha1, V13, Aes256Gcm, V6;
    auth_sha1_tls13_aes128_over_v4: AuthSha1, V13, Aes128Gcm, V4;
    auth_sha1_tls13_aes128_over_v6: AuthSha1, V13, Aes128Gcm, V6;
    auth_sha1_tls13_chacha_over_v4: AuthSha1, V13, ChaCha20, V4;
    auth_sha256_tls12_aes256_over_v4: AuthSha256, V12, Aes256Gcm, V4;
    auth_sha256_tls12_aes128_over_v6: AuthSha256, V12, Aes128Gcm, V6;
    auth_sha256_tls12_chacha_over_v4: AuthSha256, V12, ChaCha20, V4;
    auth_sha256_tls12_chacha_over_v6: AuthSha256, V12, ChaCha20, V6;
    auth_sha256_tls13_aes256_over_v4: AuthSha256, V13, Aes256Gcm, V4;
    auth_sha256_tls13_aes256_over_v6: AuthSha256, V13, Aes256Gcm, V6;
    auth_sha256_tls13_aes128_over_v4: AuthSha256, V13, Aes128Gcm, V4;
    auth_sha256_tls13_aes128_over_v6: AuthSha256, V13, Aes128Gcm, V6;
    auth_sha256_tls13_chacha_over_v4: AuthSha256, V13, ChaCha20, V4;
    auth_sha512_tls12_aes256_over_v4: AuthSha512, V12, Aes256Gcm, V4;
    auth_sha512_tls12_aes128_over_v4: AuthSha512, V12, Aes128Gcm, V4;
    auth_sha512_tls12_aes128_over_v6: AuthSha512, V12, Aes128Gcm, V6;
    auth_sha512_tls12_chacha_over_v4: AuthSha512, V12, ChaCha20, V4;
    auth_sha512_tls12_chacha_over_v6: AuthSha512, V12, ChaCha20, V6;
    auth_sha512_tls13_aes256_over_v4: AuthSha512, V13, Aes256Gcm, V4;
    auth_sha512_tls13_aes256_over_v6: AuthSha512, V13, Aes256Gcm, V6;
    auth_sha512_tls13_aes128_over_v6: AuthSha512, V13, Aes128Gcm, V6;
    auth_sha512_tls13_chacha_over_v4: AuthSha512, V13, ChaCha20, V4;
    crypt_tls12_aes256_over_v4: Crypt, V12, Aes256Gcm, V4;
    crypt_tls12_aes128_over_v6: Crypt, V12, Aes128Gcm, V6;
    crypt_tls12_chacha_over_v4: Crypt, V12, ChaCha20, V4;
    crypt_tls12_chacha_over_v6: Crypt, V12, ChaCha20, V6;
    crypt_tls13_aes256_over_v4: Crypt, V13, Aes256Gcm, V4;
    crypt_tls13_aes256_over_v6: Crypt, V13, Aes256Gcm, V6;
    crypt_tls13_aes128_over_v4: Crypt, V13, Aes128Gcm, V4;
    crypt_tls13_aes128_over_v6: Crypt, V13, Aes128Gcm, V6;
    crypt_tls13_chacha_over_v4: Crypt, V13, ChaCha20, V4;
    crypt_v2_tls12_aes256_over_v4: CryptV2, V12, Aes256Gcm, V4;
    crypt_v2_tls12_aes128_over_v4: CryptV2, V12, Aes128Gcm, V4;
    crypt_v2_tls12_aes128_over_v6: CryptV2, V12, Aes128Gcm, V6;
    crypt_v2_tls12_chacha_over_v6: CryptV2, V12, ChaCha20, V6;
    crypt_v2_tls13_aes256_over_v4: CryptV2, V13, Aes256Gcm, V4;
    crypt_v2_tls13_aes256_over_v6: CryptV2, V13, Aes256Gcm, V6;
    crypt_v2_tls13_aes128_over_v6: CryptV2, V13, Aes128Gcm, V6;
    crypt_v2_tls13_chacha_over_v4: CryptV2, V13, ChaCha20, V4;
    crypt_v2_tls13_chacha_over_v6: CryptV2, V13, ChaCha20, V6;
}

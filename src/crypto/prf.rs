//! The key derivation of clients that cannot export keys from TLS: the pseudo-random function of TLS 1.0.
//!
//! Wire: wire.md section 7.2; RFC 2246 section 5.

use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use md5::Md5;
use sha1::Sha1;
use zeroize::Zeroizing;

use crate::wire::SessionId;

/// What both sides have exchanged for one key generation.
#[derive(Clone, Copy)]
pub struct PrfInput<'a> {
    /// The client's secret.
    pub pre_master: &'a [u8; 48],
    /// The client's seed of the master secret.
    pub client_random1: &'a [u8; 32],
    /// The client's seed of the key expansion.
    pub client_random2: &'a [u8; 32],
    /// The server's seed of the master secret.
    pub server_random1: &'a [u8; 32],
    /// The server's seed of the key expansion.
    pub server_random2: &'a [u8; 32],
    /// The client's session id, the same for all generations.
    pub client_session: SessionId,
    /// The server's session id.
    pub server_session: SessionId,
}

/// The secret that the pre-master secret and the first pair of seeds give.
pub fn master_secret(input: &PrfInput<'_>) -> Zeroizing<[u8; 48]> {
    let seed = [
        b"OpenVPN master secret".as_slice(),
        input.client_random1,
        input.server_random1,
    ];
    let mut master = Zeroizing::new([0; 48]);
    prf(input.pre_master, &seed, master.as_mut_slice());
    master
}

/// The 256 bytes of data keys that the master secret and the second pair of seeds give.
pub fn key_expansion(master: &[u8; 48], input: &PrfInput<'_>) -> Zeroizing<[u8; 256]> {
    let seed = [
        b"OpenVPN key expansion".as_slice(),
        input.client_random2,
        input.server_random2,
        &input.client_session.0,
        &input.server_session.0,
    ];
    let mut keys = Zeroizing::new([0; 256]);
    prf(master, &seed, keys.as_mut_slice());
    keys
}

/// Fills `out`; the label is the first part of `seed`.
fn prf(secret: &[u8], seed: &[&[u8]], out: &mut [u8]) {
    // The halves share the middle byte of a secret of odd length.
    let half = secret.len().div_ceil(2);
    let (first, _) = secret.split_at(half);
    let (_, second) = secret.split_at(secret.len() - half);
    out.fill(0);
    xor_expansion::<Hmac<Md5>>(first, seed, out);
    xor_expansion::<Hmac<Sha1>>(second, seed, out);
}

/// XORs `P_hash(secret, seed)` into `out`.
fn xor_expansion<M: Mac + KeyInit>(secret: &[u8], seed: &[&[u8]], out: &mut [u8]) {
    let mac = |parts: &[&[u8]]| {
        // An HMAC takes keys of any length.
        #[allow(clippy::expect_used)]
        let mut mac = <M as KeyInit>::new_from_slice(secret).expect("a key of any length");
        for part in parts {
            mac.update(part);
        }
        Zeroizing::new(mac.finalize().into_bytes().to_vec())
    };
    let mut chain = mac(seed);
    for chunk in out.chunks_mut(M::output_size()) {
        let mut parts = vec![chain.as_slice()];
        parts.extend_from_slice(seed);
        for (byte, expansion) in chunk.iter_mut().zip(mac(&parts).iter()) {
            *byte ^= expansion;
        }
        chain = mac(&[&chain]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::vectors::{hex, unhex};

    fn hmac<M: Mac + KeyInit>(key: &[u8], data: &[u8]) -> String {
        let mut mac = <M as KeyInit>::new_from_slice(key).unwrap();
        mac.update(data);
        hex(&mac.finalize().into_bytes())
    }

    #[test]
    fn rfc_2202_hmacs() {
        let what = b"what do ya want for nothing?";
        for (key, data, md5) in [
            (
                &[0x0b; 16][..],
                &b"Hi There"[..],
                "9294727a3638bb1c13f48ef8158bfc9d",
            ),
            (b"Jefe", what, "750c783e6ab0b503eaa86e310a5db738"),
            (&[0xaa; 16], &[0xdd; 50], "56be34521d144c88dbb8c733f0e8b3f6"),
        ] {
            assert_eq!(hmac::<Hmac<Md5>>(key, data), md5);
        }
        for (key, data, sha1) in [
            (
                &[0x0b; 20][..],
                &b"Hi There"[..],
                "b617318655057264e28bc0b6fb378c8ef146be00",
            ),
            (b"Jefe", what, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (
                &[0xaa; 20],
                &[0xdd; 50],
                "125d7342b9ac11cd91a39af48aa17b4f63f175d3",
            ),
        ] {
            assert_eq!(hmac::<Hmac<Sha1>>(key, data), sha1);
        }
    }

    /// The vector with which TLS 1.0 implementations have been checked since the protocol's days.
    #[test]
    fn the_public_vector_of_the_tls_1_0_function() {
        let mut out = [0; 104];
        prf(&[0xab; 48], &[b"PRF Testvector", &[0xcd; 64]], &mut out);
        assert_eq!(
            hex(&out),
            "d3d4d1e349b5d515044666d51de32bab258cb521b6b053463e354832fd976754\
             443bcf9a296519bc289abcbc1187e4ebd31e602353776c408aafb74cbc85eff6\
             9255f9788faa184cbb957a9819d84a5d7eb006eb459d3ae8de9810454b8b2d8f\
             1afbc655a8c9a013"
        );
    }

    #[test]
    fn halves_of_an_odd_secret_share_their_middle_byte() {
        let mut out = [0; 40];
        prf(b"abcde", &[b"label", b"seed"], &mut out);
        let mut wanted = [0; 40];
        xor_expansion::<Hmac<Md5>>(b"abc", &[b"labelseed"], &mut wanted);
        xor_expansion::<Hmac<Sha1>>(b"cde", &[b"labelseed"], &mut wanted);
        assert_eq!(out, wanted);
    }

    #[test]
    fn the_keys_of_a_captured_session() {
        // Appendix A.5.
        let pre_master = unhex(
            "aa61d4cbfecddbcf46ee4bdb28f14d6f099700c5eeb31983406012631e7863f7\
             d0facaa7d37952ebbac95fd62c16f478",
        );
        let client1 = unhex("a6351790bc28beef9d82d9943164c468892d9418020dd301502560ea7e7915a1");
        let client2 = unhex("2fda57778827c77683f941ca320fad746f1f7960d360ecc9abc54cf3c4194457");
        let server1 = unhex("c1c455b57c0cba4b4f91baf435ba339168531cc83cbdf4a05e3427e769de45d6");
        let server2 = unhex("4dacf21ae662ef5150b9a29b21e1e414415849b8f1f8fe4e0d69dac0dd497e4c");
        let input = PrfInput {
            pre_master: &pre_master,
            client_random1: &client1,
            client_random2: &client2,
            server_random1: &server1,
            server_random2: &server2,
            client_session: SessionId(unhex("2d8beb3ceb3a8c2f")),
            server_session: SessionId(unhex("baa5f9c8c39f090c")),
        };
        let keys = key_expansion(&master_secret(&input), &input);
        for (at, wanted) in [
            (
                0,
                "478b652f2e1cfa437add7e8ce06c9066e1bfe87dd072c17bcef45c98e3ea5f69",
            ),
            (64, "f8fdc4df23857ca49786b0964592d8e529f689ba"),
            (
                128,
                "0dbf34ca8ab85ef164d8bbc56d5ca099982f5a7a343bc0774b3f4d53c98a3580",
            ),
            (192, "5d31df6c4b7550ff65276fee787c0fe6e200ac17"),
        ] {
            assert_eq!(hex(&keys[at..at + wanted.len() / 2]), wanted);
        }
    }
}

//! Sealing and opening one packet: what the library takes for it, and what our keys add.
//!
//! The library's rows have the nonce and the additional data that a data packet has. `out of place` is
//! the call that our keys make: from one buffer into another, the tag apart.

use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{
    AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce,
    UnboundKey,
};
use ringway::crypto::{DataCipher, KeyMaterial, Role, SealKey};
use ringway::time::Monotonic;
use ringway::wire::{DataHeader, KeyId, PeerId};

use super::{Figure, Rounds, SIZES};

/// All ciphers and sizes.
pub(super) fn measure(rounds: &Rounds) -> Result<Vec<Figure>, String> {
    let mut figures = Vec::new();
    for cipher in DataCipher::USUAL {
        for size in SIZES {
            let library = Library::new(cipher)?;
            figures.extend(library.measure(rounds, size)?);
            figures.push(seal(rounds, cipher, size)?);
            figures.push(open(rounds, cipher, size)?);
        }
    }
    Ok(figures)
}

/// Key material that both ends know.
pub(super) fn material() -> Result<KeyMaterial, String> {
    KeyMaterial::from_exporter([7; 256]).map_err(|zero| zero.to_string())
}

/// The library alone.
struct Library {
    cipher: DataCipher,
    key: LessSafeKey,
    number: u32,
}

impl Library {
    fn new(cipher: DataCipher) -> Result<Self, String> {
        let algorithm = algorithm(cipher).ok_or("an AEAD is measured")?;
        let bytes = [7; 32];
        let bytes = bytes.get(..cipher.key_len()).ok_or("a longer key")?;
        let key = UnboundKey::new(algorithm, bytes).map_err(|error| error.to_string())?;
        Ok(Self {
            cipher,
            key: LessSafeKey::new(key),
            number: 0,
        })
    }

    fn measure(mut self, rounds: &Rounds, size: usize) -> Result<[Figure; 4], String> {
        let name = |what: &str| format!("aws-lc-rs, {what}, {}", self.cipher.name());
        let names = [
            "seal out of place",
            "seal in place",
            "open out of place",
            "open in place",
        ];
        let [out_of_place, in_place, opened, opened_in_place] = names.map(name);
        let (plain, mut sealed) = (vec![0x5a; size], vec![0; size]);
        let (mut tag, bytes) = ([0; 16], Some(size));
        let seal = rounds.time(out_of_place, bytes, |count| {
            self.repeat(count, |key, nonce, aad| {
                let (plain, out) = (black_box(&plain), &mut sealed);
                key.seal_out_of_place_scatter(nonce, Aad::from(aad), plain, out, &[], &mut tag)
            })
        })?;
        let mut in_out = plain.clone();
        let seal_in_place = rounds.time(in_place, bytes, |count| {
            self.repeat(count, |key, nonce, aad| {
                let content = black_box(&mut in_out);
                key.seal_in_place_separate_tag(nonce, Aad::from(aad), content)
                    .map(|tag| {
                        let _tag = black_box(tag);
                    })
            })
        })?;
        // One packet, again and again: the library keeps no count of packets.
        let nonce = || Nonce::assume_unique_for_key([9; 12]);
        let aad = [0x48; 8];
        self.key
            .seal_out_of_place_scatter(nonce(), Aad::from(aad), &plain, &mut sealed, &[], &mut tag)
            .map_err(|error| error.to_string())?;
        let mut out = vec![0; size];
        let open = rounds.time(opened, bytes, |count| {
            self.repeat(count, |key, _, _| {
                let sealed = black_box(&sealed);
                key.open_separate_gather(nonce(), Aad::from(aad), sealed, &tag, &mut out)
            })
        })?;
        let mut whole = [&sealed[..], &tag[..]].concat();
        let pristine = whole.clone();
        let open_in_place = rounds.time_part(opened_in_place, bytes, |count| {
            let mut took = Duration::ZERO;
            for _ in 0..count {
                whole.copy_from_slice(&pristine);
                let start = Instant::now();
                let content = black_box(&mut whole);
                let opened = self.key.open_in_place(nonce(), Aad::from(aad), content);
                opened.map_err(|error| error.to_string())?;
                took += start.elapsed();
            }
            Ok((took, count))
        })?;
        Ok([seal, seal_in_place, open, open_in_place])
    }

    /// So many calls, each with a nonce and additional data of its own.
    fn repeat<E: std::fmt::Display>(
        &mut self,
        count: usize,
        mut call: impl FnMut(&LessSafeKey, Nonce, [u8; 8]) -> Result<(), E>,
    ) -> Result<(), String> {
        for _ in 0..count {
            self.number = self.number.wrapping_add(1);
            let id = self.number.to_be_bytes();
            let (mut nonce, mut aad) = ([7; 12], [0x48; 8]);
            nonce[..4].copy_from_slice(&id);
            aad[4..].copy_from_slice(&id);
            let nonce = Nonce::assume_unique_for_key(nonce);
            call(&self.key, nonce, aad).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

fn seal(rounds: &Rounds, cipher: DataCipher, size: usize) -> Result<Figure, String> {
    let mut key = material()?.split(cipher, Role::Client).seal;
    let (plain, mut out) = (vec![0x5a; size], vec![0; size + SealKey::OVERHEAD]);
    let name = format!("SealKey, {}", cipher.name());
    rounds.time(name, Some(size), |count| {
        for _ in 0..count {
            let sealed = key.seal(HEADER, black_box(&plain), &mut out);
            sealed.map_err(|error| error.to_string())?;
        }
        Ok(())
    })
}

/// A replay window takes each packet once: a batch is sealed, and then opened against the clock.
fn open(rounds: &Rounds, cipher: DataCipher, size: usize) -> Result<Figure, String> {
    let mut sealing = material()?.split(cipher, Role::Client).seal;
    let mut opening = material()?.split(cipher, Role::Server).open;
    let plain = vec![0x5a; size];
    let mut sealed = vec![vec![0; size + SealKey::OVERHEAD]; BATCH];
    let mut out = vec![0; size];
    let name = format!("OpenKey, {}", cipher.name());
    rounds.time_part(name, Some(size), |count| {
        let mut took = Duration::ZERO;
        for _ in 0..count.div_ceil(BATCH) {
            for datagram in &mut sealed {
                let length = sealing.seal(HEADER, &plain, datagram);
                let length = length.map_err(|error| error.to_string())?;
                datagram.truncate(length);
            }
            let start = Instant::now();
            for datagram in &sealed {
                let opened = opening.open(Monotonic::ZERO, black_box(datagram), &mut out);
                opened.map_err(|error| error.to_string())?;
            }
            took += start.elapsed();
        }
        Ok((took, count.div_ceil(BATCH) * BATCH))
    })
}

const fn algorithm(cipher: DataCipher) -> Option<&'static Algorithm> {
    match cipher {
        DataCipher::Aes256Gcm => Some(&AES_256_GCM),
        DataCipher::Aes192Gcm => Some(&AES_192_GCM),
        DataCipher::Aes128Gcm => Some(&AES_128_GCM),
        DataCipher::ChaCha20Poly1305 => Some(&CHACHA20_POLY1305),
        _ => None,
    }
}

const HEADER: DataHeader = DataHeader::V2 {
    key_id: KeyId::FIRST,
    peer_id: PeerId::NONE,
};

/// Packets that are opened in one go.
const BATCH: usize = 64;

//! What a tunnel keeps of its TLS 1.3 connection after the handshake: two keys and two counters.
//!
//! A connection of the library takes eight kilobytes for as long as it lives, and a tunnel says a few
//! sentences in it in its whole life. So the library shakes hands, and its keys come here.
//!
//! Wire: RFC 8446, sections 5.1 to 5.3 and 6. The peer can't renew its traffic keys here: no peer does so
//! before many millions of records, and one that does is told that it is not expected.

use std::collections::VecDeque;

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::{AlertDescription, ConnectionTrafficSecrets, ExtractedSecrets};
use zeroize::Zeroizing;

use super::TlsError;
use crate::limits::TLS_BACKLOG_MAX;

/// Both directions of a connection whose handshake is done.
pub(super) struct Records {
    send: Direction,
    receive: Direction,
    /// The beginning of a record.
    incoming: Vec<u8>,
    messages: VecDeque<Zeroizing<Vec<u8>>>,
    unsent: Vec<u8>,
}

/// The records of one direction.
struct Direction {
    /// The number of the next record.
    sequence: u64,
    secrets: ConnectionTrafficSecrets,
}

impl Records {
    pub(super) fn new(secrets: ExtractedSecrets) -> Self {
        let direction = |(sequence, secrets)| Direction { sequence, secrets };
        Self {
            send: direction(secrets.tx),
            receive: direction(secrets.rx),
            incoming: Vec::new(),
            messages: VecDeque::new(),
            unsent: Vec::new(),
        }
    }

    /// Takes bytes of the stream.
    ///
    /// # Errors
    /// The peer says that it has closed or failed, or breaks the protocol: it is told so.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        self.incoming.extend_from_slice(bytes);
        while let Some(length) = self.whole_record()? {
            let rest = self.incoming.split_off(length);
            let record = std::mem::replace(&mut self.incoming, rest);
            self.take(record)?;
        }
        if self.incoming.is_empty() {
            self.incoming = Vec::new();
        }
        Ok(())
    }

    /// Moves what is to be sent to `out`.
    pub(super) fn transmit(&mut self, out: &mut Vec<u8>) {
        out.append(&mut std::mem::take(&mut self.unsent));
    }

    pub(super) fn next_message(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        let message = self.messages.pop_front();
        if self.messages.is_empty() {
            self.messages = VecDeque::new();
        }
        message
    }

    /// Seals a message as one record, or as several if it is longer than a record.
    ///
    /// # Errors
    /// [`TlsError::Unavailable`]: too much waits, or the key is worn out.
    pub(super) fn send_message(&mut self, message: &[u8]) -> Result<(), TlsError> {
        if self.unsent.len() + message.len() > TLS_BACKLOG_MAX {
            let full = "too much waits to be sent".to_owned();
            return Err(TlsError::Unavailable(full));
        }
        for fragment in message.chunks(FRAGMENT_MAX) {
            self.send
                .seal(APPLICATION_DATA, fragment, &mut self.unsent)?;
        }
        Ok(())
    }

    /// The length of the first record, if all of it is there.
    fn whole_record(&mut self) -> Result<Option<usize>, TlsError> {
        let Some(header) = self.incoming.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let (kind, payload) = (header[0], u16::from_be_bytes([header[3], header[4]]));
        let payload = usize::from(payload);
        if kind != APPLICATION_DATA {
            return Err(self.fail(UNEXPECTED_MESSAGE, "a record in clear after the handshake"));
        }
        if payload > FRAGMENT_MAX + 256 {
            return Err(self.fail(RECORD_OVERFLOW, "a record that is too long"));
        }
        let length = HEADER + payload;
        Ok((self.incoming.len() >= length).then_some(length))
    }

    fn take(&mut self, record: Vec<u8>) -> Result<(), TlsError> {
        let Some((kind, content)) = self.receive.open(record) else {
            return Err(self.fail(BAD_RECORD_MAC, "a record that can't be decrypted"));
        };
        match (kind, content.as_slice()) {
            (APPLICATION_DATA, []) => Ok(()),
            (APPLICATION_DATA, _) => {
                self.messages.push_back(content);
                Ok(())
            }
            (ALERT, [_, description]) => {
                let alert = AlertDescription::from(*description);
                Err(TlsError::Alert(format!("{alert:?}")))
            }
            // Nothing is resumed here.
            (HANDSHAKE, [NEW_SESSION_TICKET, ..]) => Ok(()),
            (HANDSHAKE, [KEY_UPDATE, ..]) => {
                Err(self.fail(UNEXPECTED_MESSAGE, "a renewal of traffic keys"))
            }
            _ => Err(self.fail(UNEXPECTED_MESSAGE, "a message that has no place here")),
        }
    }

    /// What to say of a peer that has broken the protocol, which is told, too.
    fn fail(&mut self, alert: u8, what: &str) -> TlsError {
        // With a key that is worn out the peer is left without a word.
        let _unsaid = self.send.seal(ALERT, &[FATAL, alert], &mut self.unsent);
        TlsError::Protocol(format!("the peer sent {what}"))
    }
}

impl Direction {
    /// Appends the record of a fragment.
    fn seal(&mut self, kind: u8, fragment: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        let worn = || TlsError::Unavailable("the TLS key is worn out".to_owned());
        if self.sequence >= RECORDS_MAX {
            return Err(worn());
        }
        let mut sealed = Zeroizing::new(Vec::with_capacity(fragment.len() + 1 + TAG));
        sealed.extend_from_slice(fragment);
        sealed.push(kind);
        let [high, low] = ((sealed.len() + TAG) as u16).to_be_bytes();
        let header = [APPLICATION_DATA, 3, 3, high, low];
        let (key, nonce) = self.next().ok_or_else(worn)?;
        key.seal_in_place_append_tag(nonce, Aad::from(header), &mut *sealed)
            .map_err(|_| worn())?;
        out.extend_from_slice(&header);
        out.extend_from_slice(&sealed);
        Ok(())
    }

    /// The kind and the content of a whole record.
    fn open(&mut self, mut record: Vec<u8>) -> Option<(u8, Zeroizing<Vec<u8>>)> {
        let header = *record.first_chunk::<HEADER>()?;
        let (key, nonce) = self.next()?;
        let sealed = record.get_mut(HEADER..)?;
        let opened = key.open_in_place(nonce, Aad::from(header), sealed).ok()?;
        // Padding is zeros behind the kind.
        let end = opened.iter().rposition(|byte| *byte != 0)?;
        let (content, kind) = (&opened[..end], opened[end]);
        let content = (content.len() <= FRAGMENT_MAX).then(|| Zeroizing::new(content.to_vec()))?;
        record.fill(0);
        Some((kind, content))
    }

    /// The key, and the nonce of the next record. Set up each time: that takes less than a microsecond,
    /// and what is set up six hundred bytes.
    fn next(&mut self) -> Option<(LessSafeKey, Nonce)> {
        let (algorithm, key, iv) = match &self.secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&aead::AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&aead::AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (&aead::CHACHA20_POLY1305, key, iv)
            }
            _ => return None,
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).ok()?);
        let mut nonce: [u8; aead::NONCE_LEN] = iv.as_ref().try_into().ok()?;
        let sequence = self.sequence.to_be_bytes();
        for (byte, number) in nonce.iter_mut().skip(4).zip(sequence) {
            *byte ^= number;
        }
        self.sequence += 1;
        Some((key, Nonce::assume_unique_for_key(nonce)))
    }
}

const HEADER: usize = 5;
const TAG: usize = 16;
/// Bytes of plaintext in a record.
const FRAGMENT_MAX: usize = 1 << 14;
/// Records under one key: less than AES-GCM may seal. RFC 8446, section 5.5.
const RECORDS_MAX: u64 = 1 << 24;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

const FATAL: u8 = 2;
const UNEXPECTED_MESSAGE: u8 = 10;
const BAD_RECORD_MAC: u8 = 20;
const RECORD_OVERFLOW: u8 = 22;

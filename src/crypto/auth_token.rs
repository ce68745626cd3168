//! The key with which a server signs the tokens that it hands out in place of passwords.
//!
//! Wire: wire.md section 12.1.

use zeroize::Zeroizing;

use super::pem;
use crate::random::Random;

/// The text of a key file with a new random key.
pub fn auth_token_key_file(random: &mut dyn Random) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; KEY_LEN]);
    random.fill(bytes.as_mut_slice());
    pem::emit(LABEL, bytes.as_slice())
}

const LABEL: &str = "OpenVPN auth-token server key";

/// Two halves, for a cipher and for an HMAC, of which only the second is used.
const KEY_LEN: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    #[test]
    fn each_file_has_another_key_of_the_length_of_openvpns() {
        let mut random = SeededRandom::new(1);
        let [one, other] = [(); 2].map(|()| auth_token_key_file(&mut random));
        assert_ne!(*one, *other);
        assert_eq!(pem::parse(&one, LABEL).unwrap().len(), 128);
        // As `openvpn --genkey auth-token` writes it.
        assert_eq!((one.len(), one.lines().count()), (265, 5));
    }
}

//! What a client tells a server of itself.

use crate::crypto::DataCipher;

/// The lines of peer info. Wire: wire.md section 6.2.
pub(in crate::node) fn peer_info(ciphers: &[DataCipher], mtu_max: u16) -> String {
    let names: Vec<_> = ciphers.iter().map(|cipher| cipher.name()).collect();
    let mut lines = vec![
        // Readers want the number of an OpenVPN in front, and know versions such as `2.6_rc1`.
        // What a client can do, they read from IV_PROTO.
        format!("IV_VER=2.6_ringway_{}", env!("CARGO_PKG_VERSION")),
        "IV_PLAT=linux".to_owned(),
        "IV_TCPNL=1".to_owned(),
        format!("IV_MTU={mtu_max}"),
    ];
    let gcm = [DataCipher::Aes256Gcm, DataCipher::Aes128Gcm];
    if gcm.iter().all(|cipher| ciphers.contains(cipher)) {
        lines.push("IV_NCP=2".to_owned());
    }
    lines.push(format!("IV_CIPHERS={}", names.join(":")));
    lines.push(format!("IV_PROTO={PROTO}"));
    // Frames without compression, as 2.6 announces them.
    lines.extend(["IV_LZO_STUB=1", "IV_COMP_STUB=1", "IV_COMP_STUBv2=1"].map(str::to_owned));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// DATA_V2, REQUEST_PUSH, TLS_KEY_EXPORT, CC_EXIT_NOTIFY, AUTH_FAIL_TEMP, DYN_TLS_CRYPT, DATA_EPOCH,
/// PUSH_UPDATE.
const PROTO: u32 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::PeerInfo;

    #[test]
    fn a_server_reads_what_is_served() {
        let all = [
            DataCipher::Aes256Gcm,
            DataCipher::Aes128Gcm,
            DataCipher::ChaCha20Poly1305,
        ];
        let info = PeerInfo::parse(&peer_info(&all, 1600));
        assert!(
            info.version()
                .is_some_and(|version| version.starts_with("2.6_ringway_"))
        );
        assert_eq!(info.proto().0, 6030);
        assert_eq!(info.mtu(), Some(1600));
        assert_eq!(info.value("IV_NCP"), Some("2"));
        assert_eq!(info.value("IV_COMP_STUBv2"), Some("1"));
        assert_eq!(info.value("IV_LZO"), None);
        let listed = "AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305";
        assert_eq!(info.value("IV_CIPHERS"), Some(listed));
        let one = PeerInfo::parse(&peer_info(&[DataCipher::Aes128Gcm], 1500));
        assert_eq!(one.value("IV_NCP"), None);
    }
}

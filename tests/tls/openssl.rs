//! The exporter against OpenSSL's, byte by byte.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ringway::crypto::tls::{Tls, TlsEngine};
use ringway::random::SeededRandom;

use crate::authority::{Authority, Usage};
use crate::{ANY, now, plain};

const LABEL: &str = "EXPORTER-OpenVPN-datakeys";

#[test]
fn trap_09_openssl_exports_the_same() {
    let authority = Authority::new("authority");
    let directory = tempfile::tempdir().expect("a directory");
    let identity = authority.identity("alice", Usage::Client);
    write_pem(
        directory.path(),
        "cert.pem",
        "CERTIFICATE",
        &identity.chain[0],
    );
    write_pem(
        directory.path(),
        "key.pem",
        "PRIVATE KEY",
        identity.key.secret_der(),
    );
    for (version, negotiated) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = listener.local_addr().expect("bound").to_string();
        let mut client = s_client(directory.path(), &address, version);
        let engine = plain(&authority, "gate", Usage::Server, ANY);
        let mut tls = engine
            .start(now(), &mut SeededRandom::new(1))
            .expect("starts");
        let (mut stream, _) = listener.accept().expect("the client comes");
        pump(&mut *tls, &mut stream);
        let mut ours = [0; 256];
        tls.export(LABEL, &mut ours).expect("exports");
        assert_eq!(tls.negotiated().expect("done").version, negotiated);
        assert_eq!(tls.peer().expect("verified").common_name, "alice");
        drop(stream);
        let hex: String = ours.iter().map(|byte| format!("{byte:02X}")).collect();
        let mut said = String::new();
        let output = client.stdout.as_mut().expect("piped");
        output.read_to_string(&mut said).expect("text");
        client.wait().expect("ends");
        assert!(said.contains(&format!("Keying material: {hex}")), "{said}");
    }
}

fn s_client(directory: &Path, address: &str, version: &str) -> Child {
    Command::new("openssl")
        .current_dir(directory)
        .args(["s_client", "-connect", address, version])
        .args(["-cert", "cert.pem", "-key", "key.pem"])
        .args(["-keymatexport", LABEL, "-keymatexportlen", "256"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl is installed")
}

/// Until both ends are done and the client has had time to say so.
fn pump(tls: &mut dyn Tls, stream: &mut std::net::TcpStream) {
    stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .expect("a socket");
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut buffer = [0; 4_096];
    while Instant::now() < deadline {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => tls
                .receive(&buffer[..length])
                .expect("OpenSSL keeps the rules"),
            Err(_) if tls.is_established() => return,
            Err(_) => {}
        }
        let mut answer = Vec::new();
        tls.transmit(&mut answer);
        stream.write_all(&answer).expect("writes");
    }
    panic!("the handshake is not done in 30 s");
}

pub(crate) fn write_pem(directory: &Path, file: &str, label: &str, der: &[u8]) {
    let mut command = Command::new("openssl")
        .args(["base64"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    let mut stdin = command.stdin.take().expect("piped");
    stdin.write_all(der).expect("writes");
    drop(stdin);
    let output = command.wait_with_output().expect("ends");
    let body = String::from_utf8(output.stdout).expect("text");
    let text = format!("-----BEGIN {label}-----\n{body}-----END {label}-----\n");
    std::fs::write(directory.join(file), text).expect("writes");
}

//! Keys of another time: an installation of easy-rsa 2, with what its `openssl.cnf` made, is refused by name.

use std::path::Path;
use std::process::Command;

use crate::process::command_in;
use crate::server::{Implementation, RINGWAY, Site};

/// The keys of an installation, as easy-rsa 2 calls them.
struct Keys<'a> {
    directory: &'a Path,
}

impl Keys<'_> {
    fn openssl(&self, words: &str) {
        let output = Command::new("openssl")
            .args(words.split(' '))
            .current_dir(self.directory)
            .output()
            .unwrap();
        assert!(output.status.success(), "openssl {words}: {output:?}");
    }

    /// An authority, a server of it, and a revocation list.
    fn make(&self, bits: u32, digest: &str, leaf: &str) {
        let write = |name: &str, text: &str| {
            std::fs::write(self.directory.join(name), text).unwrap();
        };
        write(
            "ext.cnf",
            "[server]\nbasicConstraints=CA:FALSE\nnsCertType=server\nextendedKeyUsage=serverAuth\n\
             keyUsage=digitalSignature,keyEncipherment\n[authority]\nbasicConstraints=CA:TRUE\n\
             extendedKeyUsage=serverAuth\n",
        );
        write("index.txt", "");
        write("crlnumber", "01\n");
        write(
            "ca.cnf",
            "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ncrlnumber=crlnumber\ndefault_crl_days=30\n",
        );
        self.openssl(&format!(
            "req -x509 -newkey rsa:{bits} -{digest} -nodes -days 3650 -subj /CN=Fort-Funston-CA \
             -keyout ca.key -out ca.crt"
        ));
        self.openssl(&format!(
            "req -newkey rsa:{bits} -{digest} -nodes -subj /CN=server -keyout server.key -out server.csr"
        ));
        let extensions = match leaf {
            "" => String::new(),
            section => format!(" -extfile ext.cnf -extensions {section}"),
        };
        self.openssl(&format!(
            "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -set_serial 1 -days 3650 -{digest} \
             -out server.crt{extensions}"
        ));
        self.openssl(&format!(
            "ca -config ca.cnf -gencrl -md {digest} -keyfile ca.key -cert ca.crt -out crl.pem"
        ));
        for secret in ["ca.key", "server.key"] {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(self.directory.join(secret), mode).unwrap();
        }
    }
}

/// What `ringway check` prints of a server with these keys, and whether it would start.
fn checked(site: &Site) -> (bool, String) {
    let arguments = [
        "check",
        "--cd",
        &site.topology.directory().display().to_string(),
    ];
    let arguments = [&arguments[..], &["--config", "server.conf"]].concat();
    let namespace = site.topology.server.name();
    let output = command_in(namespace, RINGWAY, &arguments).output().unwrap();
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

#[test]
fn keys_of_easy_rsa_2_are_refused_by_name() {
    if !Implementation::is_ringway("ringway check of old keys") {
        return;
    }
    let site = Site::new(1);
    let keys = Keys {
        directory: site.topology.directory(),
    };
    site.topology.write(
        "server.conf",
        "dev tun\nserver 10.8.0.0 255.255.255.0\ntopology subnet\nkeepalive 10 120\n\
         ca ca.crt\ncert server.crt\nkey server.key\ndh none\ncrl-verify crl.pem\n",
    );
    for (bits, digest, leaf, starts, told) in [
        (2048, "sha256", "server", true, &[][..]),
        (
            1024,
            "sha256",
            "server",
            false,
            &[
                "ca: ca.crt: the authority CN=Fort-Funston-CA has an RSA key of 1024 bits: nothing that it \
                 has signed is taken; make a new authority",
                "cert: server.crt: the certificate of CN=server has an RSA key of 1024 bits, and 2048 to \
                 8192 are served; issue it anew",
            ],
        ),
        (
            2048,
            "sha1",
            "server",
            false,
            &[
                "warning: ca: ca.crt: the authority CN=Fort-Funston-CA is signed with SHA-1: ",
                "error: cert: server.crt: the certificate of CN=server is signed with SHA-1, which nobody \
                 should take; issue it anew",
                "crl.pem: the revocation list of CN=Fort-Funston-CA is not signed by that authority, or in \
                 a way that is not served, such as with SHA-1",
            ],
        ),
        (
            2048,
            "sha256",
            "",
            false,
            &[
                "server.crt: the certificate of CN=server is of X.509 version 1, and version 3 is served",
            ],
        ),
        (
            2048,
            "sha256",
            "authority",
            true,
            &[
                "server.crt: the certificate is that of an authority, not of a server; clients may refuse it",
            ],
        ),
    ] {
        keys.make(bits, digest, leaf);
        let (started, text) = checked(&site);
        assert_eq!(started, starts, "{bits} {digest} {leaf}: {text}");
        for words in told {
            assert!(text.contains(words), "{words}\nis not in\n{text}");
        }
    }
}

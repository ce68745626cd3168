//! What ringway says of a configuration beside what the real daemon says of it: one line at a time, and whole files
//! of other people if `RINGWAY_CONFIGS` names a directory with them.
//!
//! Both start from the same files. The daemon is kept from becoming a server by a tun device that is not there: who
//! gets as far as to miss it has accepted everything.

use std::path::{Path, PathBuf};

use crate::process::command_in;
use crate::server::{Implementation, RINGWAY, Site};

#[test]
fn every_line_has_the_verdict_of_stock_or_a_better_one() {
    if !Implementation::is_ringway("verdicts") {
        return;
    }
    let site = Site::new(0);
    let directory = site.topology.directory().display().to_string();
    std::fs::create_dir(site.topology.directory().join("ccd")).unwrap();
    let base = site.server_config().without("setenv").text();
    let mut wrong = Vec::new();
    for line in LINES.lines().filter(|line| !line.is_empty()) {
        let text = format!("{base}{}\n", line.replace('@', &directory));
        let path = site.topology.write("server.conf", text);
        let (stock, ours) = (stock(&site, &path), ours(&site, &path));
        let known = |list: &[&str]| list.contains(&line);
        let fits = match (&stock, &ours) {
            (Verdict::Starts, Verdict::Starts) | (Verdict::Refused(_), Verdict::Refused(_)) => {
                !known(STARTED) && !known(REFUSED)
            }
            (Verdict::Starts, Verdict::Refused(why)) => {
                known(REFUSED) || why.iter().all(|why| is_not_yet(why))
            }
            (Verdict::Refused(_), Verdict::Starts) => known(STARTED),
        };
        if !fits {
            wrong.push(format!("{line}\n  stock: {stock:?}\n  ringway: {ours:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Each file, without what would detach it from its terminal. The files that it names are not there, which is no
/// verdict of its lines.
#[test]
fn whole_files_have_the_verdict_of_stock_or_a_better_one() {
    let Some(configurations) = std::env::var_os("RINGWAY_CONFIGS").map(PathBuf::from) else {
        println!("RINGWAY_CONFIGS names no directory: only the lines above are compared");
        return;
    };
    let site = Site::new(0);
    let entries = std::fs::read_dir(&configurations).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|it| it == "conf"));
    files.sort();
    let mut wrong = Vec::new();
    for file in &files {
        let text = String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned();
        let lines = text.lines().filter(|line| {
            let word = line.split_whitespace().next().unwrap_or_default();
            !DETACHING.contains(&word)
        });
        let text: String = lines.map(|line| format!("{line}\n")).collect();
        let path = site.topology.write("whole.conf", text);
        let (stock, ours) = (stock(&site, &path).present(), ours(&site, &path).present());
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        println!("{name}\n  stock: {stock:?}\n  ringway: {ours:?}");
        if let (Verdict::Starts, Verdict::Refused(why)) = (&stock, &ours)
            && let Some(why) = why
                .iter()
                .find(|why| !is_not_yet(why) && !DECIDED.iter().any(|it| why.contains(it)))
        {
            wrong.push(format!("{name}: {why}"));
        }
    }
    assert!(!files.is_empty(), "{}", configurations.display());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What becomes of a configuration.
#[derive(Debug)]
enum Verdict {
    Starts,
    /// The lines that say why not.
    Refused(Vec<String>),
}

impl Verdict {
    /// The same, if the files were there that it names.
    fn present(self) -> Self {
        match self {
            Self::Starts => Self::Starts,
            Self::Refused(mut why) => {
                why.retain(|why| !ABSENT.iter().any(|absent| why.contains(absent)));
                match why.is_empty() {
                    true => Self::Starts,
                    false => Self::Refused(why),
                }
            }
        }
    }
}

fn is_not_yet(why: &str) -> bool {
    why.contains("not supported yet")
}

fn stock(site: &Site, path: &Path) -> Verdict {
    let path = path.display().to_string();
    let absent = ["--config", &path, "--dev-node", "/absent/tun"];
    let text = output(site, "openvpn", &absent);
    if text.contains("Cannot open TUN/TAP dev /absent/tun") {
        return Verdict::Starts;
    }
    let why = text
        .lines()
        .filter(|line| line.contains("rror") || line.contains("REMOVED OPTION"));
    Verdict::Refused(why.map(str::to_owned).collect())
}

fn ours(site: &Site, path: &Path) -> Verdict {
    let text = output(site, RINGWAY, &["check", &path.display().to_string()]);
    let why: Vec<String> = text
        .lines()
        .filter(|line| line.contains(": error: "))
        .map(str::to_owned)
        .collect();
    match text.contains("would not start") {
        true => Verdict::Refused(why),
        false => Verdict::Starts,
    }
}

fn output(site: &Site, program: &str, arguments: &[&str]) -> String {
    let command = [&["20", program], arguments].concat();
    let output = command_in(site.topology.server.name(), "timeout", &command)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
    text.concat()
}

/// Lines that detach the daemon, or hide what it says.
const DETACHING: [&str; 6] = ["log", "log-append", "daemon", "syslog", "cd", "chroot"];

/// What both say of files that are not there, or have a placeholder for a key, and that there was an error.
const ABSENT: [&str; 9] = [
    "No such file or directory",
    "failed to find UID",
    "failed to find GID",
    "no certificate in PEM form",
    "no private key in PEM form",
    "no line `-----BEGIN",
    "could not load plugin",
    "Exiting due to fatal error",
    "Please correct th",
];

/// Refusals that are no gap, and are in docs/configurations.md.
const DECIDED: [&str; 5] = [
    "two equal peers",
    "tap",
    "packets need a device",
    // 2.6 says so too, once what it misses first is there.
    "port-share: only works in TCP server mode",
    "fragment: can only be used with `proto udp`",
];

/// What stock refuses and ringway starts: the line has no effect on what is served.
const STARTED: &[&str] = &[
    "auth RSA-SHA512",
    "keysize 256",
    "route-delay 5",
    // Of 2.7.
    "route-table 100",
];

/// What stock starts and ringway refuses for good, by a sentence that says what to write.
const REFUSED: &[&str] = &[
    "cipher none",
    "no-replay",
    "client-nat snat 10.0.0.0 255.0.0.0 1.2.3.0",
    // Its clients' packets would not be understood.
    "push \"comp-lzo no\"",
    "remote-cert-tls server",
    // Stock would refuse each login, since it may start no script.
    "auth-user-pass-verify /bin/true via-env",
    "client-connect /bin/true",
    // Stock would end when it comes to it.
    "up \"/bin/true a b\"",
    // Stock would learn no address.
    "learn-address /bin/true",
    // Stock comes to know it when it has become a server, and ends.
    "user nobody-of-that-name",
    "port 99999",
    // Not a server for many, and not for IP packets.
    "mode p2p",
    "dev tap",
    "dev-type tap",
];

/// The lines that are tried, each behind a server's usual ones. `@` is the directory of the test.
const LINES: &str = r#"
comp-lzo
comp-lzo no
comp-lzo yes
comp-lzo adaptive
compress
compress lzo
compress lz4
compress lz4-v2
compress stub
compress stub-v2
compress migrate
compress zip
allow-compression yes
allow-compression asym
allow-compression no
ncp-disable
ncp-ciphers AES-256-GCM
cipher BF-CBC
cipher aes-256-cbc
cipher AES-256-OFB
cipher none
data-ciphers BF-CBC
data-ciphers AES-256-GCM:?FOO-CIPHER
data-ciphers AES-256-GCM:FOO-CIPHER
data-ciphers AES-128-GCM:CHACHA20-POLY1305
data-ciphers AES-256-GCM:AES-256-CBC
data-ciphers-fallback AES-256-CBC
auth none
auth SHA1
auth sha512
auth RSA-SHA512
auth FOO
keysize 256
client-cert-not-required
verify-client-cert none
verify-client-cert optional
verify-client-cert require
key-method 2
no-iv
no-replay
tun-ipv6
push tun-ipv6
ns-cert-type client
tls-remote foo
max-routes 10
prng none
fast-io
opt-verify
disable-occ
link-mtu 1400
link-mtu 100
udp-mtu 1400
tun-mtu 1400
tun-mtu 9000
tun-mtu-extra 32
ifconfig-pool-linear
topology subnet
topology net30
topology p2p
topology ring
script-security 2
script-security 3 execve
script-security 3 system
mtu-test
mtu-disc no
mtu-disc maybe
mtu-disc yes
mtu-disc perhaps
float
tls-cipher DHE-RSA-AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256
tls-cipher TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256
tls-cipher NONSENSE
tls-cipher NONSENSE:ECDHE-ECDSA-AES128-GCM-SHA256
tls-cipher TLS-DHE-RSA-WITH-AES-256-CBC-SHA256
tls-cipher ECDHE-RSA-CAMELLIA256-SHA384
tls-cipher TLS-RSA-WITH-RC4-128-SHA
tls-cipher TLS_AES_128_GCM_SHA256
tls-cipher DEFAULT:!EXP
tls-cipher kEECDH+AESGCM
tls-cipher !aNULL
tls-ciphersuites NONSENSE
tls-ciphersuites TLS_AES_128_CCM_SHA256
tls-ciphersuites DEFAULT
tls-ciphersuites TLS_AES_256_GCM_SHA384
tls-version-min 1.0
tls-version-min 1.2
tls-version-min 1.3
tls-version-min 1.3 or-highest
tls-version-max 1.2
tls-cert-profile insecure
tls-cert-profile legacy
tls-cert-profile preferred
tls-cert-profile suiteb
tls-cert-profile loose
ecdh-curve secp384r1
tls-groups X25519
tls-groups X25519:prime256v1
providers legacy default
socket-flags TCP_NODELAY
tcp-nodelay
bcast-buffers 4096
tcp-queue-limit 256
hash-size 1024 1024
port-share 127.0.0.1 443
replay-window 128
replay-window 64 15
replay-window 100000
fragment 1300
mssfix 0
mssfix 1400
mssfix 1400 mtu
mssfix 1400 fixed
mssfix 1400 round
push dhcp-option DNS 1.1.1.1
push "dhcp-option DNS 1.1.1.1"
push block-outside-dns
push "setenv-safe X 1"
push "redirect-gateway def1 bypass-dhcp"
push "comp-lzo no"
push-peer-info
reneg-bytes 1000000
reneg-pkts 1000000
reneg-sec 0
reneg-sec 3600
reneg-sec 3600 1800
tls-exit
tls-timeout 4
hand-window 60
tran-window 3600
nice -5
nice 5
sndbuf 0
rcvbuf 0
sndbuf 393216
rcvbuf 393216
push "sndbuf 0"
txqueuelen 1000
max-clients 100
max-clients 100000
connect-freq 10 1
connect-freq-initial 100 10
keying-material-exporter EXPORTER-session 32
stale-routes-check 300 600
max-routes-per-client 10
enable-dco
disable-dco
bind-dev lo
mark 4
passtos
multihome
vlan-tagging
server-bridge
pf-filter x
management-client-pf
local 0.0.0.0
local ::
client-nat snat 10.0.0.0 255.0.0.0 1.2.3.0
unknown-directive 1
setenv opt unknown-directive 1
ignore-unknown-option foo
setenv NAME value
setenv-safe NAME value
setenv FORWARD_COMPATIBLE 1
inactive 3600
inactive 3600 1000
ping 10
ping-restart 60
ping-exit 60
ping-timer-rem
keepalive 10 60
keepalive 10 19
session-timeout 3600
explicit-exit-notify
explicit-exit-notify 2
explicit-exit-notify 3
duplicate-cn
client-to-client
ifconfig-pool-persist @/ipp.txt
ifconfig-pool-persist @/ipp.txt 0
client-config-dir @/ccd
ccd-exclusive
username-as-common-name
auth-user-pass-optional
auth-nocache
auth-gen-token
mute 10
mute-replay-warnings
verb 0
verb 11
verb 12
suppress-timestamps
errors-to-stderr
machine-readable-output
status @/status 10
status-version 2
status-version 4
writepid @/pid
persist-tun
persist-key
persist-local-ip
persist-remote-ip
user nobody
group nogroup
user nobody-of-that-name
umask 027
resolv-retry infinite
nobind
remote 192.0.2.1
remote-cert-tls client
remote-cert-tls server
remote-cert-tls both
remote-cert-eku "TLS Web Client Authentication"
remote-cert-ku 80 08 88
verify-x509-name client name
verify-x509-name client name-prefix
verify-x509-name client any
x509-username-field CN
x509-username-field emailAddress
tls-server
tls-client
mode server
mode p2p
proto udp
proto udp4
proto udp6
proto tcp
proto tcp-server
proto tcp4
proto sctp
dev tap
dev-type tun
dev-type tap
route 10.9.0.0 255.255.0.0
route 10.9.0.0 255.255.0.0 10.8.0.2 5
route 10.9.0.1 255.255.0.0
route-ipv6 fd09::/16
route-gateway 10.8.0.2
route-metric 5
route-noexec
route-nopull
route-delay 5
route-table 100
ifconfig-noexec
redirect-gateway def1
dhcp-option DNS 1.1.1.1
tmp-dir /tmp
tmp-dir @/absent
config @/absent.conf
port 99999
lport 1195
rport 1195
port openvpn
dh none
dh @/absent.pem
crl-verify @/absent.pem
remap-usr1 SIGTERM
shaper 10000
compat-mode 2.4.0
allow-pull-fqdn
block-ipv6
tls-crypt @/absent.key
key-direction 1
key-direction 2
up "/bin/true a b"
up @/absent
client-connect /bin/true
learn-address /bin/true
auth-user-pass-verify /bin/true via-env
auth-user-pass-verify /bin/true
auth-user-pass-verify /bin/true via-nothing
auth-user-pass-verify @/absent via-file
plugin /absent.so
management 127.0.0.1 7505
management-hold
"#;

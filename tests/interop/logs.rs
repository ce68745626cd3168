//! Where log lines go and what stands before them: what ringway writes beside what the stock daemon writes.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;

use crate::process::{LIMIT, Process};
use crate::server::{Implementation, READY, RINGWAY, Server, Site};

/// What stands before the text of the line that says that clients can connect, digits as `9`.
fn before_ready(line: &str) -> String {
    let (before, _) = line.split_once(READY).unwrap();
    let digit = |letter: char| if letter.is_ascii_digit() { '9' } else { letter };
    before.chars().map(digit).collect()
}

#[test]
fn lines_begin_as_stocks_do() {
    if !Implementation::is_ringway("both servers' logs") {
        return;
    }
    let site = Site::new(0);
    for (line, expected) in [
        ("verb 3", "9999-99-99 99:99:99 "),
        ("suppress-timestamps", ""),
        ("machine-readable-output", "9999999999.999999 9 "),
    ] {
        let config = site.server_config().line(line);
        for program in ["openvpn", RINGWAY] {
            let mut server = Server::start_program(&site, &config, program);
            let ready = server.process.wait_for(READY);
            assert_eq!(before_ready(&ready), expected, "{line}: {program}: {ready}");
            server.stop();
        }
    }
}

/// A system log of the test's own, seen by nobody but the server.
#[test]
fn the_system_log_gets_what_stock_gives_it() {
    if !Implementation::is_ringway("both servers' messages to the system log") {
        return;
    }
    let site = Site::new(0);
    let devices = site.topology.directory().join("dev");
    std::fs::create_dir_all(devices.join("net")).unwrap();
    let device = |name: &str, numbers: [&str; 2]| {
        let path = devices.join(name).display().to_string();
        site.topology
            .server
            .run("mknod", &["-m", "666", &path, "c", numbers[0], numbers[1]]);
    };
    device("null", ["1", "3"]);
    device("urandom", ["1", "9"]);
    device("net/tun", ["10", "200"]);
    let log = UnixDatagram::bind(devices.join("log")).unwrap();
    log.set_read_timeout(Some(LIMIT)).unwrap();
    let open = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(devices.join("log"), open).unwrap();
    for (line, name) in [
        ("syslog vpn-of-the-test", "vpn-of-the-test"),
        ("syslog", ""),
    ] {
        for program in ["openvpn", RINGWAY] {
            let config = site.server_config().line(line);
            let path = site.topology.write("server.conf", config.text());
            let command = format!(
                "mount --bind {} /dev && exec {program} --config {}",
                devices.display(),
                path.display()
            );
            let words = ["-m", "sh", "-c", &command];
            let namespace = site.topology.server.name();
            let mut server = Process::spawn("the server", namespace, "unshare", &words);
            let message = loop {
                let mut bytes = [0; 4096];
                let length = log.recv(&mut bytes).unwrap();
                let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
                if text.contains(READY) {
                    break text;
                }
            };
            let process = server.id();
            server.signal(rustix::process::Signal::TERM);
            server.wait_exit();
            while log.set_nonblocking(true).is_ok() && log.recv(&mut [0; 4096]).is_ok() {}
            log.set_nonblocking(false).unwrap();
            let own = program.rsplit('/').next().unwrap_or_default();
            let name = if name.is_empty() { own } else { name };
            let before = message.split(READY).next().unwrap_or_default();
            let words: Vec<&str> = before.split_whitespace().collect();
            let [month, _day, time, tag] = words[..] else {
                panic!("{program}: {message}");
            };
            assert!(month.starts_with("<29>"), "{program}: {message}");
            assert_eq!(time.len(), "02:50:34".len(), "{program}: {message}");
            let number = tag
                .strip_prefix(name)
                .and_then(|tag| tag.strip_prefix('['))
                .and_then(|tag| tag.strip_suffix("]:"));
            let number = number.and_then(|number| number.parse::<u32>().ok());
            assert_eq!(number, Some(process), "{program}: {message}");
        }
    }
}

//! The thread against sockets of the loopback.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};

use super::*;

/// A thread, a web server's listener, and the listener by which clients come.
struct Rig {
    porter: Porter,
    reports: Receiver<Report>,
    web: TcpListener,
    ours: TcpListener,
    journal: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let [web, ours] = [0; 2].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
        let journal = tempfile::tempdir().unwrap();
        let settings = PortShareSettings {
            server: web.local_addr().unwrap(),
            journal: Some(journal.path().to_owned()),
        };
        let (reporter, reports) = channel::unbounded();
        let porter = PorterParts::open(&settings).unwrap().start(reporter);
        Self {
            porter: porter.unwrap(),
            reports,
            web,
            ours,
            journal,
        }
    }

    /// A client whose connection is passed on after these bytes, and whether there was a place.
    fn client(&self, head: &[u8]) -> (TcpStream, bool) {
        let client = TcpStream::connect(self.ours.local_addr().unwrap()).unwrap();
        let patience = Some(Duration::from_secs(20));
        client.set_read_timeout(patience).unwrap();
        let (stream, address) = self.ours.accept().unwrap();
        let passed = self.porter.door().pass(stream, address, head.to_vec());
        (client, passed)
    }

    fn accept(&self) -> (TcpStream, SocketAddr) {
        let (stream, address) = self.web.accept().unwrap();
        let patience = Some(Duration::from_secs(20));
        stream.set_read_timeout(patience).unwrap();
        (stream, address)
    }

    fn journal(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.journal.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    fn wait_until_nothing_is_passed_on(&self) {
        let until = Instant::now() + Duration::from_secs(20);
        while self.porter.door().len() > 0 {
            assert!(Instant::now() < until, "a connection does not end");
            thread::sleep(Duration::from_millis(2));
        }
    }
}

#[test]
fn bytes_and_ends_pass_in_both_directions() {
    let rig = Rig::new();
    let (mut client, passed) = rig.client(b"GET /");
    assert!(passed);
    let (mut web, seen) = rig.accept();
    client.write_all(b" HTTP/1.0\r\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut asked = String::new();
    web.read_to_string(&mut asked).unwrap();
    assert_eq!(asked, "GET / HTTP/1.0\r\n");
    // It was read to its end before the answer begins.
    assert_eq!(rig.journal(), [format!("[AF_INET]{seen}")]);
    let named = std::fs::read_to_string(rig.journal.path().join(format!("[AF_INET]{seen}")));
    let address = client.local_addr().unwrap();
    assert_eq!(named.unwrap(), format!("[AF_INET]{address}"));
    web.write_all(b"an answer").unwrap();
    drop(web);
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "an answer");
    rig.wait_until_nothing_is_passed_on();
    assert!(rig.journal().is_empty());
    assert!(rig.reports.try_recv().is_err(), "nothing to complain of");
}

/// The web server speaks first, and ends first.
#[test]
fn the_end_of_an_answer_is_not_that_of_the_question() {
    let rig = Rig::new();
    let (mut client, _) = rig.client(b"\x16\x03");
    let (mut web, _) = rig.accept();
    web.write_all(b"hello").unwrap();
    web.shutdown(Shutdown::Write).unwrap();
    let mut heard = String::new();
    client.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "hello");
    client.write_all(b"more").unwrap();
    drop(client);
    let mut asked = Vec::new();
    web.read_to_end(&mut asked).unwrap();
    assert_eq!(asked, b"\x16\x03more");
    rig.wait_until_nothing_is_passed_on();
}

/// Much in both directions at once; who does not read holds up nobody else.
#[test]
fn much_passes_beside_who_does_not_read() {
    const LENGTH: usize = 8 << 20;
    let rig = Rig::new();
    let (mut lazy, _) = rig.client(b"lazy");
    let (mut to_lazy, _) = rig.accept();
    to_lazy.set_nonblocking(true).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    // Until nothing more fits between the two.
    let mut stuck = 0;
    while stuck < 50 {
        match to_lazy.write(&[7; 65_536]) {
            Ok(_) => stuck = 0,
            Err(_) => {
                stuck += 1;
                thread::sleep(Duration::from_millis(2));
            }
        }
        assert!(Instant::now() < until, "there is room without end");
    }
    let (client, _) = rig.client(b"");
    let (web, _) = rig.accept();
    let pour = |mut into: TcpStream, mark: usize| {
        thread::spawn(move || {
            let bytes: Vec<u8> = (0..LENGTH).map(|at| ((at + mark) % 251) as u8).collect();
            into.write_all(&bytes).unwrap();
            into.shutdown(Shutdown::Write).unwrap();
        })
    };
    let poured = [
        pour(client.try_clone().unwrap(), 0),
        pour(web.try_clone().unwrap(), 9),
    ];
    let drain = |mut from: TcpStream, mark: usize| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes).unwrap();
            let mut right = bytes.iter().enumerate();
            bytes.len() == LENGTH && right.all(|(at, byte)| *byte == ((at + mark) % 251) as u8)
        })
    };
    let drained = [drain(web, 0), drain(client, 9)];
    for thread in poured {
        thread.join().unwrap();
    }
    for thread in drained {
        assert!(thread.join().unwrap(), "other bytes than were sent");
    }
    let mut one = [0];
    lazy.read_exact(&mut one).unwrap();
    assert_eq!(one, [7]);
}

#[test]
fn a_web_server_that_is_not_there_is_told_once() {
    let mut rig = Rig::new();
    let address = rig.web.local_addr().unwrap();
    // Its port is free then, and nobody listens.
    rig.web = TcpListener::bind("127.0.0.1:0").unwrap();
    for _ in 0..5 {
        let (mut client, passed) = rig.client(b"GET /");
        assert!(passed);
        let ended = client.read(&mut [0; 8]);
        assert!(matches!(ended, Ok(0)) || ended.is_err(), "{ended:?}");
    }
    rig.wait_until_nothing_is_passed_on();
    let told: Vec<_> = rig.reports.try_iter().collect();
    let [Report::Event(NodeEvent::Warned { text })] = &told[..] else {
        panic!("{told:?}");
    };
    let start = format!("PORT SHARE PROXY: connect to port-share server failed ({address}): ");
    assert!(text.starts_with(&start), "{text}");
    assert!(rig.journal().is_empty());
}

#[test]
fn there_are_so_many_places_and_each_is_free_again() {
    let rig = Rig::new();
    let door = rig.porter.door();
    door.places
        .fetch_add(PORT_SHARE_CONNECTIONS, Ordering::Relaxed);
    let (mut client, passed) = rig.client(b"GET /");
    assert!(!passed);
    assert_eq!(client.read(&mut [0; 8]).unwrap_or(0), 0, "it is closed");
    assert_eq!(door.len(), PORT_SHARE_CONNECTIONS);
    door.places
        .fetch_sub(PORT_SHARE_CONNECTIONS, Ordering::Relaxed);
    let (client, passed) = rig.client(b"GET /");
    assert!(passed);
    drop((client, rig.accept()));
    rig.wait_until_nothing_is_passed_on();
}

#[test]
fn nothing_is_left_of_a_thread_that_ends() {
    let rig = Rig::new();
    let (mut client, _) = rig.client(b"GET /");
    let (mut web, _) = rig.accept();
    web.read_exact(&mut [0; 5]).unwrap();
    assert_eq!(rig.journal().len(), 1);
    let Rig {
        porter, journal, ..
    } = rig;
    drop(porter);
    assert_eq!(client.read(&mut [0; 8]).unwrap_or(0), 0);
    assert_eq!(web.read(&mut [0; 8]).unwrap_or(0), 0);
    assert_eq!(std::fs::read_dir(journal.path()).unwrap().count(), 0);
}

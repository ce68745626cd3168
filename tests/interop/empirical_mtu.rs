//! The stock client's `mtu-test`. It is a module of its own so that it begins early: it lasts as long as most others together.

use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, ClientConfig};
use crate::server::{READY, Server, Site};

/// It asks for three minutes. Its result is that of a path that takes all it has tried, in both directions.
#[test]
#[ignore = "full tier"]
fn a_client_measures_the_mtu() {
    let site = Site::new(1);
    let _server = Server::start(&site, &site.server_config());
    let config = ClientConfig::new(&site, 0, "alice").line("mtu-test");
    let client = Client::connect(&site, &config);
    client
        .process
        .wait_for("NOTE: Beginning empirical MTU test");
    let completed = "NOTE: Empirical MTU test completed [Tried,Actual] ";
    let deadline = Instant::now() + Duration::from_secs(600);
    while client.process.count(completed) == 0 {
        assert!(Instant::now() < deadline, "the test has no end");
        thread::sleep(Duration::from_millis(200));
    }
    let line = client.process.wait_for(completed);
    let (_, result) = line.split_once(completed).unwrap();
    let numbers: Vec<u32> = result
        .split(|it: char| !it.is_ascii_digit())
        .filter_map(|it| it.parse().ok())
        .collect();
    let [up_tried, up, down_tried, down] = numbers[..] else {
        panic!("{line}");
    };
    assert!(up_tried > 1_400 && down_tried > 1_400, "{line}");
    assert_eq!((up, down), (up_tried, down_tried), "{line}");
    assert_eq!(client.process.count(READY), 1, "the tunnel never went down");
    client.assert_reaches_all(&site);
}

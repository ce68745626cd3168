//! A receiver whose line is slow behind a long queue, beside one whose line is not.

use super::*;
use crate::limits::LANES;

/// What is on its way to the first peer is far more than a socket's buffer, and its line would need minutes for
/// it. The other's datagrams arrive all the same, all and in their order, and so do the first's in the end.
#[test]
fn a_slow_line_with_a_long_queue_delays_nobody_else() {
    in_own_network(|| {
        let far = FarEnd::join(&[]);
        shape("add", "200kbit");
        let mut line = Line::with_lanes(256 << 10, LANES as u16);
        let mut next = [0; 2];
        for _ in 0..100 {
            for count in [16, 1, 16, 16] {
                line.send(0, next[0], count);
                next[0] += count;
            }
            line.turn(Duration::ZERO);
        }
        assert!(line.sends.waiting() > 0, "the slow line takes everything");
        assert_eq!(line.sends.lanes().tenants(), 1);

        let mut waited = 0;
        for _ in 0..200 {
            for (peer, count) in [(0, 4), (1, 1), (1, 16)] {
                line.send(peer, next[peer], count);
                next[peer] += count;
            }
            line.turn(Duration::ZERO);
            let of_quick = line.sends.waiting.waits_for(line.peers[1]);
            waited += usize::from(of_quick);
        }
        far.await_last(1, next[1] - 1);
        assert!(line.sends.waiting() > 0, "the line was not slow");
        assert!(line.lost[1].is_empty(), "the quick one paid for it");
        assert_eq!(waited, 0);

        shape("change", "1gbit");
        line.finish();
        assert!(!line.lost[0].is_empty(), "the queue had room for all");
        far.assert_received(&line, next);
    });
}

/// Makes the line to the first peer so slow, with room for everything that sockets may have on their way.
fn shape(action: &str, rate: &str) {
    let on = |kind: &str, rest: &[&str]| {
        let words = [&[kind, action, "dev", "near"], rest].concat();
        run("tc", &words);
    };
    if action == "add" {
        on("qdisc", &["root", "handle", "1:", "htb", "default", "10"]);
        let wide = ["parent", "1:", "classid", "1:10", "htb", "rate", "10gbit"];
        on("class", &wide);
    }
    let slow = ["parent", "1:", "classid", "1:20", "htb", "rate", rate];
    on("class", &slow);
    if action == "add" {
        on("qdisc", &["parent", "1:20", "bfifo", "limit", "64mb"]);
        let first = ["match", "ip", "dst", "10.78.0.2/32", "flowid", "1:20"];
        let filter = ["parent", "1:", "protocol", "ip", "u32"];
        on("filter", &[&filter[..], &first].concat());
    }
}

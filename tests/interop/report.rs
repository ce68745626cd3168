//! What a server says of itself while it runs, asked on its control socket.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::process::{LIMIT, eventually};
use crate::server::shards;

/// The counters of each shard at one moment, by group and name.
#[derive(Debug)]
pub(crate) struct Report(Vec<BTreeMap<(String, String), u64>>);

impl Report {
    /// Asks the server whose control socket is at `path`.
    pub(crate) fn ask(path: &Path) -> Self {
        Self::ask_about(path, shards())
    }

    /// The same of a server with so many shards. A shard of a busy machine may be late with its
    /// answer, and the server says so: then it is asked again.
    pub(crate) fn ask_about(path: &Path, shards: u32) -> Self {
        eventually("an answer of each shard", || {
            let mut stream = UnixStream::connect(path).unwrap();
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            stream.write_all(b"report\n").unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            let shards: Vec<_> = (0..shards).map(|shard| of_shard(&text, shard)).collect();
            let answered = shards.iter().all(|it| !it.is_empty());
            answered.then_some(Self(shards))
        })
    }

    /// One counter of each shard, in their order; what is not there counts zero.
    pub(crate) fn each(&self, group: &str, name: &str) -> Vec<u64> {
        let key = (group.to_owned(), name.to_owned());
        let of = |counters: &BTreeMap<_, u64>| counters.get(&key).copied().unwrap_or_default();
        self.0.iter().map(of).collect()
    }

    /// One counter of all shards together.
    pub(crate) fn sum(&self, group: &str, name: &str) -> u64 {
        self.each(group, name).iter().sum()
    }
}

/// The counters in the lines of one shard: `shard N: group: name=value name=value`.
fn of_shard(text: &str, shard: u32) -> BTreeMap<(String, String), u64> {
    let who = format!("shard {shard}: ");
    let lines = text.lines().filter_map(|line| line.strip_prefix(&who));
    let groups = lines.filter_map(|line| line.split_once(": "));
    let counters = groups.flat_map(|(group, pairs)| {
        pairs.split(' ').map(move |pair| {
            let (name, value) = pair.split_once('=').unwrap();
            let key = (group.to_owned(), name.to_owned());
            (key, value.parse().unwrap())
        })
    });
    counters.collect()
}

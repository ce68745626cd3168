//! The directives that only ringway has, in a file that the stock daemon reads too.

use ringway::node::settings::{CoreList, usable_cores};

use crate::client::{Client, ClientConfig};
use crate::process::Process;
use crate::server::{Implementation, READY, Server, ServerConfig, Site};

/// Three shards on the machine's cores in descending order, in the form that both servers read.
fn config_for_both(site: &Site, cores: &[usize]) -> ServerConfig {
    site.server_config()
        .without("setenv")
        .line("setenv opt ringway-shards 3")
        .line(format!("setenv opt ringway-cores {}", CoreList(cores)))
        .line("setenv opt ringway-steering both")
}

#[test]
fn shards_run_on_the_cores_that_are_written() {
    if !Implementation::is_ringway("shards_run_on_the_cores_that_are_written") {
        return;
    }
    let site = Site::new(1);
    let mut cores = usable_cores();
    cores.reverse();
    cores.truncate(3);
    let server = Server::start(&site, &config_for_both(&site, &cores));
    for (number, core) in cores.iter().cycle().take(3).enumerate() {
        let allowed = server.process.cores_of_thread(&format!("shard-{number}"));
        assert_eq!(allowed, core.to_string(), "shard {number}");
    }
    Client::connect(&site, &ClientConfig::new(&site, 0, "alice")).assert_reaches_all(&site);
}

/// The same file starts the stock daemon, which says of each line that it does not know it.
#[test]
fn the_way_back() {
    let site = Site::new(1);
    let cores = usable_cores();
    let config = config_for_both(&site, &cores[..1]);
    let path = site.topology.write("server.conf", config.text());
    let start = |path: &std::path::Path| {
        let words = ["--config", &path.display().to_string()];
        Process::spawn(
            "the stock daemon",
            site.topology.server.name(),
            "openvpn",
            &words,
        )
    };
    let stock = start(&path);
    stock.wait_for(READY);
    for directive in ["ringway-shards", "ringway-cores", "ringway-steering"] {
        let line = stock.wait_for(directive);
        let start = "Unrecognized option or missing or extra parameter(s) in ";
        assert!(line.contains(start), "{line}");
    }
    Client::connect(&site, &ClientConfig::new(&site, 0, "alice")).assert_reaches_all(&site);
    drop(stock);

    // In the first form they are ringway's alone.
    let text = config.text().replace("setenv opt ringway-", "ringway-");
    let mut stock = start(&site.topology.write("plain.conf", text));
    stock.wait_for("Options error: Unrecognized option or missing or extra parameter(s) in ");
    assert_eq!(stock.wait_exit().code(), Some(1));
}

//! Reading the configuration that `ringway quickstart` makes, with the keys and certificates it names.

use std::io;

use ringway::cli::pki::day;
use ringway::cli::quickstart::{QuickstartOptions, prepare};
use ringway::config;
use ringway::random::SystemRandom;
use ringway::time::Now;

use super::{Figure, Rounds};

/// Costs of one reading. It is no matter of packets: a hundredth of the rounds' items are read.
pub(super) fn measure(rounds: &Rounds) -> Result<Vec<Figure>, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let options = QuickstartOptions {
        directory: directory.path().to_owned(),
        port: 1194,
        pool: "10.8.0.0/24".parse().map_err(|_| "a network")?,
        public_address: Some("192.0.2.1".to_owned()),
    };
    let today = day(Now::read().unix);
    prepare(&options, today, &mut SystemRandom, &mut io::sink())
        .map_err(|error| error.to_string())?;
    let words = ["--config", "server.conf"].map(str::to_owned);
    let few = Rounds {
        rounds: rounds.rounds,
        items: rounds.items.div_ceil(100),
    };
    let figure = few.time("configuration of quickstart", None, |count| {
        for _ in 0..count {
            let loaded = config::load(&words, directory.path());
            loaded.configuration.ok_or("the configuration is refused")?;
        }
        Ok(())
    })?;
    Ok(vec![figure])
}

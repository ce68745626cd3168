use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::node::leases::Addresses;
use crate::node::registry::{OwnTerms, SessionAt};
use crate::node::settings::{HookScripts, NetworkSettings, ScriptCommand};

const PATIENCE: Duration = Duration::from_secs(60);

/// Clients' lives with scripts that write down what they are told.
struct World {
    directory: tempfile::TempDir,
    visits: Visits,
    woken: Receiver<()>,
    /// For the management interface.
    told: Receiver<ClientNews>,
    /// Events and what links are told, as text.
    heard: Vec<String>,
    reports: Vec<Report>,
}

/// One that the shell reads: the kernel starts no file that a process just forked for another test
/// still has open for writing.
fn script(directory: &Path, name: &str, text: &str) -> ScriptCommand {
    let file = directory.join(name);
    let log = directory.join("log").display().to_string();
    std::fs::write(&file, format!("L={log}\n{text}\n")).unwrap();
    ScriptCommand {
        program: "/bin/sh".into(),
        arguments: vec![file.display().to_string(), "own".to_owned()],
    }
}

impl World {
    fn new(connect: Option<&str>, disconnect: Option<&str>, learn: Option<&str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: Option<&str>| text.map(|text| script(directory.path(), name, text));
        let scripts = HookScripts {
            key_metadata: None,
            verify: None,
            connect: write("connect", connect),
            disconnect: write("disconnect", disconnect),
            learn: write("learn", learn),
            challenge: None,
        };
        let hooks = Hooks {
            directory: directory.path().to_owned(),
            patience: PATIENCE,
            scripts,
            runner: Some(Arc::new(crate::node::auth::runner::tests::runner())),
            plugins: None,
            network: NetworkSettings { v4: None, v6: None },
        };
        let (wake, woken) = channel::unbounded();
        let (news, told) = channel::unbounded();
        let wake = move || {
            let _ended = wake.send(());
        };
        Self {
            visits: Visits::new(hooks, Some(news), Arc::new(wake)),
            told,
            directory,
            woken,
            heard: Vec::new(),
            reports: Vec::new(),
        }
    }

    fn accepted(&mut self, client_id: u64) {
        self.accepted_with(client_id, Vec::new());
    }

    fn accepted_with(&mut self, client_id: u64, given: Vec<ProfileLines>) {
        let login = Arc::new(Login {
            since: 1_000_000,
            environment: vec![("colour".to_owned(), "blue".to_owned())],
            ..Login::of_test(client_id)
        });
        self.visits.accepted(login, given);
    }

    /// What the management interface has been told, in short.
    fn news(&self) -> Vec<String> {
        let has = |variables: &[(String, String)], name: &str| {
            variables.iter().any(|(it, _)| it.starts_with(name))
        };
        let told = self.told.try_iter().map(|news| match news {
            ClientNews::Addressed {
                client_id,
                network,
                primary,
            } => format!("{client_id} at {network} {primary}"),
            ClientNews::Established {
                client_id,
                environment,
            } => {
                let placed = has(&environment, "ifconfig_pool_");
                format!("{client_id} is in, placed {placed}")
            }
            ClientNews::Gone {
                client_id,
                environment,
            } => {
                let counted = environment.map(|it| has(&it, "bytes_sent"));
                format!("{client_id} is gone, counted {counted:?}")
            }
            other => panic!("{other:?}"),
        });
        told.collect()
    }

    /// Goes on until there are so many reports.
    fn until(&mut self, reports: usize) {
        loop {
            self.visits.handle_timeout(Instant::now());
            self.hear();
            if self.reports.len() >= reports {
                return;
            }
            let patience = self.visits.next_timeout();
            let patience =
                patience.map_or(PATIENCE, |at| at.saturating_duration_since(Instant::now()));
            let woken = self.woken.recv_timeout(patience);
            assert!(woken.is_ok() || patience < PATIENCE, "{:?}", self.heard);
        }
    }

    fn until_idle(&mut self) {
        while !self.visits.is_idle() {
            self.woken.recv_timeout(PATIENCE).unwrap();
            self.visits.handle_timeout(Instant::now());
        }
        self.hear();
    }

    fn hear(&mut self) {
        while let Some(said) = self.visits.poll() {
            match said {
                Said::Report(Report::Event(NodeEvent::Client { event, .. })) => {
                    self.heard.push(format!("{event:?}"));
                }
                Said::Report(report) => self.reports.push(report),
                Said::Departed(client) => self.heard.push(format!("{client} is gone")),
            }
        }
    }

    fn log(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.directory.path().join("log"));
        text.unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// The lines of the answer to the one that has arrived.
    fn connected(&mut self) -> Option<Vec<(PathBuf, String)>> {
        self.until(1);
        match self.reports.remove(0) {
            Report::Connected(connected) => connected.lines.map(|lines| {
                let lines = lines.iter();
                let lines = lines.map(|it| (PathBuf::from(&it.source), it.text.clone()));
                lines.collect()
            }),
            other => panic!("{other:?}"),
        }
    }

    fn files(&self) -> usize {
        let entries = std::fs::read_dir(self.directory.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name());
        names
            .filter(|name| name.to_string_lossy().starts_with("openvpn_cc"))
            .count()
    }
}

fn place() -> Arc<Place> {
    Arc::new(Place {
        addresses: Addresses {
            v4: Some([10, 8, 0, 2].into()),
            v6: None,
        },
        astray: Vec::new(),
        networks: vec!["10.9.0.0/24".parse().unwrap()],
        own: OwnTerms::default(),
        hosts_max: 0,
        quota_exceeded: None,
    })
}

fn arrival(client_id: u64) -> Arrival {
    Arrival {
        of: SessionAt {
            shard: 0,
            session: client_id,
        },
        client_id,
        client: ClientTag::named(([192, 0, 2, 1], 7).into(), "anna".into()),
        place: place(),
    }
}

const fn departure(client_id: u64) -> Departure {
    Departure {
        client_id,
        received: 11,
        sent: 22,
        lasted: Duration::from_secs(33),
    }
}

#[test]
fn a_life_with_scripts() {
    let mut world = World::new(
        Some(
            "echo $script_type $# $1 $common_name $colour $trusted_ip >>$L; echo 'push \"route 10.1.0.0\"' >$2",
        ),
        Some("echo $script_type $# $common_name $bytes_received $bytes_sent $time_duration >>$L"),
        Some("echo $script_type $* ${common_name:-nobody} >>$L"),
    );
    world.accepted(5);
    world.visits.arrived(arrival(5));
    let lines = world.connected().unwrap();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].1, "push \"route 10.1.0.0\"\n");
    assert_eq!(world.files(), 0, "its files are gone");
    world.visits.arrived(arrival(5));
    assert_eq!(
        world.connected().unwrap(),
        lines,
        "said again when asked again"
    );
    world.visits.placed(5, &place());
    world.until(1);
    assert!(matches!(&world.reports[..], [Report::Learned(it)] if it.refused.is_empty()));
    world.visits.departed(&departure(5));
    world.until_idle();
    assert_eq!(world.heard, ["5 is gone"]);
    assert_eq!(
        world.log(),
        [
            "client-connect 2 own anna blue 192.0.2.1",
            "learn-address own add 10.8.0.2 anna anna",
            "learn-address own add 10.9.0.0/24 anna anna",
            "client-disconnect 1 anna 11 22 33",
            "learn-address own delete 10.8.0.2 nobody",
            "learn-address own delete 10.9.0.0/24 nobody",
        ]
    );
    assert!(world.visits.clients.is_empty() && world.visits.learned.is_empty());
}

#[test]
fn who_is_refused_hears_nothing_but_that_and_goes_by_disconnect() {
    let mut world = World::new(Some("exit 3"), Some("echo gone >>$L"), None);
    world.accepted(1);
    world.visits.arrived(arrival(1));
    assert_eq!(world.connected(), None);
    let said = "WARNING: Failed running command (--client-connect): external program exited with \
                error status: 3";
    assert!(world.heard[0].contains(said), "{:?}", world.heard);
    world.visits.departed(&departure(1));
    world.until_idle();
    assert_eq!(world.log(), ["gone"]);
}

#[test]
fn an_answer_may_come_later() {
    for (later, comes) in [("1", true), ("0", false)] {
        let text = format!(
            "echo 2 >$client_connect_deferred_file\n(sleep 0.3; echo 'iroute 10.3.0.0' >$2; \
             echo {later} >$client_connect_deferred_file) &"
        );
        let mut world = World::new(Some(&text), None, None);
        world.accepted(1);
        world.visits.arrived(arrival(1));
        let lines = world.connected();
        assert_eq!(
            lines.map(|lines| lines[0].1.clone()),
            comes.then(|| "iroute 10.3.0.0\n".to_owned())
        );
        assert_eq!(world.files(), 0);
    }
}

#[test]
fn who_goes_while_it_is_asked_is_gone_at_once_and_leaves_nothing() {
    let mut world = World::new(
        Some("echo 2 >$client_connect_deferred_file"),
        Some("echo gone >>$L"),
        None,
    );
    world.accepted(1);
    world.visits.arrived(arrival(1));
    while world.visits.next_timeout().is_none() {
        world.woken.recv_timeout(PATIENCE).unwrap();
        world.visits.handle_timeout(Instant::now());
    }
    world.visits.departed(&departure(1));
    world.until_idle();
    assert_eq!((world.files(), world.log()), (0, vec!["gone".to_owned()]));
    assert_eq!(world.heard, ["1 is gone"]);
    // A stranger, or one that is gone, gets no answer.
    world.visits.arrived(arrival(1));
    world.visits.placed(1, &place());
    world.visits.departed(&departure(1));
    assert!(world.visits.poll().is_none());
}

#[test]
fn an_address_that_a_script_refuses_leads_nowhere_and_the_next_owner_is_new() {
    let mut world = World::new(None, None, Some("echo $2 $3 >>$L; test $3 != 10.8.0.2"));
    for client in [1, 2] {
        world.accepted(client);
        world.visits.arrived(arrival(client));
        assert_eq!(world.connected(), Some(Vec::new()));
        world.visits.placed(client, &place());
        world.until(1);
        let Report::Learned(learned) = world.reports.remove(0) else {
            panic!();
        };
        assert_eq!(learned.refused, [IpNet::from(IpAddr::from([10, 8, 0, 2]))]);
    }
    let expected = [
        "add 10.8.0.2",
        "add 10.9.0.0/24",
        "add 10.8.0.2",
        "update 10.9.0.0/24",
    ];
    assert_eq!(world.log(), expected);
    // It leads to the second one by now.
    world.visits.departed(&departure(1));
    world.until_idle();
    assert_eq!(world.log().len(), 4);
}

#[test]
fn when_all_go_at_once_each_has_its_turn() {
    let mut world = World::new(None, Some("echo x >>$L"), None);
    let many = ERRANDS_AT_ONCE as u64 * 3;
    for client in 0..many {
        world.accepted(client);
        world.visits.arrived(arrival(client));
    }
    for client in 0..many {
        world.visits.departed(&departure(client));
        assert!(world.visits.under_way <= ERRANDS_AT_ONCE);
    }
    world.until_idle();
    assert_eq!(world.log().len(), many as usize);
}

#[test]
fn more_lines_than_anybody_reads_are_refused_as_a_whole() {
    for (blocks, comes) in [(256, true), (257, false)] {
        let text = format!("head -c {blocks}k /dev/zero | tr '\\0' '#' >$2");
        let mut world = World::new(Some(&text), None, None);
        world.accepted(1);
        world.visits.arrived(arrival(1));
        let length = world.connected().map(|lines| lines[0].1.len());
        assert_eq!(length, comes.then_some(256 << 10), "{:?}", world.heard);
    }
}

#[test]
fn the_management_interface_hears_who_comes_in_and_goes_and_its_lines_stand_behind_the_scripts() {
    let mut world = World::new(
        Some("echo 'push \"a\"' >$2"),
        None,
        Some("test $3 != 10.9.0.0/24"),
    );
    let given = ProfileLines {
        source: "the manager".to_owned(),
        text: "push \"b\"\n".to_owned(),
    };
    world.accepted_with(1, vec![given]);
    world.visits.arrived(arrival(1));
    let lines = world.connected().unwrap();
    let lines: Vec<_> = lines.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(lines, ["push \"a\"\n", "push \"b\"\n"]);
    assert_eq!(world.news(), [] as [&str; 0], "it is not in yet");
    world.visits.placed(1, &place());
    world.until(1);
    let told = ["1 at 10.8.0.2/32 true", "1 is in, placed false"];
    assert_eq!(world.news(), told, "what was refused does not lead to it");
    world.visits.departed(&departure(1));
    assert_eq!(world.news(), ["1 is gone, counted Some(true)"]);
    // One that is accepted and does not come.
    world.accepted(2);
    world.visits.departed(&departure(2));
    assert_eq!(world.news(), ["2 is gone, counted None"]);
}

#[test]
fn what_is_known_of_a_client_goes_with_its_next_login() {
    let mut world = World::new(None, None, None);
    world.accepted(1);
    assert_eq!(world.visits.known_of(1), []);
    world.visits.arrived(arrival(1));
    let known = world.visits.known_of(1);
    let names: Vec<_> = known.iter().map(|(name, _)| name.as_str()).collect();
    let expected = ["time_unix", "time_ascii", "trusted_port", "trusted_ip"];
    assert_eq!(names, expected, "the network has no addresses here");
}

//! The scripts under `tuning/`, in a network that each test makes for itself. They need root, as
//! the interoperability tests do.
//!
//! ```text
//!   a new network namespace: its own net.ipv4.ip_forward, which is 0
//!   +---------------------------------------------------------------+
//!   | tuning/check, tuning/forwarding   no interface but loopback   |
//!   +---------------------------------------------------------------+
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first surprise"
)]

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

#[test]
fn check_sees_whether_the_machine_forwards() {
    let network = Network::new();
    assert_eq!(network.verdict("net.ipv4.ip_forward"), "not set");
    assert_eq!(network.verdict("net.ipv6.conf.all.forwarding"), "not set");
    network.run("echo 1 >/proc/sys/net/ipv4/ip_forward");
    assert_eq!(network.verdict("net.ipv4.ip_forward"), "ok");
    assert_eq!(network.verdict("net.ipv6.conf.all.forwarding"), "not set");
    network.run("echo 1 >/proc/sys/net/ipv6/conf/all/forwarding");
    assert_eq!(network.verdict("net.ipv6.conf.all.forwarding"), "ok");
}

#[test]
fn check_sees_a_strict_reverse_path_filter() {
    let network = Network::new();
    for (value, verdict) in [(0, "ok"), (1, "not set"), (2, "ok")] {
        network.run(&format!(
            "echo {value} >/proc/sys/net/ipv4/conf/all/rp_filter"
        ));
        let found = network.verdict("net.ipv4.conf.all.rp_filter");
        assert_eq!(found, verdict, "{value}");
    }
}

#[test]
fn check_sees_where_the_work_of_a_link_is_done() {
    let network = Network::new();
    let verdict = || network.verdict("receive steering (RPS)");
    assert_eq!(verdict(), "unknown");
    network.run(
        "ip link add near type veth peer name far && ip link set near up && ip link set far up",
    );
    assert_eq!(verdict(), "not set");
    for link in ["near", "far"] {
        let file = format!("/sys/class/net/{link}/queues/rx-0/rps_cpus");
        network.run(&format!("echo 1 >{file}"));
        // Both of them have to.
        assert_eq!(verdict(), if link == "near" { "not set" } else { "ok" });
    }
}

#[test]
fn check_sees_how_much_waits_in_a_tun_device() {
    let network = Network::new();
    let verdict = || network.verdict("tx_queue_len of tun devices");
    assert_eq!(verdict(), "unknown");
    network.run("ip tuntap add dev tun7 mode tun");
    for (length, expected) in [(500, "not set"), (999, "not set"), (1000, "ok")] {
        network.run(&format!("ip link set tun7 txqueuelen {length}"));
        assert_eq!(verdict(), expected, "{length}");
    }
    network.run("ip tuntap add dev tun8 mode tun && ip link set tun8 txqueuelen 10");
    assert_eq!(verdict(), "not set");
}

#[test]
fn check_counts_what_is_not_set_and_says_how_to_set_it() {
    let network = Network::new();
    let before = network.check();
    assert_eq!(before.code, 1);
    assert!(before.text.contains("how: tuning/forwarding apply"));
    let not_set = |text: &str| text.lines().filter(|l| l.starts_with("not set ")).count();
    let last = format!("\n{} not set\n", not_set(&before.text));
    assert!(before.text.ends_with(&last), "{}", before.text);
    network.run("echo 1 >/proc/sys/net/ipv4/ip_forward");
    let after = network.check();
    assert_eq!(not_set(&after.text) + 1, not_set(&before.text));
    assert!(!after.text.contains("how: tuning/forwarding apply"));
}

#[test]
fn forwarding_is_applied_and_undone() {
    for (knob, file) in [
        ("forwarding", "/proc/sys/net/ipv4/ip_forward"),
        ("forwarding-ipv6", "/proc/sys/net/ipv6/conf/all/forwarding"),
    ] {
        let network = Network::new();
        let state = network.state.path().join(knob);
        let value = || network.run(&format!("cat {file}")).text;
        let knob = |verb: &str| network.run(&format!("tuning/{knob} {verb}")).text;

        assert_eq!(knob("undo"), "nothing was applied\n");
        assert!(knob("show").ends_with(" = 0 (wanted: 1)\n"));
        assert!(knob("apply").ends_with(" = 1\n"));
        assert_eq!(value(), "1\n");
        assert!(state.exists());
        assert_eq!(knob("apply"), "nothing to do\n");
        assert!(knob("undo").ends_with(" = 0\n"));
        assert_eq!(value(), "0\n");
        assert!(!state.exists());
    }
}

#[test]
fn what_was_right_before_is_left_alone_by_undo() {
    let network = Network::new();
    network.run("echo 1 >/proc/sys/net/ipv4/ip_forward");
    let script = "tuning/forwarding apply && tuning/forwarding undo";
    assert_eq!(
        network.run(script).text,
        "nothing to do\nnothing was applied\n"
    );
    assert_eq!(network.verdict("net.ipv4.ip_forward"), "ok");
}

#[test]
fn a_setting_that_a_network_namespace_only_shares_is_refused_and_nothing_noted() {
    let network = Network::new();
    let refused = network.bash("tuning/socket-buffers apply");
    // Newer kernels show the setting in every namespace, older ones outside alone.
    assert_eq!(refused.code, 1, "{}", refused.text);
    assert!(
        refused.text.starts_with("tuning/socket-buffers: "),
        "{}",
        refused.text
    );
    assert_eq!(network.state.path().read_dir().unwrap().count(), 0);
}

#[test]
fn a_word_that_is_no_verb_is_refused() {
    let network = Network::new();
    for words in ["", "up"] {
        let refused = network.bash(&format!("tuning/forwarding {words}"));
        assert_eq!(refused.code, 2);
        assert_eq!(refused.text, "usage: tuning/forwarding show|apply|undo\n");
    }
    assert_eq!(network.bash("tuning/check everything").code, 2);
}

/// A network namespace that lives as long as the process which holds it. /sys shows its devices.
struct Network {
    holder: std::process::Child,
    state: TempDir,
}

/// Holds the namespaces until its input ends.
const HOLD: &str = "mount -t sysfs sysfs /sys && echo ready; exec cat";

/// How a command ended, and what it printed on both streams.
struct Outcome {
    code: i32,
    text: String,
}

impl Network {
    fn new() -> Self {
        let mut holder = Command::new("unshare")
            .args(["--net", "--mount", "--", "sh", "-c", HOLD])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        let said = holder.stdout.as_mut().unwrap();
        std::io::Read::read_exact(said, &mut ready).expect("a network of our own: run as root");
        assert_eq!(&ready, b"ready\n");
        let state = tempfile::tempdir().unwrap();
        Self { holder, state }
    }

    /// What `tuning/check` says of a knob.
    fn verdict(&self, knob: &str) -> String {
        let text = self.check().text;
        let line = text
            .lines()
            .find(|line| line.contains(&format!(" {knob} ")))
            .unwrap_or_else(|| panic!("{knob} is not in:\n{text}"));
        line.split_once(knob).unwrap().0.trim().to_owned()
    }

    fn check(&self) -> Outcome {
        self.bash("tuning/check")
    }

    /// Runs a script that must succeed.
    fn run(&self, script: &str) -> Outcome {
        let outcome = self.bash(script);
        assert_eq!(outcome.code, 0, "{script}: {}", outcome.text);
        outcome
    }

    fn bash(&self, script: &str) -> Outcome {
        let [network, mounts] = [("net", "net"), ("mount", "mnt")]
            .map(|(kind, file)| format!("--{kind}=/proc/{}/ns/{file}", self.holder.id()));
        // Another mount namespace begins at its root.
        let directory = format!("--wd={}", env!("CARGO_MANIFEST_DIR"));
        let output = Command::new("nsenter")
            .args([&network, &mounts, &directory, "--", "bash", "-c", script])
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
            .env("RINGWAY_TUNING_STATE", self.state.path())
            .output()
            .unwrap();
        let both = [output.stdout, output.stderr].concat();
        Outcome {
            code: output.status.code().expect("an exit code"),
            text: String::from_utf8(both).unwrap(),
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ended = self.holder.kill();
        let _reaped = self.holder.wait();
    }
}

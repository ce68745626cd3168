//! Who the server becomes, what passes between its clients, and how many strangers it meets.

use std::fs;
use std::time::Duration;

use nix::unistd::{Gid, Group, User};

use super::Files;
use crate::config::settings::{Account, ContactLimits, Rate, RestartSignal};

#[test]
fn privileges() {
    let files = Files::new();
    fs::create_dir(files.0.path().join("jail")).unwrap();
    let process = files.with("").node.process;
    assert_eq!(
        (process.user, process.group, process.chroot),
        (None, None, None)
    );

    let nobody = User::from_name("nobody").unwrap().unwrap();
    let group = Group::from_gid(nobody.gid).unwrap().unwrap();
    let lines = format!("user nobody\ngroup {}\nchroot jail\n", group.name);
    assert_eq!(files.first_remark(&lines), "");
    let process = files.with(&lines).node.process;
    assert_eq!(
        process.user,
        Some(Account {
            name: "nobody".into(),
            id: nobody.uid.as_raw()
        })
    );
    assert_eq!(
        process.group,
        Some(Account {
            name: group.name,
            id: nobody.gid.as_raw()
        })
    );
    assert_eq!(process.chroot, Some(files.0.path().join("jail")));
}

#[test]
fn memory_and_the_meaning_of_sigusr1() {
    let files = Files::new();
    let process = files.with("").node.process;
    assert_eq!(
        (process.locks_memory, process.restart),
        (false, RestartSignal::Own)
    );
    let process = files.with("mlock\nremap-usr1 SIGTERM\n").node.process;
    assert_eq!(
        (process.locks_memory, process.restart),
        (true, RestartSignal::Terminate)
    );
    let process = files.with("remap-usr1 SIGHUP\n").node.process;
    assert_eq!(process.restart, RestartSignal::Own);
    let said = files.first_remark("remap-usr1 SIGKILL\n");
    assert!(
        said.contains("`SIGKILL` is no signal for it; write SIGHUP or SIGTERM"),
        "{said}"
    );
}

#[test]
fn privileges_that_are_remarked_upon() {
    let files = Files::new();
    let root = Group::from_gid(Gid::from_raw(0)).unwrap().unwrap().name;
    assert_eq!(files.first_remark(&format!("group {root}\n")), "");
    for (lines, remark) in [
        (
            "user root\n",
            "t.conf:8: warning: user: the process stays the superuser; name another, such as \
             `nobody`",
        ),
        (
            "user nobody-of-this-name\n",
            "t.conf:8: error: user: failed to find UID for user nobody-of-this-name",
        ),
        // OpenVPN takes no numbers either.
        (
            "user 65534\n",
            "t.conf:8: error: user: failed to find UID for user 65534",
        ),
        (
            "group 65534\n",
            "t.conf:8: error: group: failed to find GID for group 65534",
        ),
        (
            "group \"\"\n",
            "t.conf:8: error: group: failed to find GID for group ",
        ),
        (
            "user\n",
            "t.conf:8: error: user: takes 1 argument, not 0; write `user NAME`",
        ),
        (
            "chroot jail\n",
            "t.conf:8: error: chroot: `jail` is not a directory",
        ),
        (
            "daemon\nchroot .\n",
            "t.conf:9: warning: chroot: the system log is out of reach from there once its daemon is \
             started again; write `log FILE`, or make `dev/log` in the directory",
        ),
        ("daemon\nlog t.log\nchroot .\n", ""),
        ("chroot .\n", ""),
        (
            "chroot ca.crt\n",
            "t.conf:8: error: chroot: `ca.crt` is not a directory",
        ),
        (
            "chroot \"\"\n",
            "t.conf:8: error: chroot: the name of the file is empty",
        ),
    ] {
        assert_eq!(files.first_remark(lines), remark, "{lines}");
    }
}

/// Debian has `nogroup`, Red Hat `nobody`; whoever moves a configuration learns the other name.
#[test]
fn the_group_of_nobody() {
    let files = Files::new();
    let nobody = User::from_name("nobody").unwrap().unwrap();
    let here = Group::from_gid(nobody.gid).unwrap().unwrap().name;
    let elsewhere = ["nobody", "nogroup"]
        .into_iter()
        .find(|name| Group::from_name(name).unwrap().is_none())
        .expect("one of the two is missing");
    assert_eq!(
        files.first_remark(&format!("group {elsewhere}\n")),
        format!(
            "t.conf:8: error: group: failed to find GID for group {elsewhere}; write `group {here}`"
        )
    );
}

#[test]
fn contact_limits() {
    let files = Files::new();
    let rate = |count, seconds| Rate {
        count,
        per: Duration::from_secs(seconds),
    };
    let stock = ContactLimits {
        new_sessions: None,
        initial: rate(100, 10),
    };
    for (lines, limits) in [
        ("", stock),
        (
            "connect-freq 5 1\n",
            ContactLimits {
                new_sessions: Some(rate(5, 1)),
                ..stock
            },
        ),
        ("connect-freq 5 1\nconnect-freq 0 0\n", stock),
        (
            "connect-freq-initial 4294967295 60\n",
            ContactLimits {
                initial: rate(4_294_967_295, 60),
                ..stock
            },
        ),
    ] {
        assert_eq!(files.first_remark(lines), "", "{lines}");
        assert_eq!(files.with(lines).contact, limits, "{lines}");
    }
    for (lines, remark) in [
        (
            "connect-freq 0 10\n",
            "t.conf:8: error: connect-freq: nobody could connect; remove the line, or write how \
             many",
        ),
        (
            "connect-freq -1 10\n",
            "t.conf:8: error: connect-freq: `-1` is not a whole number from 0 to 4294967295",
        ),
        (
            "connect-freq 10\n",
            "t.conf:8: error: connect-freq: takes 2 arguments, not 1; write `connect-freq N \
             SECONDS`",
        ),
        (
            "connect-freq-initial 0 10\n",
            "t.conf:8: error: connect-freq-initial: `0` is not a whole number from 1 to 4294967295",
        ),
        (
            "connect-freq-initial 10 0\n",
            "t.conf:8: error: connect-freq-initial: `0` is not a whole number from 1 to 31536000",
        ),
    ] {
        assert_eq!(files.first_remark(lines), remark, "{lines}");
    }
}

#[test]
fn traffic_between_clients() {
    let files = Files::new();
    assert!(!files.with("").client_to_client);
    assert!(files.with("client-to-client\n").client_to_client);
    assert_eq!(files.first_remark("client-to-client\nfloat\n"), "");
}

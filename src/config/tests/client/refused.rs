//! Lines of clients that are refused, and lines without effect.

use super::{Files, LEAST};

/// Each of these lines is the one error of the least client.
fn refused(table: &[(&str, &str)]) {
    let files = Files::new();
    for (lines, remark) in table {
        let text = format!("{LEAST}{lines}");
        assert!(files.load_text(&text).configuration.is_none(), "{lines}");
        let remarks = files.remarks(&text);
        let errors: Vec<_> = remarks
            .iter()
            .filter(|line| line.contains(": error: "))
            .collect();
        assert_eq!(errors, [remark], "{lines}");
    }
}

#[test]
fn what_a_client_is_not() {
    refused(&[
        (
            "server 10.8.0.0 255.255.255.0\n",
            "t.conf:8: error: server: it belongs to a server's configuration",
        ),
        (
            "tls-server\n",
            "t.conf:8: error: tls-server: it belongs to a server's configuration",
        ),
        (
            "mode server\n",
            "t.conf:8: error: mode: `mode server` does not go with `client`; keep the one that is meant",
        ),
        (
            "remote-cert-tls client\n",
            "t.conf:8: error: remote-cert-tls: a client's peer is a server; write `remote-cert-tls server`",
        ),
        (
            "auth-retry interact\n",
            "t.conf:8: error: auth-retry: nobody is asked while the client runs; write `auth-retry \
             none` or `auth-retry nointeract`",
        ),
        (
            "static-challenge \"Code\" 1\n",
            "t.conf:8: error: static-challenge: not supported yet (a question at login); remove the \
             line, if the server does without an answer",
        ),
        (
            "ringway-shards 2\n",
            "t.conf:8: error: ringway-shards: a tunnel is one shard's, and a client has one tunnel; \
             remove the line; `ringway-cores` says on which core",
        ),
        (
            "http-proxy proxy 80\n",
            "t.conf:8: error: http-proxy: not supported yet (connect by a proxy); it belongs to TCP; \
             remove the line",
        ),
        (
            "remote vpn 1194 tcp\nfragment 1300\n",
            "t.conf:9: error: fragment: can only be used with `proto udp`; remove the line, or the \
             remotes over TCP",
        ),
        (
            "comp-lzo maybe\n",
            "t.conf:8: error: comp-lzo: `maybe` is no algorithm",
        ),
        (
            "block-outside-dns\n",
            "t.conf:8: error: block-outside-dns: it is about Windows",
        ),
    ]);
}

#[test]
fn remotes_that_cannot_be_dialed() {
    refused(&[
        (
            "nobind\nlport 5\n",
            "t.conf:9: error: lport: it makes no sense beside `nobind`; remove one of the two",
        ),
        (
            "local 192.0.2.7\nnobind\n",
            "t.conf:8: error: local: it makes no sense beside `nobind`; remove one of the two",
        ),
        (
            "local vpn.example.net\n",
            "t.conf:8: error: local: `vpn.example.net` is not an address",
        ),
        (
            "proto udp6\n",
            "t.conf:3: error: remote: 192.0.2.1 is not of the family that `proto` names; write `proto udp` or `proto tcp`",
        ),
        (
            "remote a 1 sctp\n",
            "t.conf:8: error: remote: `sctp` is no protocol of a client; write `udp`, `udp4`, `udp6`, `tcp`, `tcp4` or `tcp6`",
        ),
        (
            "remote a 0\n",
            "t.conf:8: error: remote: `0` is not a whole number from 1 to 65535",
        ),
        (
            "<connection>\nremote a\nverb 3\n</connection>\n",
            "t.conf:8: error: connection: `verb` cannot stand in a <connection>; write it outside, for all of them",
        ),
        (
            "<connection>\nremote a\nremote b\n</connection>\n",
            "t.conf:10: error: remote: a <connection> has one remote; write a block for each",
        ),
        (
            "<connection>\nnobind\n</connection>\n",
            "t.conf:8: error: connection: the block has no `remote`",
        ),
        (
            "<connection>\nremote \"a\n</connection>\n",
            "t.conf:8: error: connection: line 1 of the block: no closing quotation (\")",
        ),
    ]);
}

#[test]
fn tunnels_that_cannot_be_made() {
    refused(&[
        (
            "pull-filter drop x\n",
            "t.conf:8: error: pull-filter: `drop` is no action; write `accept`, `ignore` or `reject`",
        ),
        (
            "pull-filter ignore \"\"\n",
            "t.conf:8: error: pull-filter: the text is empty, with which every option begins",
        ),
        (
            "pull-filter ignore \"cipher AES\"\n",
            "t.conf:8: error: pull-filter: `cipher` is followed before filters are asked, and cannot \
             be left out; remove the line, or write `pull-filter reject`",
        ),
        (
            "pull-filter ignore ping-restart\n",
            "t.conf:8: error: pull-filter: `ping-restart` is followed before filters are asked, and \
             cannot be left out; remove the line, or write `pull-filter reject`",
        ),
        (
            "pull-filter ignore pi\n",
            "t.conf:8: error: pull-filter: `ping` is followed before filters are asked, and cannot be \
             left out; remove the line, or write `pull-filter reject`",
        ),
        (
            "route example.net\n",
            "t.conf:8: error: route: `example.net` is not an IPv4 address; names are not resolved for \
             routes: write the address",
        ),
        (
            "redirect-gateway def2\n",
            "t.conf:8: error: redirect-gateway: `def2` is no flag; the flags are `def1`, `local`, \
             `autolocal`, `ipv6` and `!ipv4`",
        ),
        (
            "redirect-gateway block-local\n",
            "t.conf:8: error: redirect-gateway: `block-local` is not served: the local network would \
             stay within reach; remove the flag",
        ),
        (
            "tun-mtu-max 1400\n",
            "t.conf:8: error: tun-mtu-max: less than the MTU of the device, 1500",
        ),
    ]);
}

#[test]
fn scripts_and_pings_that_do_not_fit() {
    refused(&[
        (
            "keepalive 10 60\nping-exit 5\n",
            "t.conf:9: error: ping-exit: `keepalive` sets this already; remove one of the two",
        ),
        (
            "up /bin/true\n",
            "t.conf:8: error: script-security: programs are started with `script-security 2` alone; add \
             `script-security 2`",
        ),
        (
            "script-security 2\nup /bin/true a\n",
            "t.conf:9: error: up: a command is one word; write it in quotes: up \"/bin/true a\"",
        ),
        (
            "script-security 2\nup /nowhere\n",
            "t.conf:9: error: up: script fails with '/nowhere': No such file or directory",
        ),
        (
            "script-security 2\nup /bin\n",
            "t.conf:9: error: up: script fails with '/bin': not a file",
        ),
    ]);
}

#[test]
fn what_has_no_effect_is_told() {
    let files = Files::new();
    for (lines, remark) in [
        (
            "float\n",
            "warning: float: has no effect: packets are taken from the address that was dialed alone",
        ),
        (
            "max-clients 5\n",
            "warning: max-clients: has no effect: it belongs to a server's configuration",
        ),
        (
            "push \"a b\"\n",
            "warning: push: has no effect: a client pushes nothing",
        ),
        (
            "status s\n",
            "warning: status: has no effect: a client writes no status file yet",
        ),
        (
            "dh dh.pem\n",
            "warning: dh: has no effect: it belongs to a server's configuration",
        ),
        (
            "push-peer-info\n",
            "warning: push-peer-info: has no effect: the server is told what it needs to serve this client, and no more",
        ),
        (
            "auth-nocache\n",
            "warning: auth-nocache: has no effect: name and password are kept for the next connection, in memory that is wiped at the end",
        ),
        (
            "setenv opt block-outside-dns\n",
            "warning: block-outside-dns: it is about Windows",
        ),
        (
            "redirect-gateway def1 bypass-dhcp\n",
            "note: redirect-gateway: `bypass-dhcp` and `bypass-dns` have no effect outside of Windows",
        ),
        (
            "socket-flags TCP_NODELAY TCP_CORK\n",
            "warning: socket-flags: `TCP_CORK` is no flag; write `TCP_NODELAY`, or remove the line",
        ),
        (
            "ringway-cores 1,3\n",
            "warning: ringway-cores: a client has one shard, which leaves cores unused: 3",
        ),
    ] {
        let text = format!("{LEAST}{lines}");
        assert_eq!(
            files.remarks(&text),
            [format!("t.conf:8: {remark}")],
            "{lines}"
        );
        assert!(files.load_text(&text).configuration.is_some(), "{lines}");
    }
    let blocks = "<connection>\nremote a\n</connection>\n";
    assert_eq!(
        files.remarks(&format!("{LEAST}{blocks}")),
        ["t.conf:3: warning: remote: passed over: there are <connection> blocks"]
    );
}

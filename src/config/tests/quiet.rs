//! Lines that leave something out, or are so in any case.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::{Files, LEAST};
use crate::node::settings::{ClientCertificate, HandOver};

#[test]
fn certificates_are_required() {
    let files = Files::new();
    for line in ["verify-client-cert", "verify-client-cert require"] {
        files.with(&format!("{line}\n"));
    }
    for line in [
        "verify-client-cert none",
        "verify-client-cert optional",
        "auth-user-pass-optional",
        "username-as-common-name",
    ] {
        let said = files.first_remark(&format!("{line}\n"));
        let why = "nothing looks at user names and passwords; add an `auth-user-pass-verify` line";
        assert!(said.contains(why), "{said}");
    }
    let said = files.first_remark("verify-client-cert perhaps\n");
    assert!(said.contains("`perhaps` is no choice"), "{said}");
}

/// Who names a judge that can't be had hears of that alone.
#[test]
fn a_judge_that_is_refused_is_the_only_fault() {
    let files = Files::new();
    let lines = "management-client-auth\nverify-client-cert none\nusername-as-common-name\n";
    let loaded = files.load_text(&format!("{LEAST}{lines}"));
    let said: Vec<String> = loaded.diagnostics.iter().map(ToString::to_string).collect();
    let [only] = said.as_slice() else {
        panic!("{said:?}");
    };
    assert!(
        only.contains("management-client-auth: it needs a `management` line"),
        "{only}"
    );
}

#[test]
fn files_of_users_are_read_and_a_code_needs_a_password() {
    let files = Files::new();
    let place = files.0.path().display().to_string();
    let set_mode = |name: &str, mode: u32| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(files.0.path().join(name), mode).unwrap();
    };
    let write = |name: &str, text: &str| {
        std::fs::write(files.0.path().join(name), text).unwrap();
        set_mode(name, 0o600);
    };
    write("users", "anna:sesame\n");
    write("secrets", "anna:123\n");
    write("good", "anna:JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP\n");
    write("nobody", "# nobody yet\n");
    for (line, why) in [
        ("ringway-password-file {}/absent", "No such file"),
        (
            "ringway-password-file {}/users",
            "line 1: behind the colon stands no hash",
        ),
        (
            "ringway-totp-file {}/secrets",
            "line 1: a secret is written in Base32",
        ),
        ("ringway-totp-file {}/good", "nothing looks at passwords"),
        (
            "ringway-login-backoff often",
            "`often` is no state; write `on` or `off`",
        ),
    ] {
        let line = line.replace("{}", &place);
        let said = files.first_remark(&format!("{line}\n"));
        assert!(said.contains(why), "{said}");
    }
    let both = format!("ringway-password-file {place}/nobody\nringway-totp-file {place}/good\n");
    let own = files.with(&both).auth.unwrap().own;
    assert!(own.backoff && own.passwords.is_some() && own.secrets.is_some());
    let own = files.with(&format!("{both}ringway-login-backoff off\n"));
    assert!(!own.auth.unwrap().own.backoff);
    set_mode("good", 0o640);
    let said = files.first_remark(&both);
    let open = "ringway-totp-file: file '{}/good' is group or others accessible";
    assert!(said.contains(&open.replace("{}", &place)), "{said}");
}

#[test]
fn keying_material_has_a_label_and_a_length() {
    let files = Files::new();
    let object = files.0.path().join("judge.so");
    std::fs::write(&object, "").unwrap();
    let plugin = format!("plugin {}\n", object.display());
    let line = "keying-material-exporter EXPORTER_sso 16\n";
    let with = files.with(&format!("{plugin}{line}")).auth.unwrap();
    let exporter = with.exporter.unwrap();
    assert_eq!(
        (exporter.label.as_str(), exporter.length),
        ("EXPORTER_sso", 16)
    );
    for (line, why) in [
        (line, "only plug-ins are told it"),
        (
            "keying-material-exporter SSO 16\n",
            "label must begin with \"EXPORTER\"",
        ),
        (
            "keying-material-exporter EXPORTER-OpenVPN-datakeys 16\n",
            "must not be 'EXPORTER-OpenVPN-datakeys'",
        ),
        (
            "keying-material-exporter EXPORTER-OpenVPN-dynamic-tls-crypt 16\n",
            "must not be",
        ),
        (
            "keying-material-exporter EXPORTER_a 15\n",
            "Invalid keying material exporter length",
        ),
        (
            "keying-material-exporter EXPORTER_a 4096\n",
            "Invalid keying material exporter length",
        ),
    ] {
        let said = files.first_remark(line);
        assert!(said.contains(why), "{line}: {said}");
    }
}

#[test]
fn plug_ins_judge_passwords() {
    let files = Files::new();
    let object = files.0.path().join("judge.so");
    std::fs::write(&object, "").unwrap();
    let object = object.display();
    for arguments in [
        "login USERNAME 'pass word'",
        "\"login USERNAME 'pass word'\"",
    ] {
        let auth = files
            .with(&format!("plugin {object} {arguments}\n"))
            .auth
            .unwrap();
        let plugins = auth.plugins.unwrap();
        assert!(plugins.host.ends_with("ringway-plugin-host"));
        let [plugin] = plugins.plugins.as_slice() else {
            panic!("{:?}", plugins.plugins);
        };
        assert_eq!(plugin.path.display().to_string(), object.to_string());
        assert_eq!(plugin.arguments, ["login", "USERNAME", "pass word"]);
    }
    let beside = files.with("plugin ./judge.so\nplugin ./judge.so again\n");
    assert_eq!(beside.auth.unwrap().plugins.unwrap().plugins.len(), 2);
    for (line, why) in [
        ("plugin /absent.so", "'/absent.so' can't be read"),
        (
            "plugin absent.so",
            "/openvpn/plugins/absent.so' can't be read",
        ),
    ] {
        let said = files.first_remark(&format!("{line}\n"));
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn a_script_judges_passwords() {
    let files = Files::new();
    let judge = "script-security 3\nauth-user-pass-verify '/bin/echo one \"two three\"' via-env\n";
    let auth = files.with(judge).auth.unwrap();
    let script = auth.script.unwrap();
    assert_eq!(script.command.program, Path::new("/bin/echo"));
    assert_eq!(script.command.arguments, ["one", "two three"]);
    assert_eq!(script.by, HandOver::Environment);
    assert!(script.password_in_environment);
    assert_eq!(auth.certificate, ClientCertificate::Required);
    assert!(!auth.optional && !auth.username_as_common_name);
    let place = files.0.path().display();
    let lines = format!(
        "script-security 2\nauth-user-pass-verify /bin/true via-file\nverify-client-cert none\n\
         auth-user-pass-optional\nusername-as-common-name\ntmp-dir {place}\n"
    );
    let auth = files.with(&lines).auth.unwrap();
    assert_eq!(auth.script.map(|it| it.by), Some(HandOver::File));
    assert_eq!(auth.certificate, ClientCertificate::None);
    assert!(auth.optional && auth.username_as_common_name);
    assert_eq!(auth.temporary, files.0.path());
    for (lines, why) in [
        (
            "auth-user-pass-verify /bin/true via-file",
            "add `script-security 2`",
        ),
        ("auth-user-pass-verify /bin/true", "no method"),
        (
            "auth-user-pass-verify /bin/true by-post",
            "`by-post` is no method",
        ),
        (
            "auth-user-pass-verify /bin/echo one via-file",
            "a command is one word",
        ),
        (
            "auth-user-pass-verify /absent via-file",
            "script fails with '/absent'",
        ),
        ("tmp-dir /absent", "is not a directory"),
        (
            "script-security 2\nauth-user-pass-verify /bin/true via-env",
            "the script is not told the password",
        ),
    ] {
        let said = files.first_remark(&format!("{lines}\n"));
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn routes_are_left_to_a_script() {
    let files = Files::new();
    let lines = "route 10.9.0.0 255.255.0.0\n";
    assert_eq!(files.with(lines).routes.len(), 1);
    let left = files.with(&format!("{lines}route-noexec\n"));
    assert_eq!(left.routes, []);
}

#[test]
fn hosts_behind_clients_are_stale_after_a_minute_at_the_latest() {
    let files = Files::new();
    for (lines, seconds) in [
        ("", 60),
        ("stale-routes-check 300 600\n", 60),
        ("stale-routes-check 10\n", 10),
    ] {
        let remembered = files.with(lines).hosts_remembered;
        assert_eq!(remembered, Duration::from_secs(seconds), "{lines}");
    }
    let said = files.first_remark("stale-routes-check 0\n");
    assert!(said.contains("stale-routes-check"), "{said}");
}

/// What stock takes without a word, and what it takes for something else.
#[test]
fn odd_values_have_the_meaning_that_stock_gives_them() {
    let files = Files::new();
    assert_eq!(files.with("route 10.9.1.2 255.255.0.0\n").routes.len(), 1);
    for (line, said) in [
        (
            "route-ipv6 fd01::1/48\n",
            "warning: route-ipv6: fd01::1 is not the first address of its network, which is fd01::/48; \
             write `route-ipv6 fd01::/48`",
        ),
        (
            "explicit-exit-notify 3\n",
            "warning: explicit-exit-notify: `3` is no way of telling clients, and does what 1 does; \
             write 0, 1 or 2",
        ),
        ("verb 12\n", "warning: verb: `12` says no more than 11 does"),
        (
            "keepalive 10 100000\n",
            "warning: keepalive: no time is longer than 43200 seconds, as in OpenVPN 2.7; write \
             `keepalive 10 43200`",
        ),
        (
            "rport 1195\n",
            "warning: rport: has no effect: it belongs to a client's configuration",
        ),
    ] {
        let remark = files.first_remark(line);
        assert_eq!(
            remark.split_once(": ").map(|(_, rest)| rest),
            Some(said),
            "{line}"
        );
    }
    let pings = |lines: &str| files.with(lines).keepalive;
    let minute = Some(Duration::from_secs(60));
    assert_eq!(
        pings("keepalive 5 30\nping-restart 0\nping 0\n").ping_restart,
        minute
    );
    assert_eq!(pings("keepalive 5 30\nkeepalive 0 0\n").ping_restart, None);
    assert_eq!(files.with("port openvpn\n").listeners.len(), 1);
    let said = files.first_remark("port no-such-service\n");
    assert!(
        said.contains("neither a port nor the name of a service"),
        "{said}"
    );
}

#[test]
fn what_is_asked_of_the_machine() {
    let files = Files::new();
    assert_eq!(files.with("nice -5\n").node.process.nice, Some(-5));
    assert_eq!(files.with("").node.process.nice, None);
    let text = format!("{LEAST}nice 20\n");
    assert!(files.load_text(&text).configuration.is_none());
}

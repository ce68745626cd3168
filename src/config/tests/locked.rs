//! Keys that a password locks, and files of PKCS #12.

use zeroize::Zeroizing;

use super::{CORES, Files, LEAST};
use crate::config::{Configuration, Loaded, load_with};

/// A locked copy of the server's key; the password is `secret`.
fn files() -> Files {
    let files = Files::new();
    openssl(
        &files,
        "pkcs8 -topk8 -in server.key -out locked.key -passout pass:secret",
    );
    openssl(
        &files,
        "pkcs12 -export -in server.crt -inkey server.key -certfile ca.crt -out all.p12 -passout pass:secret",
    );
    files.write("password", "secret\nthe rest is no password\n");
    files.write("wrong", "guess\n");
    files.write("empty", "\n");
    files
}

fn openssl(files: &Files, words: &str) {
    let output = std::process::Command::new("openssl")
        .current_dir(files.0.path())
        .args(words.split(' '))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn remarks(loaded: &Loaded) -> Vec<String> {
    let remarks = loaded.diagnostics.iter().map(ToString::to_string);
    remarks.filter(|it| it.contains("error")).collect()
}

fn locked(lines: &str) -> String {
    LEAST.replace("key server.key", "key locked.key") + lines
}

fn packed(lines: &str) -> String {
    let without = LEAST.lines().filter(|line| {
        !["ca ", "cert ", "key "]
            .iter()
            .any(|name| line.starts_with(name))
    });
    without.map(|line| format!("{line}\n")).collect::<String>() + lines
}

#[test]
fn a_password_opens_what_it_locks() {
    let files = files();
    let clear = files.with("").identity;
    let block =
        data_encoding::BASE64.encode(&std::fs::read(files.0.path().join("all.p12")).unwrap());
    let block = format!("<pkcs12>\n{block}\n</pkcs12>\n");
    for text in [
        locked("askpass password\n"),
        packed("pkcs12 all.p12\naskpass password\n"),
        packed("pkcs12 all.p12\naskpass password\nca ca.crt\n"),
        packed(&format!("askpass password\n{block}")),
    ] {
        let loaded = files.load_text(&text);
        assert_eq!(remarks(&loaded), [""; 0], "{text}");
        let settings = loaded
            .configuration
            .and_then(Configuration::server)
            .unwrap();
        assert_eq!(settings.identity.chain, clear.chain, "{text}");
        assert_eq!(settings.node.tls.authorities.len(), 1, "{text}");
    }
}

/// Somebody is asked where no file says it: then the same words are read with the answer.
#[test]
fn a_password_that_no_file_says_is_asked_for() {
    let files = files();
    for text in [
        locked(""),
        locked("askpass\n"),
        locked("askpass stdin\n"),
        packed("pkcs12 all.p12\n"),
    ] {
        let loaded = files.load_text(&text);
        assert!(
            loaded.asks_password && loaded.configuration.is_none(),
            "{text}"
        );
        let said = remarks(&loaded);
        assert!(
            said.len() == 1 && said[0].contains("it is locked by a password"),
            "{text}: {said:?}"
        );
        for (answer, verdict) in [("secret", true), ("guess", false)] {
            let (words, answer) = (["t.conf".to_owned()], Zeroizing::new(answer.to_owned()));
            let loaded = load_with(CORES.to_vec(), &words, files.0.path(), Some(&answer));
            assert_eq!(loaded.configuration.is_some(), verdict, "{text}");
            assert!(!loaded.asks_password, "{text}");
        }
    }
}

#[test]
fn what_stays_locked_says_why() {
    let files = files();
    openssl(&files, "genrsa -out rsa.key 2048");
    openssl(
        &files,
        "rsa -traditional -camellia128 -in rsa.key -out camellia.key -passout pass:secret",
    );
    for (text, why) in [
        (
            locked("askpass wrong\n"),
            "locked.key: the password is wrong",
        ),
        (
            locked("askpass empty\n"),
            "empty: its first line is no password",
        ),
        (locked("askpass none\n"), "none: No such file or directory"),
        (
            packed("pkcs12 all.p12\naskpass wrong\n"),
            "all.p12: the password is wrong",
        ),
        (
            packed("pkcs12 none.p12\n"),
            "none.p12: No such file or directory",
        ),
        (
            packed("pkcs12 server.crt\n"),
            "server.crt: it cannot be read",
        ),
        (
            packed("pkcs12 all.p12\naskpass password\nkey server.key\n"),
            "key: cannot be used when `pkcs12` is also specified",
        ),
        (
            packed("askpass password\n<pkcs12>\n*\n</pkcs12>\n"),
            "the block is not base64",
        ),
        (
            LEAST.replace("key server.key", "key camellia.key") + "askpass password\n",
            "camellia.key: it is encrypted in a way that is not served; convert it: openssl pkey -in \
             camellia.key -aes256 -out NEW",
        ),
    ] {
        let loaded = files.load_text(&text);
        let said = remarks(&loaded);
        assert!(said.len() == 1 && said[0].contains(why), "{text}: {said:?}");
        assert!(!loaded.asks_password, "{text}");
    }
}

/// A manager who is asked takes the place of a terminal: what it takes to ask can be had without the key.
#[test]
fn a_manager_is_asked_where_that_is_written() {
    let files = files();
    let lines = "management mgmt unix\nmanagement-query-passwords\nverb 5\nwritepid pid\n";
    for (text, asks_first) in [
        (locked(lines), false),
        (locked(&format!("{lines}askpass\n")), true),
        (packed(&format!("{lines}pkcs12 all.p12\n")), false),
    ] {
        let loaded = files.load_text(&text);
        assert_eq!(remarks(&loaded), [""; 0], "{text}");
        assert!(loaded.asks_password, "{text}");
        let said = loaded.diagnostics.iter().map(ToString::to_string);
        let said = said.collect::<String>();
        assert!(
            said.contains("asked for on the management interface"),
            "{said}"
        );
        let Some(Configuration::Locked(asking)) = loaded.configuration else {
            panic!("{text}");
        };
        assert_eq!((asking.asks_first, asking.log.verb), (asks_first, 5));
        assert!(asking.process.pid_file.is_some() && !asking.management.hold);
        for (answer, wrong) in [("secret", false), ("guess", true)] {
            let (words, answer) = (["t.conf".to_owned()], Zeroizing::new(answer.to_owned()));
            let loaded = load_with(CORES.to_vec(), &words, files.0.path(), Some(&answer));
            assert_eq!(loaded.wrong_password, wrong, "{text}");
            let settings = loaded.configuration.and_then(Configuration::server);
            assert_eq!(settings.is_none(), wrong, "{text}");
        }
    }
    for (text, why) in [
        (locked(&format!("{lines}port x\n")), "port"),
        (
            locked("management-query-passwords\n"),
            "it needs a `management` line",
        ),
        (
            locked(&format!("{lines}askpass wrong\n")),
            "the password is wrong",
        ),
    ] {
        let loaded = files.load_text(&text);
        let said = remarks(&loaded);
        assert!(said.len() == 1 && said[0].contains(why), "{text}: {said:?}");
        assert!(
            !loaded.asks_password && loaded.configuration.is_none(),
            "{text}"
        );
    }
    let clear = files.with(lines);
    assert!(!clear.management.unwrap().forgets);
    let forgetful = files.with("management mgmt unix\nmanagement-forget-disconnect\n");
    assert!(forgetful.management.unwrap().forgets);
}

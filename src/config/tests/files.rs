//! Files that are there and not what their line needs, and files that are not there.

use super::Files;

fn remarks(files: &Files, text: &str) -> (bool, Vec<String>) {
    let loaded = files.load_text(text);
    let remarks = loaded.diagnostics.iter().map(ToString::to_string);
    (loaded.configuration.is_some(), remarks.collect())
}

/// One sentence, and not all that stands in the file as missing.
#[test]
fn nothing_is_missing_from_a_file_that_was_not_read() {
    let files = Files::new();
    for (words, remark) in [
        (
            &["nix.conf"][..],
            "[CMD-LINE]:1: error: config: error opening configuration file: nix.conf: No such file \
             or directory",
        ),
        (
            &["t.conf", "--daemon"],
            "[CMD-LINE]:1: error: t.conf: only a file that is the one word of the command line \
             needs no `--`; write `--config t.conf`",
        ),
    ] {
        let loaded = files.load(words);
        assert!(loaded.configuration.is_none(), "{words:?}");
        let remarks: Vec<String> = loaded.diagnostics.iter().map(ToString::to_string).collect();
        assert_eq!(remarks, [remark], "{words:?}");
    }
}

#[test]
fn an_authority_is_no_server_and_a_server_no_authority() {
    let files = Files::new();
    let lines = "dev tun\nserver 10.8.0.0 255.255.255.0\ntopology subnet\nkeepalive 10 60\n\
                 cert server.crt\nkey server.key\n";
    assert_eq!(
        remarks(&files, &format!("{lines}ca server.crt\n")),
        (
            true,
            vec![
                "t.conf:7: warning: ca: server.crt: the certificate of CN=server is not marked as \
                 an authority's; `ca` names the certificate that signed those of the clients"
                    .to_owned()
            ]
        )
    );
    let lines = lines.replace("cert server.crt", "cert ca.crt");
    let (_, said) = remarks(&files, &format!("{lines}ca ca.crt\n"));
    assert_eq!(
        said[0],
        "t.conf:5: warning: cert: ca.crt: the certificate is that of an authority, not of a \
         server; clients may refuse it; `cert` names one that the authority signed"
    );
}

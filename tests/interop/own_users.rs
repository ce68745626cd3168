//! Users that the server itself knows: a file of passwords, codes beside them, and who has failed too often.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::client::{Client, ClientConfig};
use crate::process::run;
use crate::server::{Implementation, READY, RINGWAY, Server, Site};

/// Anna has the first place, bert the second.
fn client(site: &Site, index: usize, password: &str) -> ClientConfig {
    let text = format!("{}\n{password}\n", NAMES[index]);
    let login = site.topology.write(&format!("login-{index}"), text);
    fs::set_permissions(&login, fs::Permissions::from_mode(0o600)).unwrap();
    ClientConfig::new(site, index, "alice").line(format!("auth-user-pass {}", login.display()))
}

const NAMES: [&str; 2] = ["anna", "bert"];

fn refused(site: &Site, password: &str) -> String {
    let mut client = Client::spawn(site, &client(site, 1, password));
    let said = client
        .process
        .wait_for("AUTH: Received control message: AUTH_FAILED");
    client.process.kill();
    assert_eq!(client.process.count(READY), 0);
    said
}

/// As an administrator makes it: the password comes by standard input.
fn passwords(site: &Site, password: &str) -> PathBuf {
    let file = site.topology.directory().join("users");
    let typed = site.topology.write("typed", format!("{password}\n"));
    for name in NAMES {
        let status = Command::new(RINGWAY)
            .args(["passwd", &file.display().to_string(), name])
            .stdin(Stdio::from(fs::File::open(&typed).unwrap()))
            .status();
        assert!(status.unwrap().success());
    }
    file
}

/// The code of an authenticator at this moment, by another implementation.
fn code(secret: &str) -> String {
    let program = format!(
        "import base64,hmac,struct,time\n\
         d=hmac.new(base64.b32decode('{secret}'),struct.pack('>Q',int(time.time())//30),'sha1').digest()\n\
         o=d[-1]&15\n\
         print('%06d'%((struct.unpack('>I',d[o:o+4])[0]&0x7fffffff)%1000000))"
    );
    run("python3", &["-c", &program]).trim().to_owned()
}

#[test]
fn users_of_a_file_log_in_and_who_fails_too_often_waits() {
    if !Implementation::is_ringway("users_of_a_file_log_in_and_who_fails_too_often_waits") {
        return;
    }
    let site = Site::new(2);
    let file = passwords(&site, "sesame");
    let config = site
        .server_config()
        .line(format!("ringway-password-file {}", file.display()))
        .line("duplicate-cn");
    let server = Server::start(&site, &config);
    let anna = Client::connect(&site, &client(&site, 0, "sesame"));
    anna.assert_reaches_all(&site);
    let first = refused(&site, "wrong");
    assert!(first.ends_with("AUTH_FAILED"), "{first}");
    // Pauses are twice as long each time: at last a client comes in the middle of one.
    let mut further = (0..12).map(|_| refused(&site, "wrong"));
    let paused = further.find(|said| said.contains("AUTH_FAILED,TEMP[backoff "));
    assert!(paused.is_some(), "nobody has to wait");
    server
        .process
        .wait_for("ringway-password-file: wrong name or password");
    let owner = |it: &fs::Metadata| (it.uid(), it.gid(), it.mode() & 0o777);
    chown(&file, Some(65534), Some(65534)).unwrap();
    let before = owner(&fs::metadata(&file).unwrap());
    // A new password counts at once; a client that has to wait comes again by itself.
    passwords(&site, "open");
    assert_eq!(owner(&fs::metadata(&file).unwrap()), before);
    let client = Client::spawn(&site, &client(&site, 1, "open"));
    client.process.wait_for(READY);
    client.assert_reaches_all(&site);
    anna.assert_reaches_all(&site);
}

#[test]
fn a_code_stands_beside_the_password_or_is_asked_for() {
    if !Implementation::is_ringway("a_code_stands_beside_the_password_or_is_asked_for") {
        return;
    }
    let site = Site::new(2);
    let file = passwords(&site, "sesame");
    let secrets = [
        "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
        "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP",
    ];
    let written = format!("anna:{}\nbert:{}\n", secrets[0], secrets[1]);
    let written = site.topology.write("secrets", written);
    let config = site
        .server_config()
        .line(format!("ringway-password-file {}", file.display()))
        .line(format!("ringway-totp-file {}", written.display()))
        .line("reneg-sec 8")
        .line("duplicate-cn");
    let server = Server::start(&site, &config);
    let base64 = |text: &str| data_encoding::BASE64.encode(text.as_bytes());
    let both = |code: &str| format!("SCRV1:{}:{}", base64("sesame"), base64(code));
    let anna = Client::connect(&site, &client(&site, 0, &both(&code(secrets[0]))));
    anna.assert_reaches_all(&site);
    refused(&site, &both("12345"));

    let said = refused(&site, "sesame");
    let question = said.split("AUTH_FAILED,").nth(1).unwrap();
    let parts: Vec<&str> = question.split(':').collect();
    assert_eq!((parts[0], parts[3]), ("CRV1", base64("bert").as_str()));
    let answer = format!("CRV1::{}::{}", parts[2], code(secrets[1]));
    let again = Client::connect(&site, &client(&site, 1, &answer));
    again.assert_reaches_all(&site);
    // With new keys both say what they have said before, more than once.
    server.process.wait_for_count("TLS: soft reset", 5);
    for client in [&anna, &again] {
        assert_eq!(client.process.count("AUTH_FAILED"), 0);
        assert_eq!(client.process.count(READY), 1);
    }
    let log = server.process.lines().join("\n");
    assert!(
        !log.contains("sesame") && !log.contains(&base64("sesame")),
        "a password is in the log"
    );
}

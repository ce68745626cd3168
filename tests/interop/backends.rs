//! Directories of users from Debian, asked by the plug-ins that installations have: OpenLDAP's slapd and freeradius, each
//! stopped in the middle and started again; and collectd, which reads the status file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::Signal;

use crate::client::{Client, ClientConfig};
use crate::network::LAN_V4;
use crate::process::{Process, eventually, run};
use crate::server::{READY, Server, ServerConfig, Site};
use crate::traffic::PingStream;

fn client(site: &Site, index: usize, password: &str) -> ClientConfig {
    let name = format!("login-{index}-{password}");
    let login = site.topology.write(&name, format!("anna\n{password}\n"));
    fs::set_permissions(&login, fs::Permissions::from_mode(0o600)).unwrap();
    ClientConfig::new(site, index, "alice")
        .line("explicit-exit-notify")
        .line(format!("auth-user-pass {}", login.display()))
}

fn config(site: &Site) -> ServerConfig {
    site.server_config()
        .line("script-security 2")
        .line("username-as-common-name")
        .line("duplicate-cn")
}

fn refused(site: &Site, password: &str) {
    let mut client = Client::spawn(site, &client(site, 1, password));
    client.process.wait_for("AUTH_FAILED");
    client.process.wait_exit();
    assert_eq!(client.process.count(READY), 0);
}

/// Right and wrong passwords, while there is somebody to ask, while there is nobody (`silence` is what the plug-in says
/// then), and again; who is in is in.
fn logins(
    site: &Site,
    config: &ServerConfig,
    silence: &str,
    start: impl Fn() -> Process,
) -> (Server, Client, Process) {
    let mut back_end = start();
    let server = Server::start(site, config);
    let anna = Client::connect(site, &client(site, 0, "sesame"));
    anna.assert_reaches_all(site);
    refused(site, "wrong");
    assert_eq!(server.process.count(silence), 0);
    back_end.kill();
    let pings = PingStream::start(anna.namespace(site), LAN_V4);
    refused(site, "sesame");
    pings.stop_and_assert_all_received();
    server
        .process
        .wait_for_count("Auth Username/Password verification failed for peer", 2);
    server.process.wait_for(silence);
    let back_end = start();
    let again = Client::connect(site, &client(site, 1, "sesame"));
    again.assert_reaches_all(site);
    anna.assert_reaches_all(site);
    (server, anna, back_end)
}

#[test]
fn users_of_an_ldap_directory_log_in() {
    let site = Site::new(2);
    let directory = site.topology.directory().display().to_string();
    let slapd = site.topology.write(
        "slapd.conf",
        format!(
            "include /etc/ldap/schema/core.schema\n\
             include /etc/ldap/schema/cosine.schema\n\
             include /etc/ldap/schema/inetorgperson.schema\n\
             modulepath /usr/lib/ldap\n\
             moduleload back_mdb\n\
             pidfile {directory}/slapd.pid\n\
             database mdb\n\
             suffix \"dc=example,dc=com\"\n\
             directory {directory}/people\n\
             access to attrs=userPassword by anonymous auth by * none\n\
             access to * by * read\n"
        ),
    );
    let people = site.topology.write(
        "people.ldif",
        "dn: dc=example,dc=com\nobjectClass: dcObject\nobjectClass: organization\no: example\ndc: example\n\n\
         dn: ou=People,dc=example,dc=com\nobjectClass: organizationalUnit\nou: People\n\n\
         dn: uid=anna,ou=People,dc=example,dc=com\nobjectClass: inetOrgPerson\nuid: anna\ncn: Anna\nsn: Example\n\
         userPassword: sesame\n",
    );
    fs::create_dir(site.topology.directory().join("people")).unwrap();
    let [slapd, people] = [slapd, people].map(|path| path.display().to_string());
    run("/usr/sbin/slapadd", &["-f", &slapd, "-l", &people]);
    let plugin = site.topology.write(
        "auth-ldap.conf",
        "<LDAP>\n  URL ldap://127.0.0.1:389\n  Timeout 3\n  TLSEnable no\n  FollowReferrals no\n</LDAP>\n\
         <Authorization>\n  BaseDN \"ou=People,dc=example,dc=com\"\n  SearchFilter \"(uid=%u)\"\n  RequireGroup false\n\
         </Authorization>\n",
    );
    let config = config(&site).line(format!(
        "plugin /usr/lib/openvpn/openvpn-auth-ldap.so {}",
        plugin.display()
    ));
    let namespace = site.topology.server.name();
    let start = || {
        let arguments = ["-d", "stats", "-f", &slapd, "-h", "ldap://127.0.0.1:389"];
        let slapd = Process::spawn("slapd", namespace, "/usr/sbin/slapd", &arguments);
        slapd.wait_for("slapd starting");
        slapd
    };
    let (mut server, _anna, _slapd) = logins(&site, &config, "Can't contact LDAP server", start);
    assert!(server.stop().success());
}

#[test]
fn users_of_a_radius_server_log_in_and_are_accounted_for() {
    let site = Site::new(2);
    let directory = site.topology.directory().display().to_string();
    site.topology.write(
        "radiusd.conf",
        format!(
            "name = freeradius\nprefix = /usr\nlibdir = /usr/lib/freeradius\nlogdir = {directory}\n\
             raddbdir = {directory}\nrun_dir = {directory}\npidfile = {directory}/radiusd.pid\n\
             security {{\n  reject_delay = 0\n  status_server = no\n}}\n\
             client own {{\n  ipaddr = 127.0.0.1\n  secret = testpw\n}}\n\
             modules {{\n  pap {{\n  }}\n  files {{\n    usersfile = {directory}/users\n  }}\n\
             detail {{\n    filename = {directory}/accounted\n  }}\n}}\n\
             server default {{\n\
             listen {{\n  type = auth\n  ipaddr = 127.0.0.1\n  port = 1812\n}}\n\
             listen {{\n  type = acct\n  ipaddr = 127.0.0.1\n  port = 1813\n}}\n\
             authorize {{\n  files\n  pap\n}}\n\
             authenticate {{\n  Auth-Type PAP {{\n    pap\n  }}\n}}\n\
             accounting {{\n  detail\n}}\n}}\n"
        ),
    );
    let users = "anna Cleartext-Password := \"sesame\"\n";
    site.topology.write("users", users);
    let status = site.topology.directory().join("status");
    let server_conf = site.topology.directory().join("server.conf");
    let plugin = site.topology.write(
        "radiusplugin.cnf",
        format!(
            "NAS-Identifier=ringway\nService-Type=5\nFramed-Protocol=1\nNAS-Port-Type=5\nNAS-IP-Address=127.0.0.1\n\
             OpenVPNConfig={}\nsubnet=255.255.255.0\noverwriteccfiles=false\n\
             server\n{{\n\tacctport=1813\n\tauthport=1812\n\tname=127.0.0.1\n\tretry=1\n\twait=1\n\tsharedsecret=testpw\n}}\n",
            server_conf.display()
        ),
    );
    let config = config(&site)
        .line(format!("status {} 1", status.display()))
        .line(format!(
            "plugin /usr/lib/openvpn/radiusplugin.so {}",
            plugin.display()
        ));
    let namespace = site.topology.server.name();
    let start = || {
        let arguments = ["-f", "-l", "stdout", "-n", "radiusd", "-d", &directory];
        let radius = Process::spawn("freeradius", namespace, "/usr/sbin/freeradius", &arguments);
        radius.wait_for("Ready to process requests");
        radius
    };
    let silence = "Got no response from radius server";
    let (mut server, mut anna, _radius) = logins(&site, &config, silence, start);
    let accounted = || fs::read_to_string(site.topology.directory().join("accounted"));
    let has = |words: &str| accounted().unwrap_or_default().contains(words);
    assert!(has("Acct-Status-Type = Start") && has("User-Name = \"anna\""));
    let address = format!("Framed-IP-Address = {}", anna.tunnel_v4(&site));
    assert!(has(&address), "no {address}");
    assert!(!has("Acct-Status-Type = Stop"));
    anna.process.signal(Signal::TERM);
    anna.process.wait_exit();
    let stopped = || has("Acct-Status-Type = Stop").then_some(());
    eventually("the end of the session is accounted for", stopped);
    // Killed, the stock server would leave the plug-in's own processes behind.
    assert!(server.stop().success());
}

/// Each of the three forms: collectd has the numbers that stand in the file.
#[test]
fn collectd_reads_the_status_file() {
    let site = Site::new(1);
    let directory = site.topology.directory();
    let namespace = site.topology.server.name();
    for version in ["1", "2", "3"] {
        // Files of its own for each, so that none is taken for another's.
        let status = directory.join(format!("status-{version}"));
        let values = directory.join(format!("values-{version}"));
        let collectd = site.topology.write(
            "collectd.conf",
            format!(
                "Hostname \"here\"\nInterval 1\nPIDFile \"{}.pid\"\nBaseDir \"{}\"\n\
                 TypesDB \"/usr/share/collectd/types.db\"\nLoadPlugin openvpn\nLoadPlugin csv\n\
                 <Plugin csv>\n  DataDir \"{}\"\n  StoreRates false\n</Plugin>\n\
                 <Plugin openvpn>\n  StatusFile \"{}\"\n  ImprovedNamingSchema true\n  CollectIndividualUsers true\n\
                 CollectUserCount true\n</Plugin>\n",
                values.display(),
                directory.display(),
                values.display(),
                status.display()
            ),
        );
        let config = site
            .server_config()
            .line(format!("status {} 1", status.display()))
            .line(format!("status-version {version}"));
        let mut server = Server::start(&site, &config);
        let _alice = Client::connect(&site, &ClientConfig::new(&site, 0, "alice"));
        let arguments = ["-f", "-C", &collectd.display().to_string()];
        let _collectd = Process::spawn("collectd", namespace, "/usr/sbin/collectd", &arguments);
        let values = values.join(format!("here/openvpn-status-{version}"));
        eventually(&format!("one user in form {version}"), || {
            (collected(&values, "users-")? == "1.000000").then_some(())
        });
        eventually(&format!("the client's bytes in form {version}"), || {
            (collected(&values, "if_octets-alice")? == octets_of_alice(&status)?).then_some(())
        });
        assert!(server.stop().success());
    }
}

/// The newest values that collectd has written of one kind, behind their time.
fn collected(directory: &Path, kind: &str) -> Option<String> {
    let mut files = fs::read_dir(directory).ok()?.map_while(Result::ok);
    let file = files.find(|file| file.file_name().to_string_lossy().starts_with(kind))?;
    let text = fs::read_to_string(file.path()).ok()?;
    let (_time, values) = text.lines().last()?.split_once(',')?;
    Some(values.to_owned())
}

/// What the status file says of the bytes from and to alice, as collectd writes it; none before there are any.
fn octets_of_alice(status: &Path) -> Option<String> {
    let text = fs::read_to_string(status).ok()?;
    let mut lines = text
        .lines()
        .map(|line| line.split([',', '\t']).collect::<Vec<_>>());
    let octets = lines.find_map(|fields| match fields[..] {
        ["alice", _, received, sent, _] | ["CLIENT_LIST", "alice", _, _, _, received, sent, ..] => {
            Some((received.to_owned(), sent.to_owned()))
        }
        _ => None,
    });
    let (received, sent) = octets.filter(|(received, sent)| received != "0" && sent != "0")?;
    Some(format!("{received},{sent}"))
}

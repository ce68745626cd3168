//! Configurations in the shapes that other people's have: of installers, containers, gateways and firewall
//! distributions. Each is written from such a file, line for line but for its paths, addresses and the names of
//! users, and without the lines that are refused by name so far (plug-ins, scripts). A
//! stock client that fits connects, and packets pass.

use std::fs::Permissions;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;

use crate::client::{Client, ClientConfig};
use crate::network::{branch_host, server_v4};
use crate::pki::{Kind, static_key, tls_crypt_v2_keys};
use crate::process::eventually;
use crate::server::{Server, ServerConfig, Site};
use crate::traffic::{ping, transfer_both_ways};

/// A site with all files that the shapes name.
struct Place {
    site: Site,
    key: String,
    key_of_client: String,
}

impl Place {
    fn new() -> Self {
        let site = Site::new(1);
        let (topology, authority) = (&site.topology, &site.authority);
        let server = authority.server("vpn.example.net", Kind::Ec);
        let (key, (server_v2, key_of_client)) = (static_key(), tls_crypt_v2_keys(topology));
        for directory in ["ccd", "capath", "crl"] {
            std::fs::create_dir_all(topology.directory().join(directory)).unwrap();
        }
        for (name, text) in [
            ("ca.crt", authority.pem()),
            ("server.crt", server.certificate),
            ("server.key", server.key),
            ("dh.pem", DH.to_owned()),
            ("ta.key", key.clone()),
            ("v2.key", server_v2),
            ("crl.pem", authority.revocation_list(&[], 60)),
            ("capath/ca.pem", authority.pem()),
        ] {
            topology.write(name, text);
        }
        let capath = topology.directory().join("capath").display().to_string();
        topology.server.run("openssl", &["rehash", &capath]);
        // Who becomes nobody reads the lists again.
        let open = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(topology.directory(), open(0o755)).unwrap();
        Self {
            site,
            key,
            key_of_client,
        }
    }

    /// Starts a server of this shape, connects `client`, and pings `target` behind it.
    fn serve(&self, shape: &str, client: &[&str], target: &str) -> (Server, Client) {
        let directory = self.site.topology.directory().display().to_string();
        let local = server_v4(0).to_string();
        let text = shape.replace('@', &directory).replace("LOCAL", &local);
        let server = Server::start(&self.site, &ServerConfig::of(&text));
        let config = ClientConfig::new(&self.site, 0, "alice");
        let config = client.iter().fold(config, |config, line| match *line {
            "tls-auth" => config.line("key-direction 1").block("tls-auth", &self.key),
            "tls-crypt" => config.block("tls-crypt", &self.key),
            "tls-crypt-v2" => config.block("tls-crypt-v2", &self.key_of_client),
            "tcp" => config.over_tcp(),
            line => config.line(line),
        });
        let client = Client::connect(&self.site, &config);
        let target: IpAddr = target.parse().unwrap();
        let namespace = client.namespace(&self.site);
        eventually("a first ping through the tunnel", || {
            (ping(namespace, target, 1).received == 1).then_some(())
        });
        ping(namespace, target, 10).assert_all_received();
        transfer_both_ways(namespace, &self.site.topology.server, target);
        (server, client)
    }
}

/// A road warrior's installer: tls-crypt, everything through the tunnel.
#[test]
fn an_installers() {
    let shape = "local LOCAL\nport 1194\nproto udp\ndev tun\nca @/ca.crt\ncert @/server.crt\nkey @/server.key\n\
        dh @/dh.pem\nauth SHA256\ntls-crypt @/ta.key\ntopology subnet\nserver 10.8.0.0 255.255.255.0\n\
        push \"block-ipv6\"\npush \"ifconfig-ipv6 fddd:1194:1194:1194::2/64 fddd:1194:1194:1194::1\"\n\
        push \"redirect-gateway def1 ipv6 bypass-dhcp\"\nifconfig-pool-persist @/ipp.txt\n\
        push \"dhcp-option DNS 1.1.1.1\"\npush \"block-outside-dns\"\nkeepalive 10 120\ncipher AES-128-GCM\n\
        user nobody\ngroup nogroup\npersist-key\npersist-tun\nverb 3\ncrl-verify @/crl.pem\nexplicit-exit-notify\n";
    let client = [
        "tls-crypt",
        "auth SHA256",
        "cipher AES-128-GCM",
        "resolv-retry infinite",
    ];
    let place = Place::new();
    let (_server, client) = place.serve(shape, &client, "10.8.0.1");
    client.process.wait_for("Data Channel: cipher 'AES-");
}

/// Another installer's: a key for each client, narrow TLS, an old name beside the new one.
#[test]
fn an_installers_with_tls_crypt_v2() {
    let shape = "port 1194\nproto udp\ndev tun\nuser nobody\ngroup nogroup\npersist-key\npersist-tun\nkeepalive 10 120\n\
        topology subnet\nserver 10.8.0.0 255.255.255.0\nifconfig-pool-persist @/ipp.txt\n\
        push \"dhcp-option DNS 1.0.0.1\"\npush \"redirect-gateway def1 bypass-dhcp\"\npush \"block-ipv6\"\ndh none\n\
        tls-groups X25519:prime256v1:secp384r1:secp521r1\ntls-crypt-v2 @/v2.key\ncrl-verify @/crl.pem\nca @/ca.crt\n\
        cert @/server.crt\nkey @/server.key\nauth SHA256\ncipher AES-128-GCM\nignore-unknown-option data-ciphers\n\
        data-ciphers AES-128-GCM\nncp-ciphers AES-128-GCM\ntls-server\ntls-version-min 1.2\nremote-cert-tls client\n\
        tls-cipher TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256\nclient-config-dir @/ccd\nstatus @/status.log\nverb 3\nmanagement @/server.sock unix\n\
        tls-ciphersuites TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256\n";
    let client = [
        "tls-crypt-v2",
        "auth SHA256",
        "cipher AES-128-GCM",
        "tls-client",
        "tls-version-min 1.2",
    ];
    let place = Place::new();
    let (_server, client) = place.serve(shape, &client, "10.8.0.1");
    client
        .process
        .wait_for("Data Channel: cipher 'AES-128-GCM'");
}

/// The same installer's with IPv6 inside.
#[test]
fn one_with_ipv6() {
    let shape = "port 1194\nproto udp\ndev tun\nuser nobody\ngroup nogroup\npersist-key\npersist-tun\nkeepalive 10 120\n\
        topology subnet\nserver 10.8.0.0 255.255.255.0\nserver-ipv6 fd42:42:42:42::/112\ntun-ipv6\npush tun-ipv6\n\
        ifconfig-pool-persist @/ipp.txt\npush \"route-ipv6 2000::/3\"\npush \"redirect-gateway ipv6\"\ndh none\n\
        tls-groups X25519:prime256v1\ntls-crypt @/ta.key\ncrl-verify @/crl.pem\nca @/ca.crt\ncert @/server.crt\n\
        key @/server.key\nauth SHA256\ncipher AES-128-GCM\nignore-unknown-option data-ciphers\n\
        data-ciphers AES-128-GCM\nncp-ciphers AES-128-GCM\ntls-server\ntls-version-min 1.2\nremote-cert-tls client\n\
        client-config-dir @/ccd\nstatus @/status.log\nverb 3\nmanagement @/server.sock unix\n";
    let place = Place::new();
    let served = place.serve(shape, &["tls-crypt", "auth SHA256"], "fd42:42:42:42::1");
    drop(served);
}

/// The installer's over TCP, for networks that let nothing else out, with one certificate for a family.
#[test]
fn one_over_tcp() {
    let shape = "port 1194\nproto tcp4\nduplicate-cn\ndev tun\npersist-key\npersist-tun\nkeepalive 10 120\n\
        topology subnet\nserver 10.8.0.0 255.255.255.0\npush \"dhcp-option DNS 1.1.1.1\"\n\
        push \"dhcp-option DNS 1.0.0.1\"\npush \"redirect-gateway def1 bypass-dhcp\"\npush \"block-ipv6\"\n\
        dh none\ntls-groups X25519:prime256v1:secp384r1:secp521r1\ntls-auth @/ta.key 0\ncrl-verify @/crl.pem\n\
        ca @/ca.crt\ncert @/server.crt\nkey @/server.key\nauth SHA256\ncipher AES-128-GCM\n\
        ignore-unknown-option data-ciphers\ndata-ciphers AES-128-GCM\nncp-ciphers AES-128-GCM\ntls-server\n\
        tls-version-min 1.2\nremote-cert-tls client\ntls-cipher TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256\n\
        tls-ciphersuites TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256\n\
        client-config-dir @/ccd\nstatus @/status.log\nverb 3\nmanagement @/server.sock unix\n";
    let client = ["tcp", "tls-auth", "auth SHA256", "cipher AES-128-GCM"];
    let place = Place::new();
    let (_server, client) = place.serve(shape, &client, "10.8.0.1");
    client.process.wait_for("link remote: [AF_INET]");
    client.process.wait_for("TCPv4_CLIENT");
}

/// One of the years of 2.0: pairs of addresses, fixed by the files of clients, and a cipher that is negotiated away.
#[test]
fn an_old_one_with_pairs_of_addresses() {
    let shape = "port 1194\nproto udp\ndev tun\ntopology net30\nca @/ca.crt\ncert @/server.crt\nkey @/server.key\n\
        dh @/dh.pem\nserver 10.8.0.0 255.255.255.0\nifconfig-pool-persist @/ipp.txt\nclient-config-dir @/ccd\n\
        push \"route 10.90.0.0 255.255.255.0\"\nclient-to-client\nkeepalive 10 120\ntls-auth @/ta.key 0\n\
        cipher AES-256-CBC\ncomp-lzo\nmax-clients 100\nuser nobody\ngroup nogroup\npersist-key\npersist-tun\n\
        status @/openvpn-status.log\nverb 3\nmute 20\n";
    let place = Place::new();
    let file = "ifconfig-push 10.8.0.129 10.8.0.130\n";
    let path = place.site.topology.write("ccd/alice", file);
    std::fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    let client = ["tls-auth", "comp-lzo"];
    let (_server, client) = place.serve(shape, &client, "10.8.0.1");
    assert_eq!(client.tunnel_v4(&place.site).to_string(), "10.8.0.129");
}

/// A container's, with a framing for compression that everybody has written since.
#[test]
fn a_containers_with_comp_lzo() {
    let shape = "server 192.168.255.0 255.255.255.0\nverb 3\nkey @/server.key\nca @/ca.crt\ncert @/server.crt\n\
        dh @/dh.pem\ntls-auth @/ta.key\nkey-direction 0\nkeepalive 10 60\npersist-key\npersist-tun\n\nproto udp\n\
        # Rely on Docker to do port mapping, internally always 1194\nport 1194\ndev tun0\nstatus @/status.log\n\n\
        user nobody\ngroup nogroup\ncomp-lzo no\n\n### Route Configurations Below\n\
        route 192.168.254.0 255.255.255.0\n\n### Push Configurations Below\npush \"block-outside-dns\"\n\
        push \"dhcp-option DNS 8.8.8.8\"\npush \"comp-lzo no\"\n";
    let place = Place::new();
    let served = place.serve(
        shape,
        &["tls-auth", "redirect-gateway def1", "comp-lzo no"],
        "192.168.255.1",
    );
    drop(served);
}

/// A cloud network's gateway: few clients, comments behind values.
#[test]
fn an_access_gateways() {
    let shape = "server 10.10.10.0 255.255.255.0\ntopology subnet\nproto udp\nport 1194\ndev tun\nauth SHA256\n\
        cipher AES-256-GCM\nca @/ca.crt\ncert @/server.crt\nkey @/server.key  # This file should be kept secret\n\
        dh @/dh.pem\ntls-auth @/ta.key 0 # This file should be kept secret\nkeepalive 1 30\nmax-clients 5\n\
        explicit-exit-notify 1\npersist-key\npersist-tun\nuser nobody\ngroup nogroup\nscript-security 2\n\
        push \"route 10.11.0.0 255.255.0.0\"\npush \"dhcp-option DNS 168.63.129.16\"\nstatus @/status.log\nverb 3\n";
    let place = Place::new();
    let served = place.serve(
        shape,
        &["tls-auth", "auth SHA256", "cipher AES-256-GCM"],
        "10.10.10.1",
    );
    drop(served);
}

/// A gateway that many share a certificate of, with half a network and a log that is muted.
#[test]
fn a_gateway_with_shared_certificates() {
    let shape = "local LOCAL\nport 1194\nproto udp4\ndev tun\nuser nobody\ngroup nogroup\npersist-key\npersist-tun\n\
        ca @/ca.crt\ncert @/server.crt\nkey @/server.key\ndh @/dh.pem\ntls-crypt @/ta.key\ncipher AES-256-GCM\n\
        auth SHA256\nduplicate-cn\ntopology subnet\nserver 10.9.1.0 255.255.255.128\n\
        push \"route 10.9.1.128 255.255.255.128\"\npush \"dhcp-option DOMAIN corp.example\"\n\
        push \"dhcp-option DOMAIN-SEARCH example.net\"\npush \"route 10.20.0.0 255.255.0.0\"\nmax-clients 10\n\
        explicit-exit-notify 1\nkeepalive 10 120\nverb 4\nmute 10\n";
    let place = Place::new();
    let served = place.serve(shape, &["tls-crypt", "auth SHA256"], "10.9.1.1");
    drop(served);
}

/// A platform's that gives addresses by files alone.
#[test]
fn a_platforms_without_a_pool() {
    let shape = "port 1194\nproto udp\ndev tun0\nca @/ca.crt\ncert @/server.crt\nkey @/server.key  # secret\ndh @/dh.pem\n\
        tun-mtu 1380\nclient-config-dir @/ccd/\ntopology subnet\nserver 10.10.0.0 255.255.255.0 nopool\n\
        keepalive 10 60\ntls-auth @/ta.key 0 # This file is secret\nmax-clients 1000\npersist-key\npersist-tun\n\
        status @/status.log\nverb 3\nexplicit-exit-notify 1\ntls-version-min 1.2\n\
        data-ciphers AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305\n";
    let place = Place::new();
    let file = "ifconfig-push 10.10.0.77 255.255.255.0\n";
    place.site.topology.write("ccd/alice", file);
    let (_server, client) = place.serve(shape, &["tls-auth", "tun-mtu 1380"], "10.10.0.1");
    assert_eq!(client.tunnel_v4(&place.site).to_string(), "10.10.0.77");
}

/// A small computer's: an old cipher that nobody uses, system log, the third status format.
#[test]
fn a_small_computers() {
    let shape = "dev tun\nproto udp\nport 1194\nca @/ca.crt\ncert @/server.crt\nkey @/server.key\ndh @/dh.pem\n\
        topology subnet\nserver 10.8.0.0 255.255.255.0\n# Set your primary domain name server address for clients\n\
        push \"dhcp-option DNS 9.9.9.9\"\n# Prevent DNS leaks on Windows\npush \"block-outside-dns\"\n\
        push \"redirect-gateway def1\"\nclient-to-client\nclient-config-dir @/ccd\nkeepalive 15 120\n\
        remote-cert-tls client\ntls-version-min 1.2\ntls-auth @/ta.key 0\ncipher AES-256-CBC\nauth SHA256\n\
        user nobody\ngroup nogroup\npersist-key\npersist-tun\ncrl-verify @/crl.pem\nstatus @/status.log 20\n\
        status-version 3\nverb 3\n#DuplicateCNs allow access control on a less-granular, per user basis.\n\
        #duplicate-cn\n";
    let client = [
        "tls-auth",
        "auth SHA256",
        "cipher AES-256-CBC",
        "auth-nocache",
        "tls-client",
    ];
    let place = Place::new();
    let served = place.serve(shape, &client, "10.8.0.1");
    let status = place.site.topology.directory().join("status.log");
    eventually("the status file", || {
        let text = std::fs::read_to_string(&status).unwrap();
        text.starts_with("TITLE\tOpenVPN 2.").then_some(())
    });
    drop(served);
}

/// A firewall distribution's: authorities and revoked serials in directories, a device by its own name.
#[test]
fn a_firewall_distributions() {
    let shape = "dev ovpns1\nmanagement @/sock unix\ndisable-dco\nverb 1\nverb 3\ndev-type tun\nscript-security 3\nkeepalive 10 60\nping-timer-rem\n\
        persist-tun\npersist-key\nproto udp4\nauth SHA256\nlocal LOCAL\ntls-server\nserver 10.20.0.0 255.255.255.0\n\
        server-ipv6 fd20::/64\nclient-config-dir @/ccd\nlport 1194\nmax-clients 50\n\
        push \"route 192.168.1.0 255.255.255.0\"\npush \"dhcp-option DOMAIN corp.example\"\npush \"block-outside-dns\"\n\
        push \"register-dns\"\npush \"dhcp-option NBT 2\"\npush \"redirect-gateway def1\"\npush \"redirect-gateway ipv6\"\n\
        client-to-client\nduplicate-cn\nremote-cert-tls client\ncapath @/capath\ncert @/server.crt\nkey @/server.key\n\
        crl-verify @/crl dir\ndh @/dh.pem\necdh-curve secp384r1\ntls-crypt @/ta.key\n\
        data-ciphers AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305\nallow-compression no\n\
        topology subnet\nfast-io\nexplicit-exit-notify 1\ninactive 300\nsndbuf 524288\nrcvbuf 524288\n";
    let place = Place::new();
    let (_server, client) = place.serve(shape, &["tls-crypt", "auth SHA256"], "fd20::1");
    ping(
        client.namespace(&place.site),
        "10.20.0.1".parse().unwrap(),
        3,
    )
    .assert_all_received();
}

/// A head office's: a network behind each branch, named in the branch's file.
#[test]
fn a_head_offices_with_networks_behind_clients() {
    let shape = "port 1194\nproto udp\ndev tun\ntopology subnet\nserver 10.8.0.0 255.255.255.0\nca @/ca.crt\n\
        cert @/server.crt\nkey @/server.key\ndh none\ntls-auth @/ta.key 0\ncipher AES-256-GCM\nkeepalive 10 120\n\
        client-config-dir @/ccd\nccd-exclusive\nroute 10.91.0.0 255.255.0.0\npush \"route 10.90.0.0 255.255.255.0\"\n\
        client-to-client\nifconfig-pool-persist @/ipp.txt 60\nmax-routes-per-client 16\npersist-key\npersist-tun\n\
        status @/status.log 10\nstatus-version 2\nverb 3\n";
    let place = Place::new();
    let file = "ifconfig-push 10.8.0.200 255.255.255.0\niroute 10.91.0.0 255.255.255.0\n\
                push \"dhcp-option DNS 10.90.0.2\"\n";
    place.site.topology.write("ccd/alice", file);
    let host = place.site.topology.branch(0);
    let (_server, client) = place.serve(shape, &["tls-auth", "cipher AES-256-GCM"], "10.8.0.1");
    assert_eq!(client.tunnel_v4(&place.site).to_string(), "10.8.0.200");
    let [behind, _] = branch_host(0);
    ping(&place.site.topology.lan, behind, 5).assert_all_received();
    drop(host);
}

/// A distribution's example, with a port and addresses of its own.
#[test]
fn a_sample() {
    let shape = "# Which local IP address should OpenVPN\n# listen on? (optional)\n;local a.b.c.d\n\nport 1194\n\n\
        ;proto tcp\nproto udp\n;dev tap\ndev tun\n;dev-node MyTap\n\nca @/ca.crt\ncert @/server.crt\n\
        key @/server.key  # This file should be kept secret\ndh @/dh.pem\n;topology subnet\n\
        server 10.8.0.0 255.255.255.0\n\nifconfig-pool-persist @/ipp.txt\n;server-bridge 10.8.0.4 255.255.255.0\n\
        ;push \"route 192.168.10.0 255.255.255.0\"\n;client-config-dir ccd\nkeepalive 10 120\n;tls-auth ta.key 0\n\
        persist-tun\nstatus @/openvpn-status.log\n;log openvpn.log\nverb 3\n;mute 20\nexplicit-exit-notify 1\n";
    let place = Place::new();
    let served = place.serve(shape, &["verb 3", "explicit-exit-notify 1"], "10.8.0.1");
    drop(served);
}

/// The group ffdhe2048 of RFC 7919.
const DH: &str = "-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
";

//! What is in the files of single clients, as `ringway check` tells it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use crate::config::Configuration;
use crate::config::client_file::inspect;
use crate::config::diagnostics::Diagnostic;
use crate::config::settings::{Access, ClientFiles, ClientProfile, Destination, Settings};

/// A line for each file, and one for each remark on it; empty for a node without such files.
pub(super) fn files(configuration: &Configuration) -> String {
    let Configuration::Server(settings) = configuration else {
        return String::new();
    };
    let Some(files) = &settings.client_files else {
        return String::new();
    };
    let Some(directory) = &files.directory else {
        return String::new();
    };
    let root = settings.node.process.chroot.as_deref();
    let (here, basis) = (outside(root, directory), {
        let mut basis = files.basis.clone();
        basis.directory = outside(root, &basis.directory);
        basis
    });
    let found: Vec<File> = names(&here)
        .into_iter()
        .map(|name| {
            let (read, remarks) = inspect(Some(&here.join(&name)), &[], &basis);
            File {
                name,
                profile: read.profile,
                remarks,
            }
        })
        .collect();
    text(settings, files, &here, &found)
}

/// The file of one client.
struct File {
    name: String,
    profile: ClientProfile,
    remarks: Vec<Diagnostic>,
}

fn text(settings: &Settings, files: &ClientFiles, here: &Path, found: &[File]) -> String {
    let mut text = format!("\nFiles of clients in {}: {}", here.display(), found.len());
    if files.exclusive {
        text.push_str(", and no client without one");
    }
    text.push('\n');
    for File {
        name,
        profile,
        remarks,
    } in found
    {
        let _ = writeln!(text, "  {name:<20} {}", summary(profile));
        for remark in remarks {
            let _ = writeln!(text, "    {remark}");
        }
        for network in unrouted(settings, profile) {
            let _ = writeln!(
                text,
                "    note: no `route` line of the server leads {network} into the tunnel"
            );
        }
    }
    for (what, names) in shared(found) {
        let _ = writeln!(
            text,
            "  warning: {what} is in the files of {}: it goes to the last one that connects",
            names.join(" and ")
        );
    }
    text
}

/// What a file comes to, in a few words.
fn summary(profile: &ClientProfile) -> String {
    if profile.access == Access::Disabled {
        return "is shut out".to_owned();
    }
    let addresses = addresses(profile).map(|address| address.to_string());
    let networks = profile.networks.iter().map(|it| format!("iroute {it}"));
    let pushed = profile.push.as_ref();
    let pushed = pushed.map(|options| format!("{} pushed options", options.len()));
    let parts: Vec<String> = addresses.chain(networks).chain(pushed).collect();
    match parts.is_empty() {
        true => "as every client".to_owned(),
        false => parts.join(", "),
    }
}

/// Networks behind a client that the kernel does not know to be in the tunnel.
fn unrouted<'p>(
    settings: &'p Settings,
    profile: &'p ClientProfile,
) -> impl Iterator<Item = &'p IpNet> {
    let tunnel = [
        settings.network.v4.map(|v4| IpNet::V4(v4.network)),
        settings.network.v6.map(|v6| IpNet::V6(v6.network)),
    ];
    let routes = settings
        .routes
        .iter()
        .filter_map(|it| match it.destination {
            Destination::Network(network) => Some(network),
            Destination::Remote => None,
        });
    let known: Vec<IpNet> = tunnel.into_iter().flatten().chain(routes).collect();
    let covered = move |network: &IpNet| known.iter().any(|known| known.contains(network));
    profile.networks.iter().filter(move |it| !covered(it))
}

/// Addresses and networks that are in several files, with the names of these.
fn shared(found: &[File]) -> Vec<(String, Vec<&str>)> {
    let mut owners: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for file in found {
        let addresses = addresses(&file.profile).map(|address| address.to_string());
        let networks = file.profile.networks.iter().map(IpNet::to_string);
        for what in addresses.chain(networks) {
            owners.entry(what).or_default().push(&file.name);
        }
    }
    owners.retain(|_, names| names.len() > 1);
    owners.into_iter().collect()
}

fn addresses(profile: &ClientProfile) -> impl Iterator<Item = IpAddr> {
    let v4 = profile.v4.map(|(address, _)| address.into());
    let v6 = profile.v6.map(|v6| v6.address.addr().into());
    v4.into_iter().chain(v6)
}

/// The names of the files in a directory, in their order.
fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let files = entries
        .filter_map(Result::ok)
        .filter(|it| it.path().is_file());
    let mut names: Vec<String> = files
        .map(|file| file.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A path that the process will see, as it is seen now.
fn outside(root: Option<&Path>, path: &Path) -> PathBuf {
    match root {
        Some(root) => root.join(path.strip_prefix("/").unwrap_or(path)),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{load_in, pki};
    use super::*;

    #[test]
    fn each_file_is_told_with_what_is_wrong_in_it() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("root/ccd")).unwrap();
        for (name, text) in [
            (
                "alice",
                "ifconfig-push 10.8.0.50 255.255.255.0\niroute 10.91.0.0 255.255.0.0\n",
            ),
            (
                "bob",
                "ifconfig-push 10.8.0.50 255.255.255.0\nfoo\nroute 10.1.0.0\n",
            ),
            ("carol", "disable\n"),
            (
                "dave",
                "iroute 10.92.0.0 255.255.0.0\npush \"route 10.1.0.0\"\n",
            ),
            ("erin", "config ccd/carol\n"),
            ("frank", "# nothing\n"),
        ] {
            std::fs::write(directory.path().join("root/ccd").join(name), text).unwrap();
        }
        let root = directory.path().join("root");
        let lines = format!(
            "dev tun\ntopology subnet\nserver 10.8.0.0 255.255.255.0\nroute 10.91.0.0 255.255.0.0\n\
             client-config-dir ccd\nccd-exclusive\nchroot {}\n{}",
            root.display(),
            pki()
        );
        let loaded = load_in(directory.path(), &lines);
        let configuration = loaded.configuration.expect("it can be served");
        let text = files(&configuration).replace(&directory.path().display().to_string(), "");
        assert_eq!(
            text,
            "\nFiles of clients in /root/ccd: 6, and no client without one\n\
             \x20 alice                10.8.0.50, iroute 10.91.0.0/16\n\
             \x20 bob                  10.8.0.50\n\
             \x20   /root/ccd/bob:2: error: foo: no such directive\n\
             \x20   /root/ccd/bob:3: error: route: option 'route' cannot be used in this context; \
             write it into the server's configuration\n\
             \x20 carol                is shut out\n\
             \x20 dave                 iroute 10.92.0.0/16, 3 pushed options\n\
             \x20   note: no `route` line of the server leads 10.92.0.0/16 into the tunnel\n\
             \x20 erin                 is shut out\n\
             \x20 frank                as every client\n\
             \x20 warning: 10.8.0.50 is in the files of alice and bob: it goes to the last one that \
             connects\n"
        );
    }
}

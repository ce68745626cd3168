//! What a server does for single clients: their files, and the routes to what is behind them.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;

use crate::config::client_file;
use crate::config::diagnostics::Severity;
use crate::config::draft::{Draft, Written};
use crate::config::pki::reason;
use crate::config::settings::{
    ClientFiles, Destination, LeaseSettings, NetworkSettings, ProfileBasis, RouteTarget,
    SessionTimes, TunnelRoute, Via,
};

/// Where clients' files are, as the process will see it.
pub(super) struct FilesDirectory {
    directory: Option<PathBuf>,
    /// Where relative names in them start.
    start: PathBuf,
}

/// The directory with clients' files; `None` if there is none.
pub(super) fn files_directory(draft: &mut Draft) -> Option<FilesDirectory> {
    let exclusive = draft.network.files_exclusive.clone();
    let Some(written) = draft.network.client_files.clone() else {
        if let Some(exclusive) = exclusive {
            let why = "--ccd-exclusive must be used with --client-config-dir";
            let instead = Some("add `client-config-dir DIRECTORY`".to_owned());
            draft.remark_at(
                Severity::Error,
                "ccd-exclusive",
                &exclusive.at,
                why,
                instead,
            );
        }
        return None;
    };
    let (here, directory) = draft.path_when_running(&written.value);
    let start = match &draft.process.chroot {
        Some(_) => PathBuf::from("/"),
        None => draft.directory.clone(),
    };
    if let Err(error) = std::fs::read_dir(&here) {
        let why = format!("fails with '{}': {}", here.display(), reason(&error));
        let directive = "client-config-dir";
        draft.remark_at(Severity::Error, directive, &written.at, &why, None);
        return None;
    }
    let directory = Some(directory);
    Some(FilesDirectory { directory, start })
}

/// None of one's own: clients have the lines that they are given when they connect.
pub(super) fn no_files_directory(draft: &Draft) -> FilesDirectory {
    let directory = None;
    let start = draft.directory.clone();
    FilesDirectory { directory, start }
}

/// The files in it.
pub(super) fn files(
    draft: &Draft,
    files: FilesDirectory,
    network: &NetworkSettings,
    push: &[String],
    times: SessionTimes,
) -> ClientFiles {
    ClientFiles {
        directory: files.directory,
        exclusive: draft.network.files_exclusive.is_some(),
        basis: ProfileBasis {
            push: Arc::from(push),
            network: network.clone(),
            constraint: draft.network.constraint,
            routes_max: draft.network.routes_per_client,
            times,
            directory: files.start,
        },
        reader: client_file::read,
    }
}

/// The file of address leases; `None` if there is none, or no use for it.
pub(super) fn leases(draft: &mut Draft) -> Option<LeaseSettings> {
    let Written { value, at } = draft.network.leases.clone()?;
    let directive = "ifconfig-pool-persist";
    if draft.network.duplicate_cn {
        let why = "has no effect: under `duplicate-cn` a name does not say which client it is";
        draft.remark_at(Severity::Warning, directive, &at, why, None);
        return None;
    }
    let (name, interval) = value;
    let path = draft.path(name);
    if let Err(error) = try_file(&path, interval.is_some()) {
        let why = format!("fails with '{}': {}", path.display(), reason(&error));
        draft.remark_at(Severity::Error, directive, &at, &why, None);
    }
    Some(LeaseSettings { path, interval })
}

/// Whether a file can be opened as the server will, without making it.
fn try_file(path: &Path, written: bool) -> io::Result<()> {
    match File::options().read(true).write(written).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let directory = path.parent().unwrap_or(path);
            match written {
                true => std::fs::read_dir(directory).map(drop),
                false => Ok(()),
            }
        }
        opened => opened.map(drop),
    }
}

/// The server's own routes, in the order of their lines. Wire: as in 2.6 those without a gateway have that
/// of `route-gateway`, or the other end of a device that is a line between two.
pub(super) fn routes(draft: &mut Draft, network: &NetworkSettings) -> Vec<TunnelRoute> {
    let peer = network.v4.and_then(|v4| v4.device().2);
    let gateway = draft.network.route_gateway.or(peer);
    let metric = draft.network.route_metric;
    let lines = std::mem::take(&mut draft.network.routes);
    if !draft.network.sets_routes {
        return Vec::new();
    }
    let routes = lines.into_iter().filter_map(|line| match line.target {
        RouteTarget::Known(destination) => Some(TunnelRoute {
            destination,
            via: match (line.via, destination, gateway) {
                (Via::Tunnel, Destination::Network(IpNet::V4(_)), Some(gateway)) => {
                    Via::Gateway(gateway.into())
                }
                (via, _, _) => via,
            },
            metric: line.metric.or(metric),
        }),
        RouteTarget::TunnelGateway => None,
    });
    routes.collect()
}

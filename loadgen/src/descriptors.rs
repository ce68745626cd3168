//! The limit on file descriptors: a socket for each session is many.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::failure::Failure;

/// Allows this process as many descriptors as so many sessions need.
///
/// # Errors
/// The system's hard limit is lower, and this process may not raise it.
pub(crate) fn allow(sessions: u32, cores: usize) -> Result<(), Failure> {
    let needed = needed(sessions, cores);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let enough = maximum.is_none_or(|maximum| maximum >= needed);
    let wanted = Rlimit {
        current: Some(needed),
        maximum: if enough { maximum } else { Some(needed) },
    };
    setrlimit(Resource::Nofile, wanted).map_err(|_| Failure::Descriptors {
        sessions,
        needed,
        maximum: maximum.unwrap_or(u64::MAX),
    })
}

fn needed(sessions: u32, cores: usize) -> u64 {
    u64::from(sessions) + cores as u64 * PER_CORE + BESIDES
}

/// The ring and its event, and sockets on their way out while others take their places.
const PER_CORE: u64 = 160;
/// Files, and what the system's libraries have open.
const BESIDES: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_session_has_a_descriptor_and_too_many_are_refused_with_the_figure() {
        assert_eq!(needed(10_000, 2), 10_384);
        assert!(allow(10, 1).is_ok());
        let Rlimit { current, .. } = getrlimit(Resource::Nofile);
        assert!(current.is_none_or(|current| current >= needed(10, 1)));
        // More than the kernel lets anybody have (fs.nr_open).
        let refused = allow(u32::MAX, 1).unwrap_err().to_string();
        assert!(refused.contains("4294967519"), "{refused}");
    }
}

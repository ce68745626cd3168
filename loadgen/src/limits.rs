//! Every bound on what a user, a file or a stranger can ask of the generator.

/// Sessions of one phase: as many as there are peer ids in the protocol are far more than a machine holds.
pub const SESSIONS_MAX: u32 = 1 << 20;

/// Events or packets a second, all sessions of a process together.
pub const RATE_MAX: f64 = 100_000_000.0;

/// Bytes of the greatest inner packet; what the tunnel carries is less, and the server's choice.
pub const PACKET_MAX: u16 = 9_000;

/// Phases of a plan.
pub const PHASES_MAX: usize = 1_000;

/// The longest phase.
pub const PHASE_MAX: std::time::Duration = std::time::Duration::from_secs(30 * 24 * 3600);

/// Bytes of a scenario file.
pub const PLAN_FILE_MAX: u64 = 1 << 20;

/// Intervals of a report's series: one a second in runs of up to an hour and a half.
pub const MOMENTS_MAX: usize = 10_800;

/// Reasons that are told apart; what is more is counted together.
pub const REASONS_MAX: usize = 64;

/// Bytes of a report that is read.
pub const REPORT_FILE_MAX: u64 = 1 << 30;

/// Threads of a LAN host for each address.
pub const LAN_THREADS_MAX: usize = 64;

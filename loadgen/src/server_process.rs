//! What the server uses while a run lasts: processor time and memory of a process on this machine, read
//! from /proc.

use std::fs;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::param::{clock_ticks_per_second, page_size};
use serde::{Deserialize, Serialize};

use crate::limits::MOMENTS_MAX;

/// Reads a process once a second, until it is stopped or the process ends.
#[derive(Debug)]
pub struct Sampler {
    stop: Sender<()>,
    thread: JoinHandle<ServerUse>,
}

impl Sampler {
    /// Begins with process `pid`. `cores` are those whose time is the server's; if there are none given, those
    /// on which the process may run.
    ///
    /// # Errors
    /// If there is no such process, or a core that is not there.
    pub fn start(pid: u32, cores: Option<&[usize]>) -> Result<Self, NotThere> {
        let process = Process { pid };
        let first = process
            .read()
            .map_err(|source| NotThere::Process { pid, source })?;
        let cores = match cores {
            Some(cores) => cores.to_vec(),
            None => process.allowed_cores(),
        };
        let busy = busy_seconds(&cores)?;
        let name = process.name();
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || {
            let watch = Watch {
                process,
                began: Instant::now(),
                first,
                last: first,
                busy: busy.clone(),
                server: ServerUse {
                    pid,
                    name,
                    cores: cores.iter().map(|core| ServerCore::new(*core)).collect(),
                    rest_bytes: first.resident,
                    peak_bytes: first.resident,
                    ..ServerUse::default()
                },
                first_busy: busy,
            };
            watch.until(&stopped)
        });
        Ok(Self { stop, thread })
    }

    /// What was used from its start until now.
    pub fn stop(self) -> ServerUse {
        // If the process has ended, so has the thread, and hears nothing.
        let _ended = self.stop.send(());
        self.thread.join().unwrap_or_default()
    }
}

/// What a server used in a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerUse {
    /// Its process.
    pub pid: u32,
    /// The name of its program.
    pub name: String,
    /// For how long it was looked at.
    pub seconds: f64,
    /// Processor time of the process, all its threads, in user space and in the kernel.
    pub process_cpu_seconds: f64,
    /// Its cores, and what they did for anybody: the process, the kernel, interrupts.
    pub cores: Vec<ServerCore>,
    /// Resident memory when the run began.
    pub rest_bytes: u64,
    /// The most resident memory that was seen.
    pub peak_bytes: u64,
    /// What it had more at the peak than at rest, for each of the sessions that were held.
    pub bytes_per_session: Option<f64>,
    /// Processor time of the process for a gigabit of inner packets, both ways together.
    pub process_ms_per_gigabit: Option<f64>,
    /// Non-idle time of its cores for the same.
    pub core_ms_per_gigabit: Option<f64>,
    /// Processor time of the process for each inner packet, both ways together.
    pub process_us_per_packet: Option<f64>,
    /// Non-idle time of its cores for the same.
    pub core_us_per_packet: Option<f64>,
    /// Processor time of the process for each session that was established.
    pub process_us_per_handshake: Option<f64>,
    /// Non-idle time of its cores for the same.
    pub core_us_per_handshake: Option<f64>,
    /// Once a second.
    pub samples: Vec<Sample>,
    /// True if the process ended before the run did; the figures are those until then.
    pub ended: bool,
}

/// What one core of a server did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerCore {
    /// Which, as the kernel numbers them.
    pub core: usize,
    /// Seconds that it was not idle, without what the hypervisor took.
    pub busy_seconds: f64,
}

/// One second of a server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Since the run began, at the end of this second.
    pub at_seconds: f64,
    /// Processor time of the process, in cores: 1.5 is one and a half.
    pub process: f64,
    /// The non-idle part of each of its cores.
    pub cores: Vec<f64>,
    /// Resident memory.
    pub resident_bytes: u64,
}

impl ServerCore {
    const fn new(core: usize) -> Self {
        Self {
            core,
            busy_seconds: 0.0,
        }
    }
}

impl ServerUse {
    /// Works out what a gigabit, a handshake and a session cost.
    ///
    /// `work` is what was done in `windows` of the run, in seconds since it began, and only what was used in
    /// them counts: what came before, such as bringing up sessions, is not part of a gigabit's cost. Of
    /// a run too short for that all counts.
    pub fn relate(&mut self, windows: &[(f64, f64)], work: Work) {
        let used = windows.iter().map(|window| self.used_in(*window));
        let (process, cores) = used.fold((0.0, 0.0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
        let (process, cores) = match process + cores > 0.0 {
            true => (process, cores),
            false => {
                let cores = self.cores.iter().map(|it| it.busy_seconds).sum();
                (self.process_cpu_seconds, cores)
            }
        };
        let each = |cost: f64, units: f64, scale: f64| (units > 0.0).then(|| cost * scale / units);
        let gigabits = work.bytes * 8.0 / 1e9;
        self.process_ms_per_gigabit = each(process, gigabits, 1e3);
        self.core_ms_per_gigabit = each(cores, gigabits, 1e3);
        self.process_us_per_packet = each(process, work.packets, 1e6);
        self.core_us_per_packet = each(cores, work.packets, 1e6);
        self.process_us_per_handshake = each(process, work.handshakes, 1e6);
        self.core_us_per_handshake = each(cores, work.handshakes, 1e6);
        let grown = self.peak_bytes.saturating_sub(self.rest_bytes) as f64;
        self.bytes_per_session = each(grown, work.sessions, 1.0);
    }

    /// Seconds of processor time of the process, and of its cores, within a window.
    fn used_in(&self, window: (f64, f64)) -> (f64, f64) {
        let (mut process, mut cores, mut began) = (0.0, 0.0, 0.0);
        for sample in &self.samples {
            let inside = overlap(window, (began, sample.at_seconds));
            process += sample.process * inside;
            cores += sample.cores.iter().sum::<f64>() * inside;
            began = sample.at_seconds;
        }
        (process, cores)
    }
}

/// How long two stretches of time have in common.
pub(crate) const fn overlap(one: (f64, f64), other: (f64, f64)) -> f64 {
    (one.1.min(other.1) - one.0.max(other.0)).max(0.0)
}

/// What a server did, as the generator counted it. Parts of intervals make it a fraction.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Sessions that were established.
    pub handshakes: f64,
    /// Inner packets that went through it, both ways.
    pub packets: f64,
    /// Bytes of them.
    pub bytes: f64,
    /// The most sessions that were held at once.
    pub sessions: f64,
}

/// A process and cores that are being looked at.
struct Watch {
    process: Process,
    began: Instant,
    first: Reading,
    last: Reading,
    first_busy: Vec<f64>,
    busy: Vec<f64>,
    server: ServerUse,
}

impl Watch {
    fn until(mut self, stopped: &Receiver<()>) -> ServerUse {
        let mut last_sample = self.began;
        for number in 1_u32.. {
            let due = self.began + EVERY * number;
            let wait = due.saturating_duration_since(Instant::now());
            let go_on = stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout);
            let now = Instant::now();
            if self.sample(now, now.duration_since(last_sample)).is_err() {
                self.server.ended = true;
                break;
            }
            last_sample = now;
            if !go_on {
                break;
            }
        }
        self.server
    }

    fn sample(&mut self, now: Instant, passed: Duration) -> io::Result<()> {
        let cores: Vec<usize> = self.server.cores.iter().map(|it| it.core).collect();
        let reading = self.process.read()?;
        let busy = busy_seconds(&cores).map_err(|fault| io::Error::other(fault.to_string()))?;
        self.server.seconds = now.duration_since(self.began).as_secs_f64();
        self.server.process_cpu_seconds = reading.cpu - self.first.cpu;
        self.server.peak_bytes = self.server.peak_bytes.max(reading.resident);
        let since = busy
            .iter()
            .zip(&self.first_busy)
            .map(|(now, then)| now - then);
        for (core, busy_seconds) in self.server.cores.iter_mut().zip(since) {
            core.busy_seconds = busy_seconds;
        }
        let seconds = passed.as_secs_f64();
        // The last one is seldom a whole second: the shorter it is, the less ticks can say of it.
        if seconds > EVERY.as_secs_f64() / 2.0 && self.server.samples.len() < MOMENTS_MAX {
            let parts = busy.iter().zip(&self.busy);
            self.server.samples.push(Sample {
                at_seconds: self.server.seconds,
                process: (reading.cpu - self.last.cpu) / seconds,
                cores: parts.map(|(now, then)| (now - then) / seconds).collect(),
                resident_bytes: reading.resident,
            });
        }
        (self.last, self.busy) = (reading, busy);
        Ok(())
    }
}

/// A process on this machine.
#[derive(Clone, Copy, Debug)]
struct Process {
    pid: u32,
}

/// What /proc says of a process.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Reading {
    /// Seconds of processor time.
    cpu: f64,
    /// Bytes of resident memory.
    resident: u64,
}

impl Process {
    fn read(self) -> io::Result<Reading> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        reading(&text).ok_or_else(|| io::Error::other("its process has ended"))
    }

    fn name(self) -> String {
        let text = fs::read_to_string(format!("/proc/{}/comm", self.pid));
        text.unwrap_or_default().trim_end().to_owned()
    }

    /// The cores on which it may run.
    fn allowed_cores(self) -> Vec<usize> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let list = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        cores_of_list(list.unwrap_or_default().trim()).unwrap_or_default()
    }
}

/// A line of /proc/PID/stat: its fields 14, 15 and 24 behind a name in parentheses that may hold
/// anything. `None` also for a process that has ended and that nobody has waited for.
fn reading(stat: &str) -> Option<Reading> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    let mut fields = fields.skip(10);
    let mut next = || fields.next()?.parse::<u64>().ok();
    let ticks = next()? + next()?;
    let pages = fields.nth(8)?.parse::<u64>().ok()?;
    Some(Reading {
        cpu: seconds(ticks),
        resident: pages * page_size() as u64,
    })
}

/// Seconds that each of `cores` was not idle since the machine was started.
fn busy_seconds(cores: &[usize]) -> Result<Vec<f64>, NotThere> {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let busy = |core: &usize| of_core(&stat, *core).ok_or(NotThere::Core(*core));
    cores.iter().map(busy).collect()
}

/// A line `cpu0 user nice system idle iowait irq softirq steal guest guest_nice`; the last two are
/// part of the first two.
fn of_core(stat: &str, core: usize) -> Option<f64> {
    let name = format!("cpu{core}");
    let line = stat.lines().find_map(|line| {
        let (first, rest) = line.split_once(' ')?;
        (first == name).then_some(rest)
    })?;
    let fields: Option<Vec<u64>> = line.split_whitespace().map(|it| it.parse().ok()).collect();
    match fields?[..] {
        [user, nice, system, _idle, _iowait, irq, softirq, ..] => {
            Some(seconds(user + nice + system + irq + softirq))
        }
        _ => None,
    }
}

/// The cores of a list as `0-2,5`; `None` if it is none.
pub fn cores_of_list(list: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if last >= CORES_MAX {
            return None;
        }
        cores.extend(first..=last);
    }
    Some(cores)
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / clock_ticks_per_second() as f64
}

/// What can't be looked at.
#[derive(Debug, thiserror::Error)]
pub enum NotThere {
    /// The process.
    #[error(
        "no process {pid} to look at: {source}; --server-pid is the process id of a server on this machine"
    )]
    Process {
        /// Its id.
        pid: u32,
        /// What the system said.
        source: io::Error,
    },
    /// A core.
    #[error("this machine has no core {0}")]
    Core(usize),
}

/// More than any machine has.
const CORES_MAX: usize = 4_096;
const EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    #[test]
    fn lines_of_proc() {
        let stat = "17 (a ) (b) S 1 2 3 4 5 6 7 8 9 10 300 25 7 8 20 0 3 0 99 1000000 55 18446744073709551615";
        let expected = Reading {
            cpu: seconds(325),
            resident: 55 * page_size() as u64,
        };
        assert_eq!(reading(stat), Some(expected));
        assert_eq!(reading(&stat.replace(") S", ") Z")), None);
        assert_eq!(reading("17 (a"), None);

        let stat = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu1 100 20 3000 77 88 400 50000 99 55 66\nintr 1\n";
        assert_eq!(of_core(stat, 1), Some(seconds(53_520)));
        assert_eq!(of_core(stat, 0), None);
        for (list, cores) in [
            ("0-2,5", Some(&[0, 1, 2, 5][..])),
            ("7", Some(&[7])),
            ("", None),
            ("1,x", None),
            ("0-99999999", None),
        ] {
            assert_eq!(cores_of_list(list).as_deref(), cores);
        }
    }

    fn sleeper() -> Child {
        let mut command = Command::new("sleep");
        command.arg("600").stdin(Stdio::null()).spawn().unwrap()
    }

    #[test]
    fn this_process_is_seen_working() {
        let sampler = Sampler::start(std::process::id(), None).unwrap();
        let began = Instant::now();
        let mut memory = Vec::new();
        let mut sum = 0_u64;
        // Until it has certainly used several ticks, and a sample more was due.
        while began.elapsed() < Duration::from_millis(1500) {
            sum = std::hint::black_box(sum.wrapping_add(1));
            if memory.len() < 32 << 20 {
                memory.extend_from_slice(&[1; 1 << 20]);
            }
        }
        let server = sampler.stop();
        assert!(memory.len() >= 32 << 20);
        assert!(!server.ended && server.seconds >= 1.0, "{server:?}");
        assert!(server.process_cpu_seconds > 0.0);
        assert!(!server.cores.is_empty());
        assert!(server.cores.iter().map(|it| it.busy_seconds).sum::<f64>() > 0.0);
        assert!(server.peak_bytes >= server.rest_bytes && server.rest_bytes > 0);
        assert!(!server.samples.is_empty());
        assert_eq!(server.samples[0].cores.len(), server.cores.len());
    }

    #[test]
    fn costs_are_of_what_was_done_meanwhile() {
        let sample = |at_seconds, process, core| Sample {
            at_seconds,
            process,
            cores: vec![core, 0.0],
            resident_bytes: 0,
        };
        let mut server = ServerUse {
            process_cpu_seconds: 2.0,
            cores: vec![ServerCore {
                core: 0,
                busy_seconds: 3.0,
            }],
            rest_bytes: 1_000_000,
            peak_bytes: 3_000_000,
            samples: vec![
                sample(1.0, 1.0, 1.0),
                sample(2.0, 0.5, 0.75),
                sample(3.0, 0.1, 0.2),
            ],
            ..ServerUse::default()
        };
        let work = Work {
            handshakes: 100.0,
            packets: 1000.0,
            bytes: 500_000_000.0,
            sessions: 50.0,
        };
        let close = |value: Option<f64>, expected: f64| (value.unwrap() - expected).abs() < 1e-6;
        // The second second, and half of the third.
        server.relate(&[(1.0, 2.5)], work);
        assert!(close(server.process_ms_per_gigabit, 550.0 / 4.0));
        assert!(close(server.core_ms_per_gigabit, 850.0 / 4.0));
        assert!(close(server.process_us_per_packet, 550.0));
        assert!(close(server.core_us_per_packet, 850.0));
        assert!(close(server.process_us_per_handshake, 5_500.0));
        assert!(close(server.core_us_per_handshake, 8_500.0));
        assert!(close(server.bytes_per_session, 40_000.0));
        // Nothing was seen meanwhile: all counts.
        server.relate(&[(7.0, 8.0)], work);
        assert!(close(server.process_ms_per_gigabit, 500.0));
        assert!(close(server.core_us_per_handshake, 30_000.0));
        server.relate(&[(0.0, 3.0)], Work::default());
        assert_eq!(
            (server.process_ms_per_gigabit, server.bytes_per_session),
            (None, None)
        );
    }

    #[test]
    fn a_process_that_ends_is_told() {
        for waits in [true, false] {
            let mut child = sleeper();
            let sampler = Sampler::start(child.id(), Some(&[0])).unwrap();
            child.kill().unwrap();
            // Nobody having waited for it, it is still listed.
            if waits {
                child.wait().unwrap();
            }
            while !sampler.thread.is_finished() {
                std::thread::sleep(Duration::from_millis(10));
            }
            let server = sampler.stop();
            assert!(server.ended);
            assert_eq!((server.name.as_str(), server.cores.len()), ("sleep", 1));
            child.wait().unwrap();
        }
    }

    #[test]
    fn what_is_not_there_is_said_at_once() {
        let mut child = sleeper();
        child.kill().unwrap();
        child.wait().unwrap();
        let error = Sampler::start(child.id(), None).unwrap_err().to_string();
        let expected = format!("no process {} to look at: ", child.id());
        assert!(error.starts_with(&expected), "{error}");
        let error = Sampler::start(std::process::id(), Some(&[0, 99_999])).unwrap_err();
        assert_eq!(error.to_string(), "this machine has no core 99999");
    }
}

//! bpf(2): maps, and the loading of a program.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::reactor::steering::assembler::Instruction;

/// A map in the kernel from keys of one length to numbers of 32 bits. It lives for as long as this or
/// a program that uses it.
#[derive(Debug)]
pub(super) struct Map {
    descriptor: OwnedFd,
    key_size: usize,
}

/// Which map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The key is an index of 32 bits; all values are there, first as 0.
    Array,
    /// The key is the number of bits of a prefix, then an address of so many bytes.
    Prefixes(usize),
}

impl Map {
    pub(super) fn create(kind: Kind, entries: u32) -> io::Result<Self> {
        let (map_type, key_size, flags) = match kind {
            Kind::Array => (BPF_MAP_TYPE_ARRAY, 4, 0),
            Kind::Prefixes(bytes) => (BPF_MAP_TYPE_LPM_TRIE, 4 + bytes, BPF_F_NO_PREALLOC),
        };
        let attributes = MapAttributes {
            map_type,
            key_size: u32::try_from(key_size).map_err(io::Error::other)?,
            value_size: size_of::<u32>() as u32,
            max_entries: entries,
            map_flags: flags,
            inner_map_fd: 0,
            numa_node: 0,
            map_name: name("ringway_tun"),
        };
        // SAFETY: the attributes hold no pointer.
        let descriptor = unsafe { bpf(BPF_MAP_CREATE, &attributes) }?;
        Ok(Self {
            descriptor: owned(descriptor),
            key_size,
        })
    }

    /// The number that a program names it by until it is loaded.
    pub(super) fn descriptor(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }

    pub(super) fn update(&self, key: &[u8], value: u32) -> io::Result<()> {
        let attributes = self.element(key, &raw const value)?;
        // SAFETY: the kernel reads a key of the map's key size, which `element` has checked, and a value of
        // the map's value size; both live until the call returns.
        unsafe { bpf(BPF_MAP_UPDATE_ELEM, &attributes) }.map(|_| ())
    }

    /// Removes an entry; an array has none that can be removed.
    pub(super) fn delete(&self, key: &[u8]) -> io::Result<()> {
        let attributes = self.element(key, std::ptr::null())?;
        // SAFETY: the kernel reads a key of the map's key size, which `element` has checked and which
        // lives until the call returns.
        unsafe { bpf(BPF_MAP_DELETE_ELEM, &attributes) }.map(|_| ())
    }

    fn element(&self, key: &[u8], value: *const u32) -> io::Result<ElementAttributes> {
        if key.len() != self.key_size {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(ElementAttributes {
            map_fd: self.descriptor().cast_unsigned(),
            padding: 0,
            key: key.as_ptr().expose_provenance() as u64,
            value: value.expose_provenance() as u64,
            flags: 0,
        })
    }
}

/// Loads a program of the type that sockets and tun devices run.
pub(super) fn load(program: &[Instruction]) -> Result<OwnedFd, Refused> {
    let mut log = Vec::new();
    // Without the log first: with it, a program that is fine fails if the log is too short.
    match attempt(program, &mut log) {
        Ok(descriptor) => return Ok(descriptor),
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            return Err(Refused {
                error,
                verdict: String::new(),
            });
        }
        Err(_) => log.resize(LOG_SIZE, 0),
    }
    attempt(program, &mut log).map_err(|error| Refused {
        error,
        verdict: last_line(&log),
    })
}

/// Why a program was not loaded.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) error: io::Error,
    /// What the verifier said last, if it came so far.
    pub(super) verdict: String,
}

fn attempt(program: &[Instruction], log: &mut [u8]) -> io::Result<OwnedFd> {
    let wants_log = !log.is_empty();
    let attributes = ProgramAttributes {
        prog_type: BPF_PROG_TYPE_SOCKET_FILTER,
        insn_cnt: u32::try_from(program.len()).map_err(io::Error::other)?,
        insns: program.as_ptr().expose_provenance() as u64,
        license: LICENSE.as_ptr().expose_provenance() as u64,
        log_level: wants_log.into(),
        log_size: u32::try_from(log.len()).map_err(io::Error::other)?,
        log_buf: if wants_log {
            log.as_mut_ptr().expose_provenance() as u64
        } else {
            0
        },
        kern_version: 0,
        prog_flags: 0,
        prog_name: name("ringway_tun"),
    };
    // SAFETY: the kernel reads `insn_cnt` instructions and a text with its NUL, and writes at most
    // `log_size` bytes of log; all of them live until the call returns.
    unsafe { bpf(BPF_PROG_LOAD, &attributes) }.map(owned)
}

/// The call itself; a descriptor or 0.
///
/// # Safety
///
/// `attributes` is what the kernel expects for `command`, and its addresses are of memory that the kernel
/// may read, or write where the command says so, until the call returns.
unsafe fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<RawFd> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of `attributes`; the caller vouches for the rest.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    RawFd::try_from(result).map_err(io::Error::other)
}

fn owned(descriptor: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just made the descriptor, and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

fn name(text: &str) -> [u8; NAME_SIZE] {
    let mut name = [0; NAME_SIZE];
    // The last byte stays 0.
    for (to, from) in name.iter_mut().zip(text.bytes().take(NAME_SIZE - 1)) {
        *to = from;
    }
    name
}

fn last_line(log: &[u8]) -> String {
    let text = CStr::from_bytes_until_nul(log).unwrap_or_default();
    let text = text.to_string_lossy();
    // The statistics at the end say nothing of a refusal.
    let said = text.lines().rfind(|line| !line.starts_with("processed "));
    said.unwrap_or_default().trim().to_owned()
}

/// union bpf_attr for `BPF_MAP_CREATE`
#[repr(C)]
struct MapAttributes {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; NAME_SIZE],
}

/// union bpf_attr for `BPF_MAP_*_ELEM`
#[repr(C)]
struct ElementAttributes {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// union bpf_attr for `BPF_PROG_LOAD`
#[repr(C)]
struct ProgramAttributes {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; NAME_SIZE],
}

// <linux/bpf.h>
const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_MAP_DELETE_ELEM: libc::c_int = 3;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_LPM_TRIE: u32 = 11;
const BPF_PROG_TYPE_SOCKET_FILTER: u32 = 1;
const BPF_F_NO_PREALLOC: u32 = 1;
const NAME_SIZE: usize = 16;

/// The kernel asks for it; none of the functions that we call depends on it.
const LICENSE: &CStr = c"MIT";
const LOG_SIZE: usize = 64 * 1024;

//! What the tests of this floor need of the system. They need root, as the tun device does.

use std::process::Command;
use std::time::Duration;

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

/// Runs a test on a thread of its own, so that what it gives up is not missed by others.
pub(super) fn in_own_thread(test: impl FnOnce() + Send + 'static) {
    if let Err(panic) = std::thread::spawn(test).join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a test in a network of its own, with a loopback interface and nothing else. All that it
/// makes there goes with it.
pub(crate) fn in_own_network(test: impl FnOnce() + Send + 'static) {
    in_own_thread(|| {
        // SAFETY: takes an integer, and changes this thread's network alone.
        let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(
            result,
            0,
            "{}: these tests need root",
            std::io::Error::last_os_error()
        );
        run("ip", &["link", "set", "lo", "up"]);
        test();
    });
}

/// Runs a command in this thread's network and returns what it printed.
pub(crate) fn run(command: &str, arguments: &[&str]) -> String {
    let output = Command::new(command).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command} {arguments:?}: {complaint}"
    );
    text
}

/// Waits for what the system does in its own time; a test for which it never does has failed.
pub(super) fn eventually(mut condition: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it never came true");
}

/// Takes a capability from this thread.
pub(super) fn drop_capability(capability: u32) {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    // _LINUX_CAPABILITY_VERSION_3: effective, permitted, inheritable, low half and high half
    let mut header = Header {
        version: 0x2008_0522,
        pid: 0,
    };
    let mut sets = [[0u32; 3]; 2];
    // SAFETY: the kernel writes two sets of three numbers for this version.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) };
    assert_eq!(result, 0);
    sets[0][0] &= !(1 << capability);
    // SAFETY: the kernel reads two sets of three numbers for this version.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr()) };
    assert_eq!(result, 0);
}

/// Leaves this thread these capabilities and no others.
pub(super) fn keep_capabilities(kept: CapabilitySet) {
    let mut sets = capabilities(None).unwrap();
    sets.effective &= kept;
    sets.permitted &= kept;
    set_capabilities(None, sets).unwrap();
}

/// Makes `io_uring_setup` fail on this thread as the default profile of container engines does.
pub(super) fn forbid_io_uring() {
    filter_system_calls(vec![
        load(NUMBER),
        jump(libc::BPF_JEQ, libc::SYS_io_uring_setup as u32, 0, 1),
        refuse(libc::EPERM),
        allow(),
    ]);
}

/// Makes tun devices refuse these `TUN_F_*` flags on this thread, as an older kernel does.
pub(super) fn forbid_tun_offloads(flags: u32) {
    filter_system_calls(vec![
        load(NUMBER),
        jump(libc::BPF_JEQ, libc::SYS_ioctl as u32, 0, 5),
        load(argument(1)),
        jump(libc::BPF_JEQ, libc::TUNSETOFFLOAD as u32, 0, 3),
        load(argument(2)),
        jump(libc::BPF_JSET, flags, 0, 1),
        refuse(libc::EINVAL),
        allow(),
    ]);
}

/// Makes UDP sockets refuse one option on this thread, as an older kernel does.
pub(super) fn forbid_udp_option(option: i32) {
    filter_system_calls(vec![
        load(NUMBER),
        jump(libc::BPF_JEQ, libc::SYS_setsockopt as u32, 0, 5),
        load(argument(1)),
        jump(libc::BPF_JEQ, libc::SOL_UDP.cast_unsigned(), 0, 3),
        load(argument(2)),
        jump(libc::BPF_JEQ, option.cast_unsigned(), 0, 1),
        refuse(libc::ENOPROTOOPT),
        allow(),
    ]);
}

fn filter_system_calls(mut program: Vec<libc::sock_filter>) {
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).unwrap(),
        filter: program.as_mut_ptr(),
    };
    // SAFETY: takes integers.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(result, 0);
    // SAFETY: the kernel copies the program, which lives until the call returns; the filter is
    // this thread's.
    let result = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const filter,
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// Where struct seccomp_data has the number of the system call.
const NUMBER: u32 = 0;

/// Where it has the lower half of an argument.
fn argument(number: u32) -> u32 {
    16 + 8 * number + if cfg!(target_endian = "big") { 4 } else { 0 }
}

fn load(at: u32) -> libc::sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, at)
}

fn jump(test: u32, value: u32, if_true: u8, if_false: u8) -> libc::sock_filter {
    instruction(libc::BPF_JMP | test | libc::BPF_K, if_true, if_false, value)
}

fn refuse(error: i32) -> libc::sock_filter {
    let verdict = libc::SECCOMP_RET_ERRNO | error.cast_unsigned();
    instruction(libc::BPF_RET | libc::BPF_K, 0, 0, verdict)
}

fn allow() -> libc::sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW)
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    let code = u16::try_from(code).unwrap();
    libc::sock_filter { code, jt, jf, k }
}

/// The number of `CAP_NET_ADMIN`.
pub(super) const CAP_NET_ADMIN: u32 = 12;

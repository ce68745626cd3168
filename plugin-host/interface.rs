//! The plug-in interface of OpenVPN 2.6 (`openvpn-plugin.h`, structure version 5) as Rust sees it, and
//! all that is `unsafe` in this program.
//!
//! A plug-in is code of somebody else in our address space: nothing can be promised for what it does.
//! What the comments here say is what *we* owe it: pointers that live through the call, strings that
//! end, lists that end with a null pointer, memory that is freed with the allocator it came from.

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use data_encoding::BASE64;
use libloading::os::unix::{Library as Object, RTLD_NOW, Symbol};
use ringway::node::plugins::{FromHost, Level};
use rustix::process::{Pid, getpid};
use zeroize::Zeroize;

/// What a plug-in's `open` gives: it stands for the plug-in in every call.
pub(crate) struct Handle(NonNull<c_void>);

/// What a plug-in keeps for one client.
pub(crate) struct Context(NonNull<c_void>);

/// When a plug-in wants to be opened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// Before the process gives up its privileges.
    Before,
    /// Behind that.
    AsUser,
}

/// Strings in C's form: an array of pointers with a null pointer at its end. Zeroed at the end.
pub(crate) struct Strings {
    owned: Vec<CString>,
    pointers: Vec<*const c_char>,
}

/// The functions of one shared object.
pub(crate) struct Functions {
    /// Never unloaded as long as one of its functions may run.
    _object: Object,
    open1: Option<Symbol<OpenV1>>,
    open2: Option<Symbol<OpenV2>>,
    open3: Option<Symbol<OpenV3>>,
    func1: Option<Symbol<FuncV1>>,
    func2: Option<Symbol<FuncV2>>,
    func3: Option<Symbol<FuncV3>>,
    close: Symbol<Close>,
    construct: Option<Symbol<Construct>>,
    destruct: Option<Symbol<Destruct>>,
    version_needed: Option<Symbol<Question>>,
    point: Option<Symbol<Question>>,
}

impl Strings {
    pub(crate) fn new(strings: &[String]) -> Self {
        let owned = strings.iter().map(|it| {
            // What C can't see ends there.
            let bytes = it.as_bytes().split(|byte| *byte == 0).next();
            CString::new(bytes.unwrap_or_default()).unwrap_or_default()
        });
        let owned: Vec<CString> = owned.collect();
        let pointers = owned.iter().map(|it| it.as_ptr());
        let pointers = pointers.chain([ptr::null()]).collect();
        Self { owned, pointers }
    }

    fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}

impl Drop for Strings {
    fn drop(&mut self) {
        self.pointers.clear();
        for string in self.owned.drain(..) {
            string.into_bytes().zeroize();
        }
    }
}

impl Functions {
    /// Loads a shared object; says what is missing in it.
    pub(crate) fn load(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        // SAFETY: the object's initialisers run here: the administrator named it, to be run.
        let object = unsafe { Object::open(Some(path), RTLD_NOW) }.map_err(|error| {
            format!("PLUGIN_INIT: could not load plugin shared object {shown}: {error}")
        })?;
        let close = optional(&object, "openvpn_plugin_close_v1").ok_or_else(|| {
            format!("PLUGIN: symbol openvpn_plugin_close_v1 is undefined in plugin: {shown}")
        })?;
        let functions = Self {
            open1: optional(&object, "openvpn_plugin_open_v1"),
            open2: optional(&object, "openvpn_plugin_open_v2"),
            open3: optional(&object, "openvpn_plugin_open_v3"),
            func1: optional(&object, "openvpn_plugin_func_v1"),
            func2: optional(&object, "openvpn_plugin_func_v2"),
            func3: optional(&object, "openvpn_plugin_func_v3"),
            close,
            construct: optional(&object, "openvpn_plugin_client_constructor_v1"),
            destruct: optional(&object, "openvpn_plugin_client_destructor_v1"),
            version_needed: optional(&object, "openvpn_plugin_min_version_required_v1"),
            point: optional(&object, "openvpn_plugin_select_initialization_point_v1"),
            _object: object,
        };
        let undefined = |name: &str| {
            Err(format!(
                "PLUGIN: symbol {name} is undefined in plugin: {shown}"
            ))
        };
        if functions.open1.is_none() && functions.open2.is_none() && functions.open3.is_none() {
            return undefined("openvpn_plugin_open_vX");
        }
        if functions.func1.is_none() && functions.func2.is_none() && functions.func3.is_none() {
            return undefined("openvpn_plugin_func_vX");
        }
        let needed = functions.version_needed.as_ref();
        // SAFETY: the type is that of the interface for this name.
        match needed.map(|question| unsafe { question() }) {
            Some(version) if version > INTERFACE_VERSION => Err(format!(
                "PLUGIN_INIT: plugin needs interface version {version}, but this version of ringway \
                 only supports version {INTERFACE_VERSION}: {shown}"
            )),
            _ => Ok(functions),
        }
    }

    pub(crate) fn point(&self) -> Point {
        // SAFETY: the type is that of the interface for this name.
        let point = self.point.as_ref().map(|question| unsafe { question() });
        if point == Some(POST_UID_CHANGE) {
            Point::AsUser
        } else {
            Point::Before
        }
    }

    /// Opens the plug-in: its handle, if it gives one, and the hooks that it asks for.
    pub(crate) fn open(&self, arguments: &Strings, environment: &Strings) -> (Option<Handle>, u32) {
        let (argv, envp) = (arguments.as_ptr(), environment.as_ptr());
        let mut list = ptr::null_mut();
        let mut hooks: c_uint = SUPPORTED;
        let handle = if let Some(open) = &self.open3 {
            let callbacks = &raw const CALLBACKS;
            let given = OpenArguments {
                type_mask: SUPPORTED.cast_signed(),
                argv,
                envp,
                callbacks,
                ssl_api: NO_SSL_API,
                version: VERSION.as_ptr(),
                version_major: VERSION_MAJOR,
                version_minor: VERSION_MINOR,
                version_patch: VERSION_PATCH.as_ptr(),
            };
            let mut back = OpenReturn {
                type_mask: 0,
                handle: ptr::null_mut(),
                return_list: &raw mut list,
            };
            // SAFETY: everything that is pointed to lives until the end of this function, and the
            // callbacks for ever; the structures are those of version 5.
            let status = unsafe { open(STRUCTURE_VERSION, &raw const given, &raw mut back) };
            hooks = back.type_mask.cast_unsigned();
            if status == SUCCESS {
                back.handle
            } else {
                ptr::null_mut()
            }
        } else if let Some(open) = &self.open2 {
            // SAFETY: as above; version 2 has this type.
            unsafe { open(&raw mut hooks, argv, envp, &raw mut list) }
        } else if let Some(open) = &self.open1 {
            // SAFETY: as above; version 1 has this type.
            unsafe { open(&raw mut hooks, argv, envp) }
        } else {
            ptr::null_mut()
        };
        drop(take(list));
        (NonNull::new(handle).map(Handle), hooks)
    }

    /// Calls a hook: its status and what it gave back.
    pub(crate) fn call(
        &self,
        handle: &Handle,
        hook: c_int,
        arguments: &Strings,
        environment: &Strings,
        context: Option<&Context>,
    ) -> (c_int, Vec<(String, String)>) {
        let (argv, envp) = (arguments.as_ptr(), environment.as_ptr());
        let context = context.map_or(ptr::null_mut(), |it| it.0.as_ptr());
        let handle = handle.0.as_ptr();
        let mut list = ptr::null_mut();
        let status = if let Some(func) = &self.func3 {
            let given = FuncArguments {
                hook,
                argv,
                envp,
                handle,
                context,
                // We have no certificate in OpenSSL's form.
                certificate_depth: -1,
                certificate: ptr::null_mut(),
            };
            let mut back = FuncReturn {
                return_list: &raw mut list,
            };
            // SAFETY: everything that is pointed to lives until the end of this function; handle
            // and context are those that this plug-in gave; the structures are those of version 5.
            unsafe { func(STRUCTURE_VERSION, &raw const given, &raw mut back) }
        } else if let Some(func) = &self.func2 {
            // SAFETY: as above; version 2 has this type.
            unsafe { func(handle, hook, argv, envp, context, &raw mut list) }
        } else if let Some(func) = &self.func1 {
            // SAFETY: as above; version 1 has this type.
            unsafe { func(handle, hook, argv, envp) }
        } else {
            FAILURE
        };
        (status, take(list))
    }

    pub(crate) fn close(&self, handle: Handle) {
        // SAFETY: the plug-in gave this handle, and it is given back once: the value is consumed.
        unsafe { (self.close)(handle.0.as_ptr()) };
    }

    pub(crate) fn construct(&self, handle: &Handle) -> Option<Context> {
        let construct = self.construct.as_ref()?;
        // SAFETY: the plug-in gave this handle.
        let context = unsafe { construct(handle.0.as_ptr()) };
        NonNull::new(context).map(Context)
    }

    pub(crate) fn destruct(&self, handle: &Handle, context: Context) {
        if let Some(destruct) = &self.destruct {
            // SAFETY: the plug-in gave both, and the context is given back once: it is consumed.
            unsafe { destruct(handle.0.as_ptr(), context.0.as_ptr()) };
        }
    }
}

/// Lines that plug-ins have for the log leave by this socket from now on.
pub(crate) fn speak_on(socket: OwnedFd) {
    let _set_already = SPEAKER.set((getpid(), socket));
}

/// A function of the object, if it has it.
fn optional<T>(object: &Object, name: &str) -> Option<Symbol<T>> {
    // SAFETY: the fields of `Functions` give each name the type that the interface gives it.
    unsafe { object.get(name.as_bytes()) }.ok()
}

/// Names and values of a list that a plug-in has made, which is freed.
fn take(mut list: *mut StringList) -> Vec<(String, String)> {
    let mut found = Vec::new();
    while let Some(item) = NonNull::new(list) {
        // SAFETY: the plug-in made the item whole before it returned, and nobody else has it.
        let StringList { next, name, value } = unsafe { item.read() };
        found.push((text(name), text(value)));
        for pointer in [name.cast(), value.cast(), item.as_ptr().cast()] {
            // SAFETY: the interface says that each of the three came from `malloc`; a null pointer
            // may be freed too.
            unsafe { libc::free(pointer) };
        }
        list = next;
    }
    found
}

/// The text at a pointer of C; nothing at a null pointer.
fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: strings of the interface end with a zero.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_string_lossy().into_owned()
}

/// One line of a plug-in for the log. Called by `log.c`.
///
/// # Safety
/// `name` and `text` are null or end with a zero.
#[unsafe(no_mangle)]
unsafe extern "C" fn ringway_plugin_line(
    flags: c_int,
    error: c_int,
    name: *const c_char,
    text: *const c_char,
) {
    let (name, mut line) = (self::text(name), self::text(text));
    if flags & LOG_WITH_ERROR != 0 {
        let error = io::Error::from_raw_os_error(error);
        line = format!("{line}: {error}");
    }
    let level = match flags {
        _ if flags & LOG_ERROR != 0 => Level::Error,
        _ if flags & LOG_WARNING != 0 => Level::Warning,
        _ if flags & LOG_NOTE != 0 => Level::Note,
        _ => Level::Debug,
    };
    let text = format!("PLUGIN {name}: {line}");
    match SPEAKER.get() {
        Some((process, socket)) if *process == getpid() => {
            let _server_is_gone = super::tell(socket, &FromHost::Said { level, text });
        }
        // A process that the plug-in has made of this one: the descriptor may be something else
        // there.
        _ => eprintln!("{text}"),
    }
}

/// Zeroes memory, whatever the compiler thinks of it.
unsafe extern "C" fn zero(data: *mut c_void, length: usize) {
    for place in 0..length {
        // SAFETY: the plug-in says that so many bytes are its own.
        let byte = unsafe { data.cast::<u8>().add(place) };
        // SAFETY: as above; a byte has no alignment.
        unsafe { byte.write_volatile(0) };
    }
}

/// Base64 of `size` bytes into memory that the plug-in frees: the length of the text, or -1.
unsafe extern "C" fn base64_encode(
    data: *const c_void,
    size: c_int,
    text: *mut *mut c_char,
) -> c_int {
    let Ok(size) = usize::try_from(size) else {
        return -1;
    };
    // SAFETY: the plug-in says that so many bytes are there.
    let bytes = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), size) };
    let mut encoded = BASE64.encode(bytes);
    let Ok(length) = c_int::try_from(encoded.len()) else {
        return -1;
    };
    // SAFETY: any size may be asked for.
    let memory = unsafe { libc::malloc(encoded.len() + 1) }.cast::<u8>();
    if memory.is_null() {
        return -1;
    }
    // SAFETY: the memory is new, and has room for the text and one byte more.
    unsafe { memory.copy_from_nonoverlapping(encoded.as_ptr(), encoded.len()) };
    // SAFETY: the byte behind the text is the last one.
    let end = unsafe { memory.add(encoded.len()) };
    // SAFETY: as above.
    unsafe { end.write(0) };
    // SAFETY: the plug-in gave a place for one pointer.
    unsafe { text.write(memory.cast()) };
    encoded.zeroize();
    length
}

/// The bytes of a Base64 text, at most `size`: how many, or -1 if it is none or is longer.
unsafe extern "C" fn base64_decode(text: *const c_char, data: *mut c_void, size: c_int) -> c_int {
    if text.is_null() {
        return -1;
    }
    // SAFETY: strings of the interface end with a zero.
    let text = unsafe { CStr::from_ptr(text) };
    let Ok(mut bytes) = BASE64.decode(text.to_bytes()) else {
        return -1;
    };
    let length = match c_int::try_from(bytes.len()) {
        Ok(length) if length <= size => length,
        _ => {
            bytes.zeroize();
            return -1;
        }
    };
    // SAFETY: the plug-in says that there is room for `size` bytes, and these are no more.
    unsafe {
        data.cast::<u8>()
            .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len())
    };
    bytes.zeroize();
    length
}

unsafe extern "C" {
    fn ringway_plugin_log(flags: c_int, name: *const c_char, format: *const c_char, ...);
    /// The last argument is C's `va_list`, which we neither make nor look at: the plug-in's compiler
    /// made it, and that of `log.c` takes it.
    fn ringway_plugin_vlog(
        flags: c_int,
        name: *const c_char,
        format: *const c_char,
        arguments: *mut c_void,
    );
}

type OpenV1 =
    unsafe extern "C" fn(*mut c_uint, *const *const c_char, *const *const c_char) -> *mut c_void;

type OpenV2 = unsafe extern "C" fn(
    *mut c_uint,
    *const *const c_char,
    *const *const c_char,
    *mut *mut StringList,
) -> *mut c_void;

type OpenV3 = unsafe extern "C" fn(c_int, *const OpenArguments, *mut OpenReturn) -> c_int;

type FuncV1 =
    unsafe extern "C" fn(*mut c_void, c_int, *const *const c_char, *const *const c_char) -> c_int;

type FuncV2 = unsafe extern "C" fn(
    *mut c_void,
    c_int,
    *const *const c_char,
    *const *const c_char,
    *mut c_void,
    *mut *mut StringList,
) -> c_int;

type FuncV3 = unsafe extern "C" fn(c_int, *const FuncArguments, *mut FuncReturn) -> c_int;

type Close = unsafe extern "C" fn(*mut c_void);

type Construct = unsafe extern "C" fn(*mut c_void) -> *mut c_void;

type Destruct = unsafe extern "C" fn(*mut c_void, *mut c_void);

type Question = unsafe extern "C" fn() -> c_int;

/// `struct openvpn_plugin_string_list`.
#[repr(C)]
struct StringList {
    next: *mut StringList,
    name: *mut c_char,
    value: *mut c_char,
}

/// `struct openvpn_plugin_callbacks`.
#[repr(C)]
struct Callbacks {
    log: unsafe extern "C" fn(c_int, *const c_char, *const c_char, ...),
    vlog: unsafe extern "C" fn(c_int, *const c_char, *const c_char, *mut c_void),
    zero: unsafe extern "C" fn(*mut c_void, usize),
    base64_encode: unsafe extern "C" fn(*const c_void, c_int, *mut *mut c_char) -> c_int,
    base64_decode: unsafe extern "C" fn(*const c_char, *mut c_void, c_int) -> c_int,
}

/// `struct openvpn_plugin_args_open_in`.
#[repr(C)]
struct OpenArguments {
    type_mask: c_int,
    argv: *const *const c_char,
    envp: *const *const c_char,
    callbacks: *const Callbacks,
    ssl_api: c_int,
    version: *const c_char,
    version_major: c_uint,
    version_minor: c_uint,
    version_patch: *const c_char,
}

/// `struct openvpn_plugin_args_open_return`.
#[repr(C)]
struct OpenReturn {
    type_mask: c_int,
    handle: *mut c_void,
    return_list: *mut *mut StringList,
}

/// `struct openvpn_plugin_args_func_in`.
#[repr(C)]
struct FuncArguments {
    hook: c_int,
    argv: *const *const c_char,
    envp: *const *const c_char,
    handle: *mut c_void,
    context: *mut c_void,
    certificate_depth: c_int,
    certificate: *mut c_void,
}

/// `struct openvpn_plugin_args_func_return`.
#[repr(C)]
struct FuncReturn {
    return_list: *mut *mut StringList,
}

static CALLBACKS: Callbacks = Callbacks {
    log: ringway_plugin_log,
    vlog: ringway_plugin_vlog,
    zero,
    base64_encode,
    base64_decode,
};

/// The process that speaks, and the socket to the server.
static SPEAKER: OnceLock<(Pid, OwnedFd)> = OnceLock::new();

/// All hooks that there are, as bits. Packet filters, hook 11, are gone, and may still be asked for.
pub(crate) const SUPPORTED: c_uint = 0xffff;

/// The version of the interface, and of the structures of its third version.
const INTERFACE_VERSION: c_int = 3;
const STRUCTURE_VERSION: c_int = 5;

/// No library that could look into a certificate of ours.
const NO_SSL_API: c_int = 0;

/// What plug-ins are told of the daemon: the version whose interface this is.
const VERSION: &CStr = c"2.6.14";
const VERSION_MAJOR: c_uint = 2;
const VERSION_MINOR: c_uint = 6;
const VERSION_PATCH: &CStr = c".14";

/// `OPENVPN_PLUGIN_FUNC_SUCCESS` and `_ERROR`.
const SUCCESS: c_int = 0;
const FAILURE: c_int = 1;

/// `OPENVPN_PLUGIN_INIT_POST_UID_CHANGE`.
const POST_UID_CHANGE: c_int = 4;

/// `openvpn_plugin_log_flags_t`.
const LOG_ERROR: c_int = 1;
const LOG_WARNING: c_int = 2;
const LOG_NOTE: c_int = 4;
const LOG_WITH_ERROR: c_int = 256;

//! The host: loads the plug-ins, opens them, becomes what the server becomes, and calls them one
//! message after the other.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use ringway::node::confine;
use ringway::node::plugins::{
    Call, FirstCall, FromHost, Hook, Level, MESSAGE_MAX, Opening, Outcome, ToHost, decode,
};
use rustix::net::{RecvFlags, recv};
use zeroize::{Zeroize, Zeroizing};

use super::interface::{self, Context, Point, Strings};
use super::library::{Library, Opened, Verdict};

/// Serves until the server is gone.
///
/// # Errors
/// What the system refuses, or a message that is none. What is wrong with a plug-in the server is
/// told, and it is no error here.
pub(crate) fn run(socket: OwnedFd) -> io::Result<()> {
    let watch = File::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?);
    // What plug-ins print goes where the server's errors go.
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    interface::speak_on(socket.try_clone()?);
    let mut host = Host {
        socket,
        watch,
        plugins: Vec::new(),
        contexts: HashMap::new(),
    };
    host.tell(&FromHost::Started)?;
    let mut buffer = Zeroizing::new(vec![0; MESSAGE_MAX]);
    loop {
        let (_, length) = recv(&host.socket, buffer.as_mut_slice(), RecvFlags::empty())?;
        if length == 0 {
            host.close();
            return Ok(());
        }
        let message = decode(&buffer[..length]).map_err(io::Error::other);
        buffer[..length].zeroize();
        match message? {
            ToHost::Open(opening) => {
                if let Err(reason) = host.open(&opening) {
                    return host.tell(&FromHost::Refused { reason });
                }
                let hooks = host.plugins.iter().map(Opened::hooks).collect();
                host.tell(&FromHost::Opened { hooks })?;
            }
            ToHost::Call(call) => host.call(&call)?,
            ToHost::Forget { client } => host.forget(client),
        }
    }
}

struct Host {
    socket: OwnedFd,
    /// Where the watch learns how long a call may take.
    watch: File,
    plugins: Vec<Opened>,
    /// What plug-ins keep for a client, in the order of the plug-ins.
    contexts: HashMap<u64, Vec<Option<Context>>>,
}

impl Host {
    fn tell(&self, message: &FromHost) -> io::Result<()> {
        super::tell(&self.socket, message)
    }

    fn say(&self, level: Level, text: String) -> io::Result<()> {
        self.tell(&FromHost::Said { level, text })
    }

    /// Opens all plug-ins, those last that want to be opened as another user, and becomes that user
    /// before; behind the first calls, for which a plug-in may need more.
    fn open(&mut self, opening: &Opening) -> Result<(), String> {
        let environment = Strings::new(&opening.environment);
        let load = |plugin| Library::load(plugin);
        let libraries = opening.plugins.iter().map(load);
        let mut opened: Vec<Option<Opened>> = Vec::new();
        let mut waiting = Vec::new();
        for (place, library) in libraries
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .enumerate()
        {
            if library.point() == Point::AsUser {
                opened.push(None);
                waiting.push((place, library));
            } else {
                opened.push(Some(self.open_one(library, &environment)?));
            }
        }
        for call in &opening.first {
            self.call_first(call, opened.iter().flatten(), &environment)?;
        }
        confine(&opening.confinement).map_err(|error| error.to_string())?;
        for (place, library) in waiting {
            opened[place] = Some(self.open_one(library, &environment)?);
        }
        self.plugins = opened.into_iter().flatten().collect();
        Ok(())
    }

    fn open_one(&self, library: Library, environment: &Strings) -> Result<Opened, String> {
        let (name, arguments) = (library.name().to_owned(), library.arguments_in_words());
        let opened = library.open(environment)?;
        let line = format!(
            "PLUGIN_INIT: POST {name} '{arguments}' intercepted={} ",
            in_words(opened.hooks())
        );
        let _server_is_gone = self.say(Level::Step, line);
        Ok(opened)
    }

    /// Calls plug-ins of those that are open already.
    fn call_first<'a>(
        &self,
        call: &FirstCall,
        plugins: impl Iterator<Item = &'a Opened>,
        environment: &Strings,
    ) -> Result<(), String> {
        let mut failed = false;
        for plugin in plugins.filter(|plugin| plugin.hooks() & call.hook.bit() != 0) {
            let ask = || plugin.call(call.hook, &call.arguments, environment, None);
            let answer = self.within(call.limit, ask);
            let (verdict, _) = answer.map_err(|error| error.to_string())?;
            if let Verdict::Other(status) = verdict {
                failed = true;
                let _server_is_gone = self.say_failed(call.hook, status, plugin);
            }
        }
        match &call.needed {
            Some(reason) if failed => Err(reason.clone()),
            _ => Ok(()),
        }
    }

    /// Has the watch end this program if the plug-in does not return after so many seconds.
    fn within<T>(&self, limit: u32, call: impl FnOnce() -> T) -> io::Result<T> {
        (&self.watch).write_all(&limit.max(1).to_le_bytes())?;
        let result = call();
        (&self.watch).write_all(&0_u32.to_le_bytes())?;
        Ok(result)
    }

    fn say_failed(&self, hook: Hook, status: i32, plugin: &Opened) -> io::Result<()> {
        let (hook, name) = (hook.name(), plugin.name());
        let line =
            format!("PLUGIN_CALL: plugin function {hook} failed with status {status}: {name}");
        self.say(Level::Warning, line)
    }

    /// Calls every plug-in that has asked for the hook, also behind one that says no.
    fn call(&mut self, call: &Call) -> io::Result<()> {
        let environment = Strings::new(&call.environment);
        if let Some(client) = call.client {
            let Self {
                plugins, contexts, ..
            } = self;
            let construct = || plugins.iter().map(Opened::construct).collect();
            contexts.entry(client).or_insert_with(construct);
        }
        let (mut failed, mut deferred) = (false, false);
        let mut returned = Vec::new();
        for (place, plugin) in self.plugins.iter().enumerate() {
            if plugin.hooks() & call.hook.bit() == 0 {
                continue;
            }
            let contexts = call.client.and_then(|client| self.contexts.get(&client));
            let context = contexts.and_then(|contexts| contexts[place].as_ref());
            let ask = || plugin.call(call.hook, &call.arguments, &environment, context);
            let (verdict, list) = self.within(call.limit, ask)?;
            returned.extend(list);
            match verdict {
                Verdict::Success => {}
                // Both would answer in one file.
                Verdict::Deferred if deferred && call.hook == Hook::AuthUserPassVerify => {
                    failed = true;
                    self.say(Level::Error, TWICE.to_owned())?;
                }
                Verdict::Deferred => deferred = true,
                Verdict::Other(status) => {
                    failed = true;
                    self.say_failed(call.hook, status, plugin)?;
                }
            }
        }
        let outcome = match (failed, deferred) {
            (true, _) => Outcome::Error,
            (false, true) => Outcome::Deferred,
            (false, false) => Outcome::Success,
        };
        let number = call.number;
        let answer = FromHost::Answered {
            number,
            outcome,
            returned,
        };
        self.tell(&answer).or_else(|_too_long| {
            self.say(Level::Error, TOO_MUCH.to_owned())?;
            self.tell(&FromHost::Answered {
                number,
                outcome: Outcome::Error,
                returned: Vec::new(),
            })
        })
    }

    fn forget(&mut self, client: u64) {
        let contexts = self.contexts.remove(&client).unwrap_or_default();
        for (plugin, context) in self.plugins.iter().zip(contexts) {
            if let Some(context) = context {
                plugin.destruct(context);
            }
        }
    }

    fn close(mut self) {
        let clients: Vec<u64> = self.contexts.keys().copied().collect();
        for client in clients {
            self.forget(client);
        }
        for plugin in self.plugins {
            plugin.close();
        }
    }
}

/// The names of hooks, as the stock daemon lists them.
fn in_words(hooks: u32) -> String {
    let asked = Hook::ALL.iter().filter(|hook| hooks & hook.bit() != 0);
    let names: Vec<&str> = asked.map(|hook| hook.name()).collect();
    names.join("|")
}

const TWICE: &str = "two plug-ins want to answer the same login later, and both would write to one \
                     file: the login is refused; only one plug-in may defer";

const TOO_MUCH: &str = "a plug-in gave back more than a client's configuration can be";

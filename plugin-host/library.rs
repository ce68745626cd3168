//! A plug-in: loaded, and then open.

use ringway::node::plugins::{Hook, Plugin};

use super::interface::{Context, Functions, Handle, Point, SUPPORTED, Strings};

/// A plug-in whose shared object is loaded.
pub(crate) struct Library {
    name: String,
    arguments: Vec<String>,
    functions: Functions,
}

/// A plug-in that is open.
pub(crate) struct Opened {
    name: String,
    /// A plug-in may look at what it was opened with as long as it runs.
    _arguments: Strings,
    functions: Functions,
    handle: Handle,
    hooks: u32,
}

/// What a plug-in says to a call.
pub(crate) enum Verdict {
    /// Yes.
    Success,
    /// Later.
    Deferred,
    /// Anything else is no.
    Other(i32),
}

impl Library {
    pub(crate) fn load(plugin: &Plugin) -> Result<Self, String> {
        let functions = Functions::load(&plugin.path)?;
        let arguments = [&plugin.name].into_iter().chain(&plugin.arguments);
        Ok(Self {
            name: plugin.name.clone(),
            arguments: arguments.cloned().collect(),
            functions,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn point(&self) -> Point {
        self.functions.point()
    }

    /// As the stock daemon shows them: each in brackets.
    pub(crate) fn arguments_in_words(&self) -> String {
        let words = self.arguments.iter().map(|it| format!("[{it}]"));
        words.collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn open(self, environment: &Strings) -> Result<Opened, String> {
        let arguments = Strings::new(&self.arguments);
        let (handle, hooks) = self.functions.open(&arguments, environment);
        let name = self.name;
        if hooks & !SUPPORTED != 0 {
            return Err(format!(
                "PLUGIN_INIT: plugin {name} expressed interest in unsupported plugin types: \
                 [want={hooks:#010x}, have={SUPPORTED:#010x}]"
            ));
        }
        let handle = handle
            .ok_or_else(|| format!("PLUGIN_INIT: plugin initialization function failed: {name}"))?;
        Ok(Opened {
            name,
            _arguments: arguments,
            functions: self.functions,
            handle,
            hooks,
        })
    }
}

impl Opened {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The hooks that it asked for, as a mask of [`Hook::bit`].
    pub(crate) fn hooks(&self) -> u32 {
        self.hooks
    }

    /// Calls a hook with these arguments behind the plug-in's name.
    pub(crate) fn call(
        &self,
        hook: Hook,
        arguments: &[String],
        environment: &Strings,
        context: Option<&Context>,
    ) -> (Verdict, Vec<(String, String)>) {
        let named: Vec<String> = [&self.name].into_iter().chain(arguments).cloned().collect();
        let arguments = Strings::new(&named);
        let (handle, functions) = (&self.handle, &self.functions);
        let (status, returned) =
            functions.call(handle, hook as i32, &arguments, environment, context);
        let verdict = match status {
            0 => Verdict::Success,
            2 => Verdict::Deferred,
            other => Verdict::Other(other),
        };
        (verdict, returned)
    }

    pub(crate) fn construct(&self) -> Option<Context> {
        self.functions.construct(&self.handle)
    }

    pub(crate) fn destruct(&self, context: Context) {
        self.functions.destruct(&self.handle, context);
    }

    pub(crate) fn close(self) {
        self.functions.close(self.handle);
    }
}

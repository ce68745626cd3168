//! A server whose key is locked by a password that the management interface is asked for.

use super::{StartError, Starting};
use crate::node::event::NodeEvent;
use crate::node::reload::{ConfigurationReader, Reading, StillLocked};
use crate::node::settings::Settings;

impl Starting<'_> {
    /// Asks until somebody says the right password, and reads the configuration with it.
    pub(super) fn unlock(
        &mut self,
        reader: &dyn ConfigurationReader,
    ) -> Result<Settings, StartError> {
        let mut again = false;
        loop {
            self.publish(NodeEvent::PasswordAwaited { again });
            (self.waits)();
            let said = self
                .management
                .as_ref()
                .and_then(|it| it.wait_for_password());
            let password = said.ok_or(StartError::Held)?;
            match reader.unlock(&password) {
                Ok(Reading { settings, warnings }) => {
                    for line in warnings {
                        let text = line.strip_prefix("WARNING: ").unwrap_or(&line).into();
                        self.publish(NodeEvent::Warned { text });
                    }
                    return Ok(settings);
                }
                Err(StillLocked::WrongPassword) => again = true,
                Err(StillLocked::Faults(lines)) => {
                    return Err(StartError::Configuration(lines.join("; ")));
                }
            }
        }
    }
}

//! What of the pushed configuration changes while the tunnel is up.
//!
//! Wire: wire.md section 10.5.

use super::event::{LeaveReason, SessionEvent};
use super::state::{Phase, Session};
use crate::random::Random;
use crate::time::Now;
use crate::wire::PushUpdate;

impl Session {
    /// Server: what clients are pushed from now on. Who is connected, takes updates, and was pushed
    /// what all are, is told what has changed, when no new key is being agreed on.
    pub fn push_anew(&mut self, now: Now, random: &mut dyn Random, push: &[String]) {
        if !matches!(&self.phase, Phase::Connected(agreement) if agreement.push_update) {
            return;
        }
        // What no client could read was refused with the configuration.
        let Ok(update) = PushUpdate::between(&self.settings.push, push) else {
            return;
        };
        self.unsaid.extend(update.messages());
        self.drive(now, random);
    }

    /// Server: says what has changed.
    pub(super) fn say_updates(&mut self) -> Result<(), LeaveReason> {
        if self.unsaid.is_empty() || !self.is_connected() {
            return Ok(());
        }
        let messages = std::mem::take(&mut self.unsaid);
        for message in &messages {
            let mut record = message.clone().into_bytes();
            record.push(0);
            self.current.send_message(&record)?;
        }
        self.emit(SessionEvent::Pushed(messages));
        Ok(())
    }

    /// Client: a part of an update; it is handed out when the last part is there.
    pub(super) fn push_update(&mut self, part: &str) -> Result<(), LeaveReason> {
        if !self.is_connected() {
            return Ok(());
        }
        if let Some(items) = self.updates.take(part).map_err(LeaveReason::Push)? {
            self.emit(SessionEvent::Updated(items));
        }
        Ok(())
    }
}

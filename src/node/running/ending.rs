//! How a node ends: who is told of it, in which order, and what comes of it.

use super::{Ended, Node, State};
use crate::node::client::{Client, Ending};
use crate::node::event::{NodeEvent, StopSignal, TunnelEvent};
use crate::node::message::Report;
use crate::node::start::StartError;

impl Node {
    /// The last of a node: threads, files, log.
    pub(super) fn end(mut self) -> Result<Ended, StartError> {
        self.shards.clear();
        self.say_who_left();
        self.tell_closed();
        self.reporting.finish();
        if let Some(file) = self.leases.take() {
            file.finish(self.registry.leases().names());
        }
        let ending = self.client.as_ref().and_then(Client::ending).cloned();
        let result = match std::mem::replace(&mut self.state, State::Serving) {
            State::Failed(failure) => Err(StartError::Shard(failure)),
            State::Stopping(signal) => {
                self.publish(NodeEvent::Stopped { signal });
                Ok(Ended::Stopped)
            }
            State::Restarting(signals) => {
                let signal = StopSignal::HangUp;
                self.publish(NodeEvent::Stopped { signal });
                let restart = self.reloading.take().map(|it| it.restart(signals));
                Ok(restart.map_or(Ended::Stopped, |it| Ended::Restart(Box::new(it))))
            }
            State::Serving => match ending {
                Some(ending) => self.ended(ending).map(|()| Ended::Stopped),
                None => Err(StartError::Shard("all shards have ended".to_owned())),
            },
        };
        drop(self.client);
        drop(self.management);
        drop(self.bus);
        self.log.finish();
        result
    }

    /// Runs the scripts that are told that the device is to be closed.
    pub(super) fn tell_closing(&mut self, signal: StopSignal) {
        let scripts = self.device_scripts.as_mut();
        let faults = scripts.map(|scripts| scripts.before_close(signal));
        self.warn_of(faults.into_iter().flatten());
    }

    /// Runs the script that is told that the device is closed.
    fn tell_closed(&mut self) {
        let signal = match &self.state {
            State::Stopping(signal) => *signal,
            State::Restarting(_) => StopSignal::HangUp,
            State::Serving | State::Failed(_) => StopSignal::Terminate,
        };
        // One that ended for another reason than a signal has not been told yet.
        self.tell_closing(signal);
        let scripts = self.device_scripts.take();
        let faults = scripts.as_ref().map(|scripts| scripts.after_close(signal));
        // Plug-ins are closed with it: what they have said is there then.
        drop(scripts);
        let last: Vec<_> = self.reports.try_iter().collect();
        for report in last {
            if let Report::Event(event @ NodeEvent::Plugins(_)) = report {
                self.publish(event);
            }
        }
        self.warn_of(faults.into_iter().flatten());
    }

    fn warn_of(&mut self, faults: impl IntoIterator<Item = String>) {
        for fault in faults {
            let text = format!("WARNING: {fault}").into();
            self.publish(NodeEvent::Warned { text });
        }
    }

    /// Lets those who are told of clients that go hear of the last ones.
    fn say_who_left(&mut self) {
        let Some(authentication) = self.authentication.take() else {
            return;
        };
        let mut last: Vec<_> = self.reports.try_iter().collect();
        for report in &last {
            if let Report::ClientGone(departure) = report {
                authentication.departed(*departure);
            }
        }
        authentication.finish(|| last.extend(self.reports.try_iter()));
        for report in last {
            if let Report::Event(event) = report {
                self.publish(event);
            }
        }
    }

    /// The end of a client that nobody told to end.
    fn ended(&mut self, Ending { cause, failed }: Ending) -> Result<(), StartError> {
        if failed {
            return Err(StartError::Client(cause.to_string()));
        }
        self.publish(NodeEvent::Tunnel(TunnelEvent::Ending { cause }));
        Ok(())
    }
}

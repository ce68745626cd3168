//! What a run does: phases one after the other, each with its scenarios, sessions and length.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::limits::{PHASE_MAX, PHASES_MAX, PLAN_FILE_MAX, SESSIONS_MAX};
use crate::ramp::Ramp;
use crate::scenario::{NotAScenario, Scenario};
use crate::span::Span;

/// Phases in their order; at least one, and each of them can be run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// In TOML each is a `[[phase]]`.
    #[serde(rename = "phase")]
    pub phases: Vec<Phase>,
}

/// One part of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// What it is called in the report.
    pub name: String,
    /// How long it lasts.
    pub duration: Span,
    /// Sessions that are held while it lasts; those of the phase before go on, the rest is connected or
    /// leaves.
    #[serde(default = "no_sessions")]
    pub sessions: Ramp,
    /// What they do, all at once. Each element is a scenario and its parameters.
    pub run: Vec<Scenario>,
}

impl Plan {
    /// One phase with the scenarios that `words` name, several joined by `+`.
    ///
    /// # Errors
    /// What is wrong with the words, or with the plan that they make.
    pub fn from_words(words: &str, sessions: u32, duration: Span) -> Result<Self, PlanFault> {
        let run: Result<Vec<Scenario>, NotAScenario> =
            words.split('+').map(str::trim).map(str::parse).collect();
        let phase = Phase {
            name: words.to_owned(),
            duration,
            sessions: Ramp::steady(f64::from(sessions)),
            run: run?,
        };
        Self {
            phases: vec![phase],
        }
        .checked()
    }

    /// The plan in a TOML file.
    ///
    /// # Errors
    /// If it can't be read, is no TOML, has fields that a plan has not, or makes no plan.
    pub fn from_file(path: &Path) -> Result<Self, PlanFault> {
        let unreadable = |source| PlanFault::File {
            path: path.to_owned(),
            source,
        };
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(PLAN_FILE_MAX + 1).read_to_string(&mut text))
            .map_err(unreadable)?;
        if text.len() as u64 > PLAN_FILE_MAX {
            return Err(unreadable(io::Error::other(format!(
                "more than {PLAN_FILE_MAX} bytes"
            ))));
        }
        Self::from_toml(&text).map_err(|fault| PlanFault::In {
            path: path.to_owned(),
            fault: Box::new(fault),
        })
    }

    /// The plan in a TOML text.
    ///
    /// # Errors
    /// If it is no TOML, has fields that a plan has not, or makes no plan.
    pub fn from_toml(text: &str) -> Result<Self, PlanFault> {
        let plan: Self = toml::from_str(text).map_err(|error| PlanFault::Toml {
            said: error.to_string().trim_end().to_owned(),
        })?;
        plan.checked()
    }

    /// Itself, if each of its phases can be run.
    fn checked(self) -> Result<Self, PlanFault> {
        if self.phases.is_empty() || self.phases.len() > PHASES_MAX {
            return Err(PlanFault::Phases(self.phases.len()));
        }
        for (index, phase) in self.phases.iter().enumerate() {
            if let Some(why) = phase.fault() {
                let name = phase.name.clone();
                let number = index + 1;
                return Err(PlanFault::Phase { number, name, why });
            }
        }
        Ok(self)
    }

    /// How long it lasts in all.
    pub fn duration(&self) -> std::time::Duration {
        self.phases.iter().map(|it| it.duration.duration()).sum()
    }

    /// The most sessions that are held at any time.
    pub fn sessions_max(&self) -> u32 {
        let most = self.phases.iter().map(|it| it.sessions.greatest());
        most.fold(0.0, f64::max).ceil() as u32
    }

    /// True if a LAN host has to run.
    pub fn needs_lan(&self) -> bool {
        let mut scenarios = self.phases.iter().flat_map(|it| &it.run);
        scenarios.any(Scenario::needs_lan)
    }
}

impl Phase {
    /// How many sessions are held when `part` of it is over, from 0 to 1.
    pub fn sessions_at(&self, part: f64) -> u32 {
        self.sessions.at(part).round() as u32
    }

    fn fault(&self) -> Option<String> {
        if self.duration.duration() > PHASE_MAX {
            return Some(format!("duration: {} is too long", self.duration));
        }
        if self.run.is_empty() {
            return Some("run: a phase has at least one scenario".to_owned());
        }
        if let Some(fault) = self.run.iter().find_map(Scenario::fault) {
            return Some(fault);
        }
        let none = self.sessions == no_sessions();
        let holding = self.run.iter().find(|it| it.holds_sessions());
        match (none, holding) {
            (true, Some(scenario)) => {
                let name = scenario.name();
                Some(format!(
                    "sessions: {name} needs some, for example sessions = 100"
                ))
            }
            (true, None) => None,
            (false, _) => self
                .sessions
                .fault(f64::from(SESSIONS_MAX))
                .map(|fault| format!("sessions: {fault}")),
        }
    }
}

const fn no_sessions() -> Ramp {
    Ramp::steady(0.0)
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanFault {
    /// The file can't be read.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file can be read, and is wrong.
    #[error("{}: {fault}", path.display())]
    In {
        /// Which.
        path: PathBuf,
        /// What is wrong with its text.
        fault: Box<PlanFault>,
    },
    /// A text that is no TOML, or has not the fields of a plan.
    #[error("{said}\n{FORM}")]
    Toml {
        /// The line, and what is wrong with it.
        said: String,
    },
    /// None, or too many.
    #[error("{0} phases: a plan has 1 to {PHASES_MAX}\n{FORM}")]
    Phases(usize),
    /// A phase that can't be run.
    #[error("phase {number} `{name}`: {why}")]
    Phase {
        /// From 1.
        number: usize,
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// Words of the command line.
    #[error(transparent)]
    Words(#[from] NotAScenario),
}

const FORM: &str = "A scenario file has phases of this form:\n\
    [[phase]]\n\
    name = \"busy hour\"\n\
    duration = \"5m\"\n\
    sessions = { from = 100, to = 1000 }\n\
    run = [{ scenario = \"imix\", rate = 50000 }, { scenario = \"latency\" }]";

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"
        [[phase]]
        name = "fill"
        duration = "10s"
        sessions = { from = 0, to = 50 }
        run = [{ scenario = "idle" }]

        [[phase]]
        name = "busy"
        duration = 20
        sessions = 50
        [[phase.run]]
        scenario = "imix"
        direction = "down"
        rate = { from = 10, to = 20 }
        [[phase.run]]
        scenario = "handshake"
        rate = 2.5
    "#;

    #[test]
    fn a_file_of_two_phases() {
        let plan = Plan::from_toml(TWO).unwrap();
        assert_eq!(plan.duration().as_secs(), 30);
        assert_eq!(plan.sessions_max(), 50);
        assert!(plan.needs_lan());
        let [fill, busy] = &plan.phases[..] else {
            panic!("{plan:?}");
        };
        let sessions = [0.0, 0.5, 1.0].map(|part| fill.sessions_at(part));
        assert_eq!(sessions, [0, 25, 50]);
        assert_eq!(fill.run, ["idle".parse().unwrap()]);
        let run = ["imix:direction=down,rate=10..20", "handshake:rate=2.5"];
        assert_eq!(busy.run, run.map(|it| it.parse().unwrap()));

        // A report has the plan, and it is read again.
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
        let written = toml::to_string(&plan);
        assert_eq!(Plan::from_toml(&written.unwrap()).unwrap(), plan);
    }

    #[test]
    fn words_make_one_phase() {
        let plan = Plan::from_words("idle + latency:rate=5", 3, Span::of(9)).unwrap();
        let [phase] = &plan.phases[..] else {
            panic!("{plan:?}");
        };
        assert_eq!(phase.sessions, Ramp::steady(3.0));
        assert_eq!(phase.duration, Span::of(9));
        assert_eq!(phase.run.len(), 2);
        // Those that come and go are not held.
        let plan = Plan::from_words("handshake", 0, Span::of(9)).unwrap();
        assert_eq!((plan.sessions_max(), plan.needs_lan()), (0, false));
    }

    #[test]
    fn what_makes_no_plan_says_where_and_shows_the_form() {
        let phase = |lines: &str| format!("[[phase]]\nname = 'a'\nduration = '1s'\n{lines}");
        for (text, said) in [
            ("", "missing field `phase`"),
            ("phase = []", "0 phases: a plan has 1 to 1000"),
            ("[[phase]\n", "line 1"),
            ("x = 1", "unknown field `x`"),
            (&phase(""), "missing field `run`"),
            (
                &phase("run = []"),
                "phase 1 `a`: run: a phase has at least one scenario",
            ),
            (
                &phase("run = [{ scenario = 'bulk' }]"),
                "unknown variant `bulk`",
            ),
            (&phase("run = [{ scenario = 'bulk' }]"), "line 4"),
            (
                &phase("run = [{ scenario = 'idle', rate = 1 }]"),
                "unknown field `rate`",
            ),
            (
                &phase("run = [{ scenario = 'idle' }]\nsession = 3"),
                "unknown field `session`",
            ),
            (
                &phase("run = [{ scenario = 'idle' }]\nsession = 3"),
                "line 5",
            ),
            (
                &phase("run = [{ scenario = 'idle' }]"),
                "sessions: idle needs some",
            ),
            (
                &phase("sessions = -5\nrun = [{ scenario = 'idle' }]"),
                "sessions: -5 is not between 0 and 1048576",
            ),
            (
                &phase("sessions = 'many'\nrun = [{ scenario = 'idle' }]"),
                "a number, or { from = NUMBER, to = NUMBER }",
            ),
            (
                &phase("run = [{ scenario = 'handshake', rate = 0 }]"),
                "phase 1 `a`: handshake: rate: 0 all the time is nothing",
            ),
            (
                "[[phase]]\nname = 'a'\nduration = '0s'\nrun = []",
                "a length of time above zero",
            ),
            (
                "[[phase]]\nname = 'a'\nduration = '31d'\nrun = []",
                "phase 1 `a`: duration: 744h is too long",
            ),
        ] {
            let error = Plan::from_toml(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}\n{error}");
            let names_a_phase = error.starts_with("phase ");
            assert!(
                names_a_phase || error.contains("name = \"busy hour\""),
                "{error}"
            );
        }
    }

    #[test]
    fn the_form_that_is_shown_is_a_plan() {
        let (_, form) = FORM.split_once('\n').unwrap();
        assert_eq!(Plan::from_toml(form).unwrap().sessions_max(), 1000);
    }

    #[test]
    fn a_file_is_named() {
        let error = Plan::from_file(Path::new("/nonexistent/plan.toml")).unwrap_err();
        assert!(error.to_string().starts_with("/nonexistent/plan.toml: "));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "phase = []").unwrap();
        let error = Plan::from_file(file.path()).unwrap_err().to_string();
        let name = file.path().display().to_string();
        assert!(error.starts_with(&format!("{name}: 0 phases")), "{error}");
        std::fs::write(file.path(), [0xff, 0xfe]).unwrap();
        let error = Plan::from_file(file.path()).unwrap_err().to_string();
        assert!(error.contains("UTF-8"), "{error}");
        std::fs::write(file.path(), vec![b' '; PLAN_FILE_MAX as usize + 1]).unwrap();
        let error = Plan::from_file(file.path()).unwrap_err().to_string();
        assert!(error.ends_with("more than 1048576 bytes"), "{error}");
    }
}

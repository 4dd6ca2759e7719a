//! The clocks of a case: what is due, since when, under which policy, and what was waited for.

use otklik_proto::{
    assignment::v1::{Deadline as DeadlineMessage, DeadlineKind},
    intake::v1::Regime,
    time::from_micros,
};

use crate::domain::{
    calendar::{Pause, Term, Unit},
    pack::{Pack, Policy},
};

/// What a deadline was set under.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Code of the policy.
    pub policy: String,
    /// Version of the policies.
    pub policies: String,
    /// Version of the working calendar.
    pub calendar: String,
}

/// A deadline: with the calendar of its terms, start, term and the pauses since give it bit for bit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// When its clock started.
    pub start_us: i64,
    /// How long it runs.
    pub term: Term,
    /// When it is due, pauses included.
    pub due_us: i64,
    /// When it was met.
    pub met_us: Option<i64>,
    /// What it was set under.
    pub terms: Terms,
}

impl Deadline {
    fn new(pack: &Pack, policy: &Policy, executor_id: &str, start_us: i64, term: Term, pause: Pause) -> Option<Self> {
        let due_us = pack.due(executor_id, start_us, term, pause)?;
        Some(Self { start_us, term, due_us, met_us: None, terms: pack.terms(policy) })
    }

    /// Whether it was met too late.
    pub fn is_missed(&self) -> bool {
        self.met_us.is_some_and(|met_us| met_us > self.due_us)
    }

    fn meet(&mut self, at_us: i64) {
        self.met_us.get_or_insert(at_us);
    }

    fn message(&self, kind: DeadlineKind) -> DeadlineMessage {
        DeadlineMessage {
            kind: kind.into(),
            due_time: Some(from_micros(self.due_us)),
            start_time: Some(from_micros(self.start_us)),
            policy_id: self.terms.policy.clone(),
            policy_version: self.terms.policies.clone(),
            calendar_version: self.terms.calendar.clone(),
            meet_time: self.met_us.map(from_micros),
        }
    }
}

/// The clocks of a case. One that lies outside what the calendar can say is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clocks {
    /// The first answer of any kind.
    pub first_response: Option<Deadline>,
    /// The final answer.
    pub resolution: Option<Deadline>,
    /// How long they have stood still since they started.
    pub pause: Pause,
}

impl Clocks {
    /// Starts the clocks of a new case.
    pub fn start(pack: &Pack, policy: &Policy, executor_id: &str, start_us: i64) -> Self {
        let deadline = |term| Deadline::new(pack, policy, executor_id, start_us, term, Pause::default());
        Self {
            first_response: deadline(policy.first_response),
            resolution: deadline(policy.resolution),
            pause: Pause::default(),
        }
    }

    /// Another policy applies from now on. What is not met yet is computed anew from when it started, pauses included:
    /// the time consumed stays consumed.
    pub fn change_policy(&mut self, pack: &Pack, policy: &Policy, executor_id: &str, is_after_interim: bool) {
        let pause = self.pause;
        let recompute = |deadline: &mut Option<Deadline>, term: Term| {
            if let Some(old) = deadline.as_mut().filter(|old| old.met_us.is_none())
                && let Some(new) = Deadline::new(pack, policy, executor_id, old.start_us, term, pause)
            {
                *old = new;
            }
        };
        recompute(&mut self.first_response, policy.first_response);
        if !is_after_interim {
            recompute(&mut self.resolution, policy.resolution);
        } else if let Some(term) = policy.final_after_interim {
            recompute(&mut self.resolution, term);
        }
    }

    /// An answer of any kind went out.
    pub fn answered(&mut self, at_us: i64) {
        if let Some(deadline) = &mut self.first_response {
            deadline.meet(at_us);
        }
    }

    /// The first interim answer went out: the final one has the policy's time from now on, if that is later. Returns
    /// whether it is.
    pub fn answered_interim(&mut self, pack: &Pack, policy: &Policy, executor_id: &str, at_us: i64) -> bool {
        let Some(term) = policy.final_after_interim else { return false };
        let Some(resolution) = &mut self.resolution else { return false };
        match Deadline::new(pack, policy, executor_id, at_us, term, Pause::default()) {
            Some(new) if new.due_us > resolution.due_us => {
                *resolution = new;
                self.pause = Pause::default();
                true
            }
            _ => false,
        }
    }

    /// The final answer went out.
    pub fn answered_finally(&mut self, at_us: i64) {
        self.answered(at_us);
        if let Some(deadline) = &mut self.resolution {
            deadline.meet(at_us);
        }
    }

    /// Work waited between two instants. What was due before does not become due later for it.
    pub fn waited(&mut self, pack: &Pack, executor_id: &str, from_us: i64, to_us: i64) {
        let Some(timetable) = pack.timetable(executor_id) else { return };
        let pause = timetable.pause(from_us, to_us);
        for deadline in [&mut self.first_response, &mut self.resolution].into_iter().flatten() {
            if deadline.met_us.is_none() && deadline.due_us > from_us {
                deadline.due_us =
                    timetable.postponed(deadline.due_us, deadline.term.unit, pause).unwrap_or(deadline.due_us);
            }
        }
        self.pause.working_us += pause.working_us;
        self.pause.calendar_us += pause.calendar_us;
    }

    /// The case goes back to work: the final answer is due anew; the first response was given.
    pub fn reopen(&mut self, pack: &Pack, policy: &Policy, executor_id: &str, at_us: i64) {
        self.resolution = Deadline::new(pack, policy, executor_id, at_us, policy.resolution, Pause::default());
        self.pause = Pause::default();
    }

    /// The next deadline that is not met. While the clocks stand still since `paused_us`, only one that had passed by then.
    pub fn next_due(&self, paused_us: Option<i64>) -> Option<i64> {
        [&self.first_response, &self.resolution]
            .into_iter()
            .flatten()
            .filter(|deadline| {
                deadline.met_us.is_none() && paused_us.is_none_or(|paused_us| deadline.due_us <= paused_us)
            })
            .map(|deadline| deadline.due_us)
            .min()
    }

    /// Whether a deadline was met too late.
    pub fn is_missed(&self) -> bool {
        [&self.first_response, &self.resolution].into_iter().flatten().any(Deadline::is_missed)
    }

    /// The deadlines as the contract has them.
    pub fn messages(&self) -> Vec<DeadlineMessage> {
        let first_response = self.first_response.as_ref().map(|deadline| deadline.message(DeadlineKind::FirstResponse));
        let resolution = self.resolution.as_ref().map(|deadline| deadline.message(DeadlineKind::Resolution));
        first_response.into_iter().chain(resolution).collect()
    }
}

/// Whether the clocks of a regime stand still while work waits. Those of the law never do.
pub fn pauses(regime: Regime) -> bool {
    regime != Regime::StatutoryAppeal
}

/// Shortest spelling of a term, as it is stored: `9wh`.
pub fn spell_term(term: Term) -> String {
    let unit = match term.unit {
        Unit::WorkingHours => "wh",
        Unit::WorkingDays => "wd",
        Unit::CalendarHours => "ch",
        Unit::CalendarDays => "cd",
    };
    format!("{}{unit}", term.value)
}

/// The term of a spelling.
pub fn read_term(text: &str) -> Option<Term> {
    let (value, unit) = text.split_at_checked(text.len().checked_sub(2)?)?;
    let unit = match unit {
        "wh" => Unit::WorkingHours,
        "wd" => Unit::WorkingDays,
        "ch" => Unit::CalendarHours,
        "cd" => Unit::CalendarDays,
        _ => return None,
    };
    Some(Term { value: value.parse().ok()?, unit })
}

//! The life of a message or a case, read off its steps.

use std::collections::{BTreeMap, HashSet};

use otklik_proto::assignment::v1::CaseState;
use uuid::Uuid;

use super::{
    case::CaseLife,
    event::Event,
    message::MessageLife,
    order,
    standing::{self, Standing},
    step::Step,
};

/// What a life is the life of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A message.
    Message(Uuid),
    /// A case.
    Case(Uuid),
}

impl Subject {
    /// Its id.
    #[must_use]
    pub fn id(self) -> Uuid {
        match self {
            Self::Message(id) | Self::Case(id) => id,
        }
    }
}

/// A life.
#[derive(Debug, Clone)]
pub struct Life {
    /// Where it stands.
    pub standing: Standing,
    /// Its steps with their depth, each after what caused it.
    pub steps: Vec<(Step, u32)>,
    /// The message itself, or the messages of the case.
    pub messages: Vec<Uuid>,
    /// The case itself, or the cases of the message.
    pub cases: Vec<Uuid>,
    /// Every entry is stored unaltered.
    pub verified: bool,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
}

/// Something wrong with a life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What.
    pub kind: ProblemKind,
    /// In words, with ids and codes only.
    pub detail: String,
    /// Index of the step concerned.
    pub step: Option<usize>,
}

/// What can be wrong with a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// A step names a cause that is not stored here.
    MissingCause,
    /// The copy of a step is not what was written.
    BrokenChain,
    /// A step isn't allowed after the ones before.
    ImpossibleStep,
    /// Nothing has happened for too long.
    Stuck,
}

/// What is known besides the steps.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Entries that are stored here though not part of this life.
    pub elsewhere: HashSet<Uuid>,
    /// The present, in microseconds.
    pub now_us: i64,
    /// How long nothing may happen, in microseconds.
    pub patience_us: i64,
}

impl Life {
    /// Puts a life together. `None` if the subject is not there as what it is asked for: no step is about it.
    #[must_use]
    pub fn of(subject: Subject, steps: Vec<Step>, surroundings: &Surroundings) -> Option<Self> {
        let known = steps.iter().any(|step| match subject {
            Subject::Message(id) => step.subjects.messages.contains(&id),
            Subject::Case(id) => step.subjects.cases.contains(&id),
        });
        if !known {
            return None;
        }
        let steps = order::causal(steps);
        let facts = Facts::of(steps.iter().map(|(step, _)| step));
        let standing = match subject {
            Subject::Message(id) => standing::of_message(facts.messages.get(&id)?, |case| facts.cases.get(&case)),
            Subject::Case(id) => standing::of_case(facts.cases.get(&id)?),
        };
        let (messages, cases) = match subject {
            Subject::Message(id) => (vec![id], facts.cases.keys().copied().collect()),
            Subject::Case(id) => (facts.messages.keys().copied().collect(), vec![id]),
        };
        let mut problems = facts.problems;
        for (index, (step, _)) in steps.iter().enumerate() {
            problems.extend(problem_of(index, step, &steps, surroundings));
        }
        let idle_us = surroundings.now_us.saturating_sub(standing.idle_since_us);
        if !standing.is_complete() && idle_us > surroundings.patience_us {
            let detail = format!("{}: nothing has come from {}", standing.state, standing.waiting.service());
            problems.push(Problem { kind: ProblemKind::Stuck, detail, step: None });
        }
        let verified = steps.iter().all(|(step, _)| step.intact);
        Some(Self { standing, steps, messages, cases, verified, problems })
    }
}

fn problem_of(index: usize, step: &Step, steps: &[(Step, u32)], around: &Surroundings) -> Option<Problem> {
    if !step.intact {
        let detail = "the copy of the entry does not have the hash that came with it".to_owned();
        return Some(Problem { kind: ProblemKind::BrokenChain, detail, step: Some(index) });
    }
    let cause = step.cause?;
    let found = around.elsewhere.contains(&cause) || steps.iter().any(|(other, _)| other.id == cause);
    (!found).then(|| Problem {
        kind: ProblemKind::MissingCause,
        detail: format!("entry {cause}, which caused it, is not stored here"),
        step: Some(index),
    })
}

/// All that the steps of one life say, by message and case.
#[derive(Debug, Default)]
struct Facts {
    messages: BTreeMap<Uuid, MessageLife>,
    cases: BTreeMap<Uuid, CaseLife>,
    problems: Vec<Problem>,
}

impl Facts {
    fn of<'a>(steps: impl Iterator<Item = &'a Step>) -> Self {
        let mut facts = Self::default();
        for (index, step) in steps.enumerate() {
            let impossible = facts.impossible(step);
            facts.problems.extend(impossible.map(|detail| Problem {
                kind: ProblemKind::ImpossibleStep,
                detail,
                step: Some(index),
            }));
            for id in &step.subjects.messages {
                facts.messages.entry(*id).or_default().take(*id, step);
            }
            for id in &step.subjects.cases {
                facts.cases.entry(*id).or_default().take(step);
            }
        }
        facts
    }

    /// Says why a step can't follow what came before it in its own ledger, if it can't.
    fn impossible(&self, step: &Step) -> Option<String> {
        if let Some(id) = step.message()
            && step.service == "intake"
        {
            let received = self.messages.get(&id).is_some_and(|message| message.root.is_some());
            return match (matches!(step.event, Event::MessageReceived(_)), received) {
                (true, true) => Some("the message had been received before".to_owned()),
                (false, false) => Some("the message had not been received".to_owned()),
                _ => None,
            };
        }
        let id = step.case()?;
        let before = self.cases.get(&id).map_or(CaseState::Unspecified, |case| case.assigned);
        let possible = step.service != "assignment" || follows(before, &step.event);
        (!possible).then(|| format!("not allowed in state {}", before.as_str_name().trim_start_matches("CASE_STATE_")))
    }
}

/// Whether assignment's entry may follow a state, as far as the lifecycle of the domain rules it out for certain.
fn follows(before: CaseState, event: &Event) -> bool {
    use CaseState as S;
    let ended = matches!(before, S::Cancelled | S::MergedInto);
    match event {
        Event::CaseOpened(_) => before == S::Unspecified,
        Event::LateFactRecorded(_) | Event::Other => true,
        _ if before == S::Unspecified || ended => false,
        Event::CaseAccepted(_) => matches!(before, S::Assigned),
        Event::CaseResumed(_) => before == S::Suspended,
        Event::CaseReopened(_) => matches!(before, S::Resolved | S::ClosedConfirmed | S::ClosedUnrated),
        Event::CaseClosed(_) => before == S::Resolved,
        _ => true,
    }
}

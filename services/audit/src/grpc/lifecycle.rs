//! One lifecycle in one answer.

use std::collections::{BTreeSet, HashMap, HashSet};

use otklik_chassis::{error::Error, validate::Violations};
use otklik_proto::{
    audit::v1::{
        GetLifecycleRequest, Lifecycle, LifecycleProblem, LifecycleProblemKind, LifecycleStep, SubjectKind,
        get_lifecycle_request,
    },
    ledger::v1::Position,
};
use uuid::Uuid;

use super::Api;
use crate::domain::{
    details::details,
    life::{Life, Problem, ProblemKind, Subject, Surroundings},
    span::{MOST_PROJECTED, span_id, span_id_text, trace_id_text},
    step::Step,
};

/// Reads whose life is asked for.
pub(super) fn subject(request: &GetLifecycleRequest) -> Result<Subject, Error> {
    use get_lifecycle_request::Subject as Asked;
    let mut violations = Violations::new();
    let subject = match &request.subject {
        Some(Asked::MessageId(id)) => violations.uuid("message_id", id).map(Subject::Message),
        Some(Asked::CaseId(id)) => violations.uuid("case_id", id).map(Subject::Case),
        None => {
            violations.add("subject", "message_id or case_id must be set");
            None
        }
    };
    violations.finish()?;
    subject.ok_or_else(|| Error::invalid("subject", "must be set"))
}

impl Api {
    /// The life of a subject.
    pub(super) async fn lifecycle(&self, subject: Subject) -> Result<Lifecycle, Error> {
        let id = subject.id();
        let mut steps = self.copies.steps_of(&[id]).await?;
        if let Subject::Message(message) = subject {
            self.add_nameless(message, &mut steps).await?;
        }
        let surroundings = Surroundings {
            elsewhere: self.causes_elsewhere(&steps).await?,
            now_us: self.now_us(),
            patience_us: self.stuck_after_us,
        };
        let life = Life::of(subject, steps, &surroundings).ok_or_else(|| Error::not_found("lifecycle", id))?;
        Ok(convert(subject, life))
    }

    /// Adds the entries of a message's cases that name no message at all.
    async fn add_nameless(&self, message: Uuid, steps: &mut Vec<Step>) -> Result<(), Error> {
        let cases: BTreeSet<Uuid> = steps
            .iter()
            .filter(|step| step.subjects.messages.contains(&message))
            .flat_map(|step| step.subjects.cases.iter().copied())
            .collect();
        let cases: Vec<Uuid> = cases.into_iter().collect();
        let known: HashSet<_> = steps.iter().map(|step| step.arrival).collect();
        let others = self.copies.steps_of(&cases).await?;
        let nameless = |step: &Step| step.subjects.messages.is_empty() && !known.contains(&step.arrival);
        steps.extend(others.into_iter().filter(nameless));
        Ok(())
    }

    /// Which causes of these steps are stored here though they are no part of this life: a case begins with the
    /// classification of a message.
    async fn causes_elsewhere(&self, steps: &[Step]) -> Result<HashSet<Uuid>, Error> {
        let here: HashSet<Uuid> = steps.iter().map(|step| step.id).collect();
        let orphans: Vec<&Step> = steps.iter().filter(|s| s.cause.is_some_and(|cause| !here.contains(&cause))).collect();
        let related: BTreeSet<Uuid> = orphans.iter().flat_map(|step| step.subjects.all()).take(MOST_PROJECTED).collect();
        let related: Vec<Uuid> = related.into_iter().collect();
        Ok(self.copies.steps_of(&related).await?.into_iter().map(|step| step.id).collect())
    }
}

fn convert(subject: Subject, life: Life) -> Lifecycle {
    let trace = subject.id();
    let kind = match subject {
        Subject::Message(_) => SubjectKind::Message,
        Subject::Case(_) => SubjectKind::Case,
    };
    let problems = life.problems.iter().map(|problem| convert_problem(problem, &life.steps)).collect();
    Lifecycle {
        subject_kind: kind.into(),
        subject_id: trace.to_string(),
        state: life.standing.state.to_owned(),
        complete: life.standing.is_complete(),
        trace_id: trace_id_text(trace),
        verified: life.verified,
        problems,
        message_ids: texts(&life.messages),
        case_ids: texts(&life.cases),
        steps: life.steps.into_iter().map(|(step, depth)| convert_step(step, depth, trace)).collect(),
    }
}

fn convert_step(step: Step, depth: u32, trace: Uuid) -> LifecycleStep {
    let details: HashMap<String, String> = details(&step.entry_type, &step.payload).into_iter().collect();
    LifecycleStep {
        position: Some(position(&step)),
        message_ids: texts(&step.subjects.messages),
        case_ids: texts(&step.subjects.cases),
        span_id: span_id_text(span_id(step.id, trace)),
        service: step.service,
        entry_id: step.header.entry_id,
        r#type: step.entry_type,
        aggregate_kind: step.header.aggregate_kind,
        aggregate_id: step.header.aggregate_id,
        actor: step.header.actor,
        reason: step.header.reason,
        policy_versions: step.header.policy_versions,
        published_time: step.header.published_time,
        received_time: step.header.received_time,
        recorded_time: step.header.recorded_time,
        cause_entry_id: step.header.cause_entry_id,
        depth,
        details,
    }
}

fn convert_problem(problem: &Problem, steps: &[(Step, u32)]) -> LifecycleProblem {
    let kind = match problem.kind {
        ProblemKind::MissingCause => LifecycleProblemKind::MissingCause,
        ProblemKind::BrokenChain => LifecycleProblemKind::BrokenChain,
        ProblemKind::ImpossibleStep => LifecycleProblemKind::ImpossibleStep,
        ProblemKind::Stuck => LifecycleProblemKind::Stuck,
    };
    let step = problem.step.and_then(|index| steps.get(index)).map(|(step, _)| step);
    LifecycleProblem {
        kind: kind.into(),
        detail: problem.detail.clone(),
        service: step.map(|step| step.service.clone()).unwrap_or_default(),
        position: step.map(position),
    }
}

fn position(step: &Step) -> Position {
    Position {
        incarnation: step.incarnation.to_string(),
        partition: step.partition,
        seq: step.seq,
        hash: step.hash.clone(),
    }
}

fn texts(ids: &[Uuid]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

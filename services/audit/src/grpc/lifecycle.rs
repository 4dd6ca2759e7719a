//! One lifecycle in one answer.

use std::collections::HashMap;

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
use crate::{
    domain::{
        details::details,
        life::{Life, Problem, ProblemKind, Subject},
        span::{span_id, span_id_text, trace_id_text},
        step::Step,
    },
    lives::Lives,
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
        let lives = Lives { copies: &self.copies, now_us: self.now_us(), patience_us: self.stuck_after_us };
        let life = lives.read(subject).await?.ok_or_else(|| Error::not_found("lifecycle", subject.id()))?;
        Ok(convert(subject, life))
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

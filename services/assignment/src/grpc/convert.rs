//! Cases and executors as the contract has them.

use otklik_proto::{assignment::v1 as api, time::from_micros};

use crate::{
    domain::{
        case::{Member, Suspension},
        pack::Executor,
        state,
    },
    store::writer::Snapshot,
};

/// A case as it is at `now_us`.
pub fn case(Snapshot { case, members }: Snapshot, now_us: i64) -> api::Case {
    api::Case {
        case_id: case.id.to_string(),
        number: case.number.to_string(),
        state: case.state.into(),
        members: members.iter().map(member).collect(),
        deadlines: case.clocks.messages(),
        regime: case.regime.into(),
        kind: case.subject.kind.into(),
        urgency: case.subject.urgency.into(),
        outcome: case.outcome.into(),
        answer_id: case.answer_id.map(|id| id.to_string()).unwrap_or_default(),
        reopen_count: case.reopen_count,
        escalation_level: 0,
        suspension: case.suspension.map(suspension),
        merged_into_case_id: String::new(),
        overdue: case.is_overdue(now_us),
        allowed_actions: state::allowed_actions(case.state).map(i32::from).collect(),
        published_time: case.published_us.map(from_micros),
        received_time: case.received_us.map(from_micros),
        recorded_time: Some(from_micros(case.opened_us)),
        update_time: Some(from_micros(case.updated_us)),
        resolve_time: case.resolved_us.map(from_micros),
        etag: case.version.to_string(),
        executor_id: case.executor_id,
        rule_id: case.rule_id,
        fallback: case.fallback,
        topic: case.subject.topic,
        topic_group: case.subject.topic_group,
        place_ids: case.subject.place_ids,
        source_id: case.source_id,
    }
}

/// The version that an etag stands for.
pub fn version_of(etag: &str) -> Option<i64> {
    etag.parse().ok()
}

fn member(member: &Member) -> api::CaseMember {
    api::CaseMember {
        message_id: member.message_id.to_string(),
        question_id: member.question_id.to_string(),
        message_version: member.message_version,
        join_time: Some(from_micros(member.joined_us)),
        withdrawn: member.withdrawn_us.is_some(),
    }
}

fn suspension(Suspension { reason, since_us, until_us }: Suspension) -> api::Suspension {
    api::Suspension {
        reason: reason.into(),
        until_time: Some(from_micros(until_us)),
        start_time: Some(from_micros(since_us)),
    }
}

/// An executor.
pub fn executor(executor: &Executor) -> api::Executor {
    api::Executor {
        executor_id: executor.id.clone(),
        title: executor.title.clone(),
        kind: executor.kind.into(),
        parent_executor_id: String::new(),
        place_id: executor.place_id.clone(),
        time_zone: executor.time_zone.clone(),
    }
}

//! Lifecycles in which nothing happens.

use otklik_chassis::{error::Error, page::Page, validate::Violations};
use otklik_proto::{
    audit::v1::{
        LifecycleProblemKind, ListStuckFilter, ListStuckRequest, ListStuckResponse, StuckLifecycle, SubjectKind,
    },
    time::from_micros,
};

use super::Api;
use crate::{
    domain::{life::Subject, standing::Waiting},
    store::{Idle, StuckKey, StuckQuery},
};

const METHOD: &str = "otklik.audit.v1.AuditService/ListStuck";
/// The largest page, as the contract has it.
const LARGEST: i32 = 500;
const MICROS_PER_SECOND: i64 = 1_000_000;

/// A list that is asked for.
pub(super) struct Wanted {
    page: Page<StuckKey>,
    query: StuckQuery,
}

impl Api {
    /// Reads which list is asked for.
    pub(super) fn stuck(&self, request: &ListStuckRequest) -> Result<Wanted, Error> {
        let filter = request.filter.clone().unwrap_or_default();
        let mut violations = Violations::new();
        let idle_us = min_idle_us(&filter, &mut violations).unwrap_or(self.stuck_after_us);
        let service = &filter.waiting_for_service;
        let waiting = Waiting::named(service);
        violations.check(
            service.is_empty() || waiting.is_some(),
            "filter.waiting_for_service",
            "must be intake, classification, assignment or feedback",
        );
        let kind = SubjectKind::try_from(filter.subject_kind);
        violations.check(kind.is_ok(), "filter.subject_kind", "is unknown");
        violations.finish()?;
        let page: Page<StuckKey> = Page::of(METHOD, request.page_size.min(LARGEST), &request.page_token, &filter)?;
        let kind = kind.unwrap_or_default();
        let query = StuckQuery {
            idle_before_us: self.now_us().saturating_sub(idle_us),
            waiting: waiting.map_or(Waiting::SERVICES.to_vec(), |waiting| vec![waiting]),
            messages: kind != SubjectKind::Case,
            cases: kind != SubjectKind::Message,
            after: page.after,
            limit: page.limit(),
        };
        Ok(Wanted { page, query })
    }

    /// The list.
    pub(super) async fn list(&self, wanted: Wanted) -> Result<ListStuckResponse, Error> {
        let found = wanted.query.run(&self.storage).await?;
        let (found, next_page_token) = wanted.page.cut(found, |idle| idle.key);
        Ok(ListStuckResponse { stuck_lifecycles: found.into_iter().map(convert).collect(), next_page_token })
    }
}

/// The shortest idle time asked for, in microseconds.
fn min_idle_us(filter: &ListStuckFilter, violations: &mut Violations) -> Option<i64> {
    let idle = filter.min_idle.as_ref()?;
    let sound = idle.seconds >= 0 && idle.nanos >= 0;
    violations.check(sound, "filter.min_idle", "must not be negative");
    Some(idle.seconds.saturating_mul(MICROS_PER_SECOND).saturating_add(i64::from(idle.nanos) / 1_000))
}

fn convert(idle: Idle) -> StuckLifecycle {
    let subject_kind = match idle.subject {
        Subject::Message(_) => SubjectKind::Message,
        Subject::Case(_) => SubjectKind::Case,
    };
    StuckLifecycle {
        subject_kind: subject_kind.into(),
        subject_id: idle.subject.id().to_string(),
        state: idle.state,
        waiting_for_service: idle.waiting.service().to_owned(),
        last_step_time: Some(from_micros(idle.last_us)),
        last_step_type: idle.last_type,
        problem: LifecycleProblemKind::Stuck.into(),
    }
}

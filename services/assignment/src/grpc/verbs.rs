//! The calls that change a case.

use otklik_chassis::{lane::Caller, validate::Violations};
use otklik_proto::assignment::v1 as api;
use prost::Message;
use tonic::Request;
use uuid::Uuid;

use super::{Api, Changed, check_executor, convert};
use crate::{
    domain::case::Action,
    store::{query, writer::Command},
};

/// What every such request has.
struct Target<'a> {
    method: &'static str,
    request_id: &'a str,
    case_id: &'a str,
    etag: &'a str,
}

macro_rules! target {
    ($method:literal, $request:expr) => {{
        let body = $request.get_ref();
        Target { method: $method, request_id: &body.request_id, case_id: &body.case_id, etag: &body.etag }
    }};
}

impl Target<'_> {
    fn check(&self) -> (Violations, Uuid) {
        let mut violations = Violations::new();
        violations.require("request_id", self.request_id);
        let case_id = violations.uuid("case_id", self.case_id).unwrap_or_default();
        (violations, case_id)
    }

    /// The version that an etag stands for; one that was never given out matches none.
    fn version(&self) -> Option<i64> {
        (!self.etag.is_empty()).then(|| convert::version_of(self.etag).unwrap_or(-1))
    }
}

impl Api {
    pub(super) async fn accept(&self, request: &Request<api::AcceptCaseRequest>) -> Changed {
        let target = target!("AcceptCase", request);
        let (violations, case_id) = target.check();
        violations.finish()?;
        self.act(request, &target, case_id, Action::Accept).await
    }

    pub(super) async fn give_back(&self, request: &Request<api::ReturnCaseRequest>) -> Changed {
        let target = target!("ReturnCase", request);
        let (mut violations, case_id) = target.check();
        let body = request.get_ref();
        violations.check(body.reason() != api::ReturnReason::Unspecified, "reason", "must be a known reason");
        if !body.suggested_executor_id.is_empty() {
            check_executor(&mut violations, &self.pack, "suggested_executor_id", &body.suggested_executor_id);
        }
        violations.finish()?;
        let suggested_executor_id = body.suggested_executor_id.clone();
        self.act(request, &target, case_id, Action::Return { reason: body.reason(), suggested_executor_id }).await
    }

    pub(super) async fn reassign(&self, request: &Request<api::ReassignCaseRequest>) -> Changed {
        let target = target!("ReassignCase", request);
        let (mut violations, case_id) = target.check();
        let body = request.get_ref();
        violations.check(body.reason() != api::ReassignReason::Unspecified, "reason", "must be a known reason");
        check_executor(&mut violations, &self.pack, "executor_id", &body.executor_id);
        violations.finish()?;
        let executor_id = body.executor_id.clone();
        self.act(request, &target, case_id, Action::Reassign { reason: body.reason(), executor_id }).await
    }

    pub(super) async fn start(&self, request: &Request<api::StartWorkRequest>) -> Changed {
        let target = target!("StartWork", request);
        let (violations, case_id) = target.check();
        violations.finish()?;
        self.act(request, &target, case_id, Action::StartWork).await
    }

    pub(super) async fn suspend(&self, request: &Request<api::SuspendCaseRequest>) -> Changed {
        let target = target!("SuspendCase", request);
        let (mut violations, case_id) = target.check();
        let body = request.get_ref();
        violations.check(body.reason() != api::SuspendReason::Unspecified, "reason", "must be a known reason");
        let mut until_us = None;
        if body.until_time.is_some()
            && let Some(until) = violations.timestamp("until_time", body.until_time.as_ref())
        {
            violations.check(until > self.clock.now(), "until_time", "must be in the future");
            until_us = Some(until.as_microsecond());
        }
        violations.finish()?;
        self.act(request, &target, case_id, Action::Suspend { reason: body.reason(), until_us }).await
    }

    pub(super) async fn resume(&self, request: &Request<api::ResumeCaseRequest>) -> Changed {
        let target = target!("ResumeCase", request);
        let (violations, case_id) = target.check();
        violations.finish()?;
        self.act(request, &target, case_id, Action::Resume).await
    }

    pub(super) async fn cancel(&self, request: &Request<api::CancelCaseRequest>) -> Changed {
        let target = target!("CancelCase", request);
        let (mut violations, case_id) = target.check();
        let reason = request.get_ref().reason();
        let is_a_persons = !matches!(reason, api::CancelReason::Unspecified | api::CancelReason::MessagesWithdrawn);
        violations.check(is_a_persons, "reason", "must be a known reason; MESSAGES_WITHDRAWN is the service's own");
        violations.finish()?;
        self.act(request, &target, case_id, Action::Cancel { reason }).await
    }

    async fn act<M: Message>(
        &self,
        request: &Request<M>,
        target: &Target<'_>,
        case_id: Uuid,
        action: Action,
    ) -> Changed {
        let caller = Caller::of(request, target.method, target.request_id)?;
        let command = Command::Act { case_id, version: target.version(), action };
        let done = self.lane.call(command, caller).await?;
        let snapshot = match done.reply.flatten() {
            Some(snapshot) => *snapshot,
            // The call had been made before: the case as it is now.
            None => query::get(self.lane.storage(), done.resource.parse().unwrap_or(case_id)).await?,
        };
        Ok((Some(convert::case(snapshot, self.now_us())), done.position))
    }
}

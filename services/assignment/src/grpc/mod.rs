//! `otklik.assignment.v1.AssignmentService`: converts, checks, calls, maps the error.

mod convert;
mod lists;
mod verbs;
mod watch;

use std::sync::Arc;

use otklik_chassis::{clock::Clock, error::Error, lane::Lane, validate::Violations};
use otklik_proto::assignment::v1::{self as api, assignment_service_server::AssignmentService};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::{
    domain::pack::Pack,
    store::{query, writer::Writer},
};

/// Most ids in one `BatchGetCases`.
const MOST_IDS: usize = 1000;

/// The service as it is called.
#[derive(Clone)]
pub struct Api {
    lane: Lane<Writer>,
    pack: Arc<Pack>,
    clock: Clock,
    stopping: CancellationToken,
}

impl Api {
    /// Answers calls from `lane` and its database.
    pub fn new(lane: Lane<Writer>, pack: Arc<Pack>, clock: Clock, stopping: CancellationToken) -> Self {
        Self { lane, pack, clock, stopping }
    }

    fn now_us(&self) -> i64 {
        self.clock.now().as_microsecond()
    }
}

#[tonic::async_trait]
impl AssignmentService for Api {
    type WatchCasesStream = watch::CaseStream;

    async fn get_case(&self, request: Request<api::GetCaseRequest>) -> Result<Response<api::GetCaseResponse>, Status> {
        let mut violations = Violations::new();
        let id = violations.uuid("case_id", &request.get_ref().case_id);
        violations.finish()?;
        let snapshot = query::get(self.lane.storage(), id.unwrap_or_default()).await?;
        Ok(Response::new(api::GetCaseResponse { case: Some(convert::case(snapshot, self.now_us())) }))
    }

    async fn batch_get_cases(
        &self,
        request: Request<api::BatchGetCasesRequest>,
    ) -> Result<Response<api::BatchGetCasesResponse>, Status> {
        let wanted = request.into_inner().case_ids;
        let mut violations = Violations::new();
        violations.check(
            !wanted.is_empty() && wanted.len() <= MOST_IDS,
            "case_ids",
            format!("must name 1 to {MOST_IDS} cases"),
        );
        let ids = wanted.iter().enumerate().map(|(n, id)| violations.uuid(format!("case_ids[{n}]"), id));
        let ids: Vec<Uuid> = ids.collect::<Vec<_>>().into_iter().flatten().collect();
        violations.finish()?;
        let now_us = self.now_us();
        let found = query::batch(self.lane.storage(), ids).await?;
        let cases = found.into_iter().map(|snapshot| convert::case(snapshot, now_us)).collect();
        Ok(Response::new(api::BatchGetCasesResponse { cases }))
    }

    async fn list_cases(
        &self,
        request: Request<api::ListCasesRequest>,
    ) -> Result<Response<api::ListCasesResponse>, Status> {
        Ok(Response::new(self.list(request.into_inner()).await?))
    }

    async fn list_executors(
        &self,
        request: Request<api::ListExecutorsRequest>,
    ) -> Result<Response<api::ListExecutorsResponse>, Status> {
        Ok(Response::new(self.executors(request.into_inner())?))
    }

    async fn watch_cases(
        &self,
        request: Request<api::WatchCasesRequest>,
    ) -> Result<Response<Self::WatchCasesStream>, Status> {
        Ok(Response::new(self.watch(request.into_inner()).await?))
    }

    async fn accept_case(
        &self,
        request: Request<api::AcceptCaseRequest>,
    ) -> Result<Response<api::AcceptCaseResponse>, Status> {
        let (case, position) = self.accept(&request).await?;
        Ok(Response::new(api::AcceptCaseResponse { case, position }))
    }

    async fn return_case(
        &self,
        request: Request<api::ReturnCaseRequest>,
    ) -> Result<Response<api::ReturnCaseResponse>, Status> {
        let (case, position) = self.give_back(&request).await?;
        Ok(Response::new(api::ReturnCaseResponse { case, position }))
    }

    async fn reassign_case(
        &self,
        request: Request<api::ReassignCaseRequest>,
    ) -> Result<Response<api::ReassignCaseResponse>, Status> {
        let (case, position) = self.reassign(&request).await?;
        Ok(Response::new(api::ReassignCaseResponse { case, position }))
    }

    async fn start_work(
        &self,
        request: Request<api::StartWorkRequest>,
    ) -> Result<Response<api::StartWorkResponse>, Status> {
        let (case, position) = self.start(&request).await?;
        Ok(Response::new(api::StartWorkResponse { case, position }))
    }

    async fn suspend_case(
        &self,
        request: Request<api::SuspendCaseRequest>,
    ) -> Result<Response<api::SuspendCaseResponse>, Status> {
        let (case, position) = self.suspend(&request).await?;
        Ok(Response::new(api::SuspendCaseResponse { case, position }))
    }

    async fn resume_case(
        &self,
        request: Request<api::ResumeCaseRequest>,
    ) -> Result<Response<api::ResumeCaseResponse>, Status> {
        let (case, position) = self.resume(&request).await?;
        Ok(Response::new(api::ResumeCaseResponse { case, position }))
    }

    async fn cancel_case(
        &self,
        request: Request<api::CancelCaseRequest>,
    ) -> Result<Response<api::CancelCaseResponse>, Status> {
        let (case, position) = self.cancel(&request).await?;
        Ok(Response::new(api::CancelCaseResponse { case, position }))
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Api")
    }
}

/// A violation of a code that the region pack doesn't know.
fn check_executor(violations: &mut Violations, pack: &Pack, field: &str, id: &str) {
    if violations.require(field, id) {
        violations.check(
            pack.executors.get(id).is_some(),
            field,
            "is not an executor of the region pack; ListExecutors names them",
        );
    }
}

/// A case and the position of the entry that changed it.
type Changed = Result<(Option<api::Case>, Option<otklik_proto::ledger::v1::Position>), Error>;

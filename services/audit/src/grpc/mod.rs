//! `otklik.audit.v1.AuditService`: converts, checks, calls.

mod lifecycle;
mod statistics;
mod stuck;

use std::{collections::HashSet, sync::Arc};

use futures::future::try_join_all;
use otklik_chassis::{clock::Clock, error::Error, storage::Storage, validate::Violations};
use otklik_proto::audit::v1::{
    GetLifecycleRequest, GetLifecycleResponse, GetStatisticsRequest, GetStatisticsResponse, ListStuckRequest,
    ListStuckResponse, VerifyLedgersRequest, VerifyLedgersResponse, audit_service_server::AuditService,
};
use tonic::{Request, Response, Status};

use crate::{
    domain::{PRODUCERS, calendar::Calendar},
    projector::caught_up,
    store::Copies,
    verify::Verifier,
};

/// The API.
pub struct Api {
    /// The copies.
    pub copies: Copies,
    /// The database.
    pub storage: Storage,
    /// Verifies the copies.
    pub verifier: Verifier,
    /// The clock of the domain.
    pub clock: Clock,
    /// The region's calendar and time zone.
    pub calendar: Arc<Calendar>,
    /// After which time without a step a lifecycle counts as stuck, in microseconds.
    pub stuck_after_us: i64,
}

impl Api {
    fn now_us(&self) -> i64 {
        self.clock.now().as_microsecond()
    }
}

#[tonic::async_trait]
impl AuditService for Api {
    async fn get_lifecycle(
        &self,
        request: Request<GetLifecycleRequest>,
    ) -> Result<Response<GetLifecycleResponse>, Status> {
        let subject = lifecycle::subject(&request.into_inner())?;
        let lifecycle = self.lifecycle(subject).await?;
        Ok(Response::new(GetLifecycleResponse { lifecycle: Some(lifecycle) }))
    }

    async fn verify_ledgers(
        &self,
        request: Request<VerifyLedgersRequest>,
    ) -> Result<Response<VerifyLedgersResponse>, Status> {
        let services = services(&request.into_inner().services)?;
        let verified = try_join_all(services.iter().map(|service| self.verifier.verify(service))).await?;
        let verifications: Vec<_> = verified.into_iter().flatten().collect();
        let intact = verifications.iter().all(|verification| verification.intact);
        Ok(Response::new(VerifyLedgersResponse { verifications, intact }))
    }

    async fn list_stuck(&self, request: Request<ListStuckRequest>) -> Result<Response<ListStuckResponse>, Status> {
        let request = request.into_inner();
        let wanted = self.stuck(&request)?;
        caught_up(&self.copies).await?;
        Ok(Response::new(self.list(wanted).await?))
    }

    async fn get_statistics(
        &self,
        request: Request<GetStatisticsRequest>,
    ) -> Result<Response<GetStatisticsResponse>, Status> {
        let wanted = statistics::Wanted::of(request.into_inner())?;
        caught_up(&self.copies).await?;
        Ok(Response::new(self.statistics(wanted).await?))
    }
}

/// The services to verify, each once and in the order in which a message meets them.
fn services(named: &[String]) -> Result<Vec<&'static str>, Error> {
    let mut violations = Violations::new();
    for (index, name) in named.iter().enumerate() {
        let known = PRODUCERS.contains(&name.as_str());
        violations.check(known, format!("services[{index}]"), format!("must be one of {}", PRODUCERS.join(", ")));
    }
    violations.finish()?;
    let named: HashSet<&str> = named.iter().map(String::as_str).collect();
    Ok(PRODUCERS.into_iter().filter(|service| named.is_empty() || named.contains(service)).collect())
}

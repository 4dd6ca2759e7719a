//! What every service lays first: its ledger, its writer lane, its consumers, its ledger's API.

use std::{sync::Arc, time::Duration};

use otklik_proto::ledger::v1::ledger_service_server::LedgerServiceServer;

use crate::{
    clock::Clock,
    consumer::{Consumer, RetrySignal, Subscriber},
    error::Error,
    lane::{Apply, Lane, forget_old_requests},
    ledger::{Ledger, api::LedgerApi},
    run::Context,
    seen::Seen,
    storage::Storage,
};

/// A service's ledger, lane and consumers.
pub struct Foundation<A: Apply> {
    /// Where everything that changes state goes.
    pub lane: Lane<A>,
    /// The service's own ledger.
    pub ledger: Ledger,
    /// How far the service has consumed the others.
    pub seen: Seen,
    retry: RetrySignal,
}

/// How often old request ids are forgotten.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(300);

impl<A: Apply> Foundation<A> {
    /// Opens the ledger of `service`, starts its writer lane with `writer`, and the tasks that keep both.
    ///
    /// # Errors
    /// An outage of the database, or a partition count that contradicts the stored one.
    pub async fn lay<S>(context: &Context<S>, service: &'static str, writer: A) -> Result<Self, Error> {
        let storage = context.storage.clone();
        let ledger = Ledger::open(service, storage.clone(), context.config.partitions).await?;
        let lane = Lane::start(writer, storage.clone(), ledger.clone(), context.clock.clone(), &context.tasks);
        let following = ledger.clone();
        let token = context.tasks.token();
        context.tasks.spawn("ledger-heads", async move {
            let _ = token.run_until_cancelled(following.follow()).await;
            Ok(())
        });
        let token = context.tasks.token();
        let clock = context.clock.clone();
        context.tasks.spawn("request-ids", async move {
            let _ = token.run_until_cancelled(forget_requests(storage, clock)).await;
            Ok(())
        });
        Ok(Self { lane, ledger, seen: context.seen.clone(), retry: Arc::default() })
    }

    /// Follows the ledger of `upstream`, a peer of this service.
    pub fn subscribe<S, T>(&self, context: &Context<T>, upstream: &'static str, subscriber: S)
    where
        S: Subscriber<Command = A::Command>,
    {
        let channel = context.peers.channel(upstream);
        Consumer::new(subscriber, upstream, channel, self.lane.clone(), self.seen.clone()).spawn(
            self.retry.clone(),
            &context.tasks,
            context.stopping.clone(),
        );
    }

    /// The ledger's own gRPC service, for the service's routes.
    pub fn ledger_api<S>(&self, context: &Context<S>) -> LedgerServiceServer<LedgerApi> {
        let api = LedgerApi::new(
            self.ledger.clone(),
            self.lane.storage().clone(),
            self.seen.clone(),
            self.retry.clone(),
            context.stopping.clone(),
        );
        crate::sized!(LedgerServiceServer::new(api))
    }
}

async fn forget_requests(storage: Storage, clock: Clock) {
    loop {
        tokio::time::sleep(HOUSEKEEPING_EVERY).await;
        if let Err(error) = forget_old_requests(&storage, clock.now()).await {
            tracing::warn!(%error, "old request ids were not forgotten");
        }
    }
}

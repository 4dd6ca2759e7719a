//! Assignment: makes cases of questions, routes them to executors and keeps their clocks.
//!
//! It follows classification (questions become cases), feedback (answers and ratings move them) and intake (withdrawals).

pub mod consume;
pub mod domain;
pub mod grpc;
pub mod store;
pub mod timers;

use std::sync::Arc;

use async_trait::async_trait;
use otklik_chassis::{
    foundation::Foundation,
    run::{Context, Parts, Service},
    sized,
};
use otklik_proto::assignment::v1::assignment_service_server::AssignmentServiceServer;
use serde::{Deserialize, Serialize};
use tonic::service::Routes;

use crate::{
    consume::{OfClassification, OfFeedback, OfIntake},
    domain::pack::Pack,
    store::writer::Writer,
    timers::Alarm,
};

/// The service.
#[derive(Debug)]
pub struct Assignment;

/// What only this service can be told: nothing yet beyond what all are.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Settings {}

#[async_trait]
impl Service for Assignment {
    const NAME: &'static str = "assignment";
    const DEFAULT_PORT: u16 = 7413;
    type Settings = Settings;
    type Migrator = store::Migrator;

    async fn build(context: Context<Settings>) -> anyhow::Result<Parts> {
        let pack = Arc::new(Pack::load(context.config.region_dir.as_deref())?);
        warn_of_the_calendars_end(&pack, context.clock.now());
        let alarm = Arc::new(Alarm::default());
        let foundation = Foundation::lay(&context, Self::NAME, Writer::new(pack.clone(), alarm.clone())).await?;
        foundation.subscribe(&context, "classification", OfClassification);
        foundation.subscribe(&context, "feedback", OfFeedback);
        foundation.subscribe(&context, "intake", OfIntake);
        let timers = timers::keep(foundation.lane.clone(), alarm, context.clock.clone(), context.stopping.clone());
        context.tasks.spawn("timers", async move {
            timers.await;
            Ok(())
        });
        let api = grpc::Api::new(foundation.lane.clone(), pack, context.clock.clone(), context.stopping.clone());
        let routes =
            Routes::new(sized!(AssignmentServiceServer::new(api))).add_service(foundation.ledger_api(&context));
        Ok(Parts { routes })
    }
}

/// The calendar of next year is data that somebody must enter: until then its holidays are not known.
fn warn_of_the_calendars_end(pack: &Pack, now: jiff::Timestamp) {
    let (first, last) = pack.calendar_years;
    let year = pack.time_zone.to_datetime(now).year();
    if !(first..last).contains(&year) {
        tracing::warn!(first, last, year, "the working calendar ends: what lies beyond it has no holidays");
    }
}

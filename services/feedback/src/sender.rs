//! The task that carries answers to the channel: in batches, at once when there are new ones, again when they are due.
//!
//! A delivery that the channel could not take is tried again on the domain's clock, by the schedule of
//! [`crate::domain::delivery`]. A channel that can't be reached at all is no attempt of anybody's: the deliveries go back and
//! the task waits, on monotonic time, from [`PAUSES`]`.0` doubling to [`PAUSES`]`.1`.

use std::{collections::HashMap, sync::Arc, time::Duration};

use otklik_chassis::{
    client::Channel,
    clock::Clock,
    error::Error,
    lane::{Caller, Lane},
};
use otklik_proto::channel::v1::{
    self as channel, DeliverRequest, DeliveryOutcome, channel_adapter_service_client::ChannelAdapterServiceClient,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status};
use uuid::Uuid;

use crate::{
    domain::delivery::{Attempt, Delivery},
    store::{
        Reader, Writer,
        command::{Command, Reply},
    },
};

/// Deliveries taken up and sent together.
const BATCH: usize = 256;
/// Bytes of text in one call: well below the 4 MiB that a foreign adapter takes by default.
const MOST_BYTES: usize = 2 * 1024 * 1024;
/// How long a call may take: much less than a lease, and than a stopping service has time to drain.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The first and the longest pause while the channel can't be reached.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(15));
/// The pause after the database failed.
const DATABASE_PAUSE: Duration = Duration::from_secs(1);
/// How often to look for what a replica that has died was going to send.
const LOOK_AROUND: Duration = Duration::from_secs(10);

/// Sends deliveries through a channel.
pub struct Sender {
    /// Where answers go out.
    pub channel: Channel,
    /// Where deliveries are taken up and settled.
    pub lane: Lane<Writer>,
    /// Where their texts are.
    pub reader: Reader,
    /// When they are due.
    pub clock: Clock,
    /// Told when there are new ones.
    pub new_deliveries: Arc<Notify>,
}

/// How a round ended.
enum Round {
    /// There may be more.
    More,
    /// Nothing is due.
    Nothing,
    /// The channel can't be reached.
    OutOfReach,
}

impl Sender {
    /// Sends until the service stops; a round that has begun is ended. One that is cut off all the same leaves its
    /// deliveries leased: they are taken up again when the lease ends, and the channel knows by their ids what it has
    /// delivered already.
    pub async fn send_until(&self, stopping: CancellationToken) {
        let mut pause = PAUSES.0 / 2;
        while !stopping.is_cancelled() {
            let round = self.round().await;
            pause = if matches!(round, Ok(Round::OutOfReach)) { (pause * 2).min(PAUSES.1) } else { PAUSES.0 / 2 };
            let rest = async {
                match round {
                    Ok(Round::More) => {}
                    Ok(Round::Nothing) => self.wait().await,
                    Ok(Round::OutOfReach) => tokio::time::sleep(pause).await,
                    Err(error) => {
                        tracing::warn!(%error, "deliveries can't be taken up or settled");
                        tokio::time::sleep(DATABASE_PAUSE).await;
                    }
                }
            };
            let _ = stopping.run_until_cancelled(rest).await;
        }
    }

    async fn round(&self) -> Result<Round, Error> {
        let caller = || Caller::service("feedback");
        let done = self.lane.call(Command::TakeUp(BATCH as u64), caller()).await?;
        let Some(Reply::TakenUp(taken)) = done.reply else { return Ok(Round::Nothing) };
        if taken.is_empty() {
            return Ok(Round::Nothing);
        }
        let mut results = Vec::with_capacity(taken.len());
        let reached = self.carry(&taken, &mut results).await?;
        self.lane.call(Command::Settle(results), caller()).await?;
        Ok(if reached { Round::More } else { Round::OutOfReach })
    }

    /// Hands the deliveries to the channel; says whether it could be reached.
    async fn carry(&self, taken: &[Delivery], results: &mut Vec<(Uuid, Attempt)>) -> Result<bool, Error> {
        let texts = self.reader.texts(taken.iter().map(|delivery| delivery.answer_id)).await?;
        // Erased since it was taken up: nothing is sent, and the delivery has ended already.
        let (taken, silent): (Vec<_>, Vec<_>) =
            taken.iter().partition(|delivery| texts.get(&delivery.answer_id).is_some_and(|text| !text.is_empty()));
        results.extend(silent.iter().map(|delivery| (delivery.id, Attempt::Refused("TEXT_ERASED".to_owned()))));
        let mut rest = taken.as_slice();
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |delivery: &&&Delivery| {
                bytes += texts.get(&delivery.answer_id).map_or(0, String::len);
                bytes <= MOST_BYTES
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (batch, later) = rest.split_at(count);
            match self.deliver(batch, &texts).await {
                Ok(attempts) => results.extend(attempts),
                Err(status) if is_out_of_reach(&status) => {
                    tracing::warn!(code = ?status.code(), message = status.message(), "the channel can't be reached");
                    results.extend(rest.iter().map(|delivery| (delivery.id, Attempt::NotTried)));
                    return Ok(false);
                }
                Err(status) => {
                    tracing::error!(code = ?status.code(), message = status.message(), "the channel refused a batch");
                    let attempt = || Attempt::Failed(code_name(status.code()));
                    results.extend(batch.iter().map(|delivery| (delivery.id, attempt())));
                }
            }
            rest = later;
        }
        Ok(true)
    }

    async fn deliver(
        &self,
        batch: &[&Delivery],
        texts: &HashMap<Uuid, String>,
    ) -> Result<Vec<(Uuid, Attempt)>, Status> {
        let deliveries = batch
            .iter()
            .map(|delivery| channel::Delivery {
                delivery_id: delivery.id.to_string(),
                source_id: delivery.route.source_id.clone(),
                channel_kind: delivery.route.channel_kind,
                reply_to_external_id: delivery.route.external_id.clone(),
                text: texts.get(&delivery.answer_id).cloned().unwrap_or_default(),
                answer_id: delivery.answer_id.to_string(),
                trace_id: delivery.message_id.simple().to_string(),
            })
            .collect();
        let mut request = Request::new(DeliverRequest { deliveries });
        request.set_timeout(TIMEOUT);
        let mut client = otklik_chassis::sized!(ChannelAdapterServiceClient::new(self.channel.clone()));
        let response = client.deliver(request).await?.into_inner();
        let mut told: HashMap<&str, Attempt> =
            response.results.iter().map(|result| (result.delivery_id.as_str(), attempt(result))).collect();
        let missing = || Attempt::Failed("NO_RESULT".to_owned());
        Ok(batch
            .iter()
            .map(|delivery| (delivery.id, told.remove(delivery.id.to_string().as_str()).unwrap_or_else(missing)))
            .collect())
    }

    /// Waits until something is new or due.
    async fn wait(&self) {
        let due = async {
            match self.reader.next_due().await {
                Ok(Some(due)) => self.clock.sleep_until(due).await,
                // What a replica adds shows when looked for again.
                Ok(None) | Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.new_deliveries.notified() => {}
            () = due => {}
            () = tokio::time::sleep(LOOK_AROUND) => {}
        }
    }
}

/// Whether the channel as a whole is away or closed to us, whatever the deliveries are.
fn is_out_of_reach(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::Unauthenticated
            | Code::PermissionDenied
            | Code::Unimplemented
    )
}

fn attempt(result: &channel::DeliveryResult) -> Attempt {
    match result.outcome() {
        DeliveryOutcome::Delivered | DeliveryOutcome::AlreadyDelivered => Attempt::Delivered,
        DeliveryOutcome::Retry => Attempt::Failed(result.reason.clone()),
        DeliveryOutcome::Refused => Attempt::Refused(result.reason.clone()),
        DeliveryOutcome::Unspecified => Attempt::Failed("NO_OUTCOME".to_owned()),
    }
}

/// `INVALID_ARGUMENT` for the code.
fn code_name(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_spelled_as_everywhere() {
        assert_eq!(code_name(Code::InvalidArgument), "INVALID_ARGUMENT");
        assert_eq!(code_name(Code::Internal), "INTERNAL");
    }
}

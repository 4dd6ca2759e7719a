//! The contract of feedback: convert, check, call, map the error.

mod answers;
mod convert;
mod ratings;

use otklik_chassis::{clock::Clock, lane::Lane};
use otklik_proto::feedback::v1::{self as proto, feedback_service_server::FeedbackService};
use tonic::{Request, Response, Status, async_trait};

use crate::{
    checks::Checks,
    domain::template::Templates,
    store::{Reader, Writer},
};

/// `otklik.feedback.v1.FeedbackService`.
pub struct Api {
    lane: Lane<Writer>,
    reader: Reader,
    checks: Checks,
    templates: Templates,
    clock: Clock,
}

impl Api {
    /// The service over its parts.
    pub fn new(lane: Lane<Writer>, reader: Reader, checks: Checks, templates: Templates, clock: Clock) -> Self {
        Self { lane, reader, checks, templates, clock }
    }
}

/// Gives each method of the contract to the function of the same name.
macro_rules! methods {
    ($($method:ident: $request:ident -> $response:ident;)*) => {
        #[async_trait]
        impl FeedbackService for Api {
            $(async fn $method(&self, request: Request<proto::$request>) -> Result<Response<proto::$response>, Status> {
                Ok(Response::new(self.$method(request).await?))
            })*
        }
    };
}

methods! {
    draft_answer: DraftAnswerRequest -> DraftAnswerResponse;
    approve_answer: ApproveAnswerRequest -> ApproveAnswerResponse;
    send_back_answer: SendBackAnswerRequest -> SendBackAnswerResponse;
    publish_answer: PublishAnswerRequest -> PublishAnswerResponse;
    get_answer: GetAnswerRequest -> GetAnswerResponse;
    list_answers: ListAnswersRequest -> ListAnswersResponse;
    list_deliveries: ListDeliveriesRequest -> ListDeliveriesResponse;
    list_ratings: ListRatingsRequest -> ListRatingsResponse;
    record_rating: RecordRatingRequest -> RecordRatingResponse;
    request_reopen: RequestReopenRequest -> RequestReopenResponse;
}

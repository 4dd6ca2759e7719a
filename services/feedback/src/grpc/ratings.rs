//! Ratings, and requests to reopen.

use otklik_chassis::{error::Error, lane::Caller, page::Page, validate::Violations};
use otklik_proto::{
    assignment::v1::ReopenReason,
    feedback::v1::{
        ListRatingsFilter, ListRatingsRequest, ListRatingsResponse, RecordRatingRequest, RecordRatingResponse,
        RequestReopenRequest, RequestReopenResponse,
    },
};
use tonic::Request;

use super::{Api, convert};
use crate::{
    domain::rating::{SCORES, is_satisfied},
    store::{
        RatingFilter,
        command::{Command, Rate, RatingView, Reply},
    },
};

/// Longest comment of an author, in bytes.
const LONGEST_COMMENT: usize = 8_192;

impl Api {
    pub(super) async fn record_rating(
        &self,
        request: Request<RecordRatingRequest>,
    ) -> Result<RecordRatingResponse, Error> {
        let caller = Caller::of(&request, "RecordRating", &request.get_ref().request_id)?;
        let request = request.into_inner();
        let mut violations = Violations::new();
        convert::require_request_id(&mut violations, &request.request_id);
        let case_id = violations.uuid("case_id", &request.case_id);
        let message_id = violations.uuid("message_id", &request.message_id);
        let known = request.score == 0 || SCORES.contains(&request.score);
        violations.check(known, "score", "must be 1 to 5, or 0 for none");
        convert::at_most_bytes(&mut violations, "comment", &request.comment, LONGEST_COMMENT);
        let satisfied = is_satisfied(request.score, request.satisfied);
        let reason: ReopenReason = convert::code(&mut violations, "reopen_reason", request.reopen_reason);
        violations.check(
            !satisfied || reason == ReopenReason::Unspecified,
            "reopen_reason",
            "must be unset when the author is satisfied",
        );
        violations.finish()?;
        let rate = Rate {
            case_id: case_id.unwrap_or_default(),
            message_id: message_id.unwrap_or_default(),
            score: request.score,
            satisfied,
            comment: request.comment,
            reopen_reason: if reason == ReopenReason::Unspecified { ReopenReason::Dissatisfied } else { reason },
        };
        let done = self.lane.call(Command::Rate(Box::new(rate)), caller).await?;
        let view = match done.reply {
            Some(Reply::Rating(view)) => *view,
            _ => self.repeated(&done.resource).await?,
        };
        Ok(RecordRatingResponse { rating: Some(convert::rating(view)), position: done.position })
    }

    /// The rating that a repeated call recorded, as it is now.
    async fn repeated(&self, resource: &str) -> Result<RatingView, Error> {
        let (message, case) = resource.split_once('/').unwrap_or_default();
        let (message, case) = (convert::resource_id(message)?, convert::resource_id(case)?);
        self.reader.rating(message, case).await?.ok_or_else(|| Error::not_found("rating", resource))
    }

    pub(super) async fn list_ratings(
        &self,
        request: Request<ListRatingsRequest>,
    ) -> Result<ListRatingsResponse, Error> {
        let request = request.into_inner();
        let arguments = ListRatingsRequest { filter: request.filter.clone(), ..Default::default() };
        let page = Page::of("ListRatings", request.page_size, &request.page_token, &arguments)?;
        let ListRatingsFilter { case_id, message_id } = request.filter.unwrap_or_default();
        let mut violations = Violations::new();
        let filter = RatingFilter {
            case_id: violations.optional_uuid("filter.case_id", &case_id),
            message_id: violations.optional_uuid("filter.message_id", &message_id),
        };
        violations.finish()?;
        let found = self.reader.ratings(&filter, page.after, page.limit()).await?;
        let (found, next_page_token) = page.cut(found, |rating| (rating.rated.as_microsecond(), rating.id));
        Ok(ListRatingsResponse { ratings: found.into_iter().map(convert::rating).collect(), next_page_token })
    }

    pub(super) async fn request_reopen(
        &self,
        request: Request<RequestReopenRequest>,
    ) -> Result<RequestReopenResponse, Error> {
        let caller = Caller::of(&request, "RequestReopen", &request.get_ref().request_id)?;
        let request = request.into_inner();
        let mut violations = Violations::new();
        convert::require_request_id(&mut violations, &request.request_id);
        let case_id = violations.uuid("case_id", &request.case_id);
        let message_id = violations.uuid("message_id", &request.message_id);
        let reason: ReopenReason = convert::code(&mut violations, "reason", request.reason);
        violations.check(request.reason != 0, "reason", "must be set");
        violations.finish()?;
        let command = Command::RequestReopen {
            case_id: case_id.unwrap_or_default(),
            message_id: message_id.unwrap_or_default(),
            reason,
        };
        let done = self.lane.call(command, caller).await?;
        Ok(RequestReopenResponse { reopen_request_id: done.resource, position: done.position })
    }
}

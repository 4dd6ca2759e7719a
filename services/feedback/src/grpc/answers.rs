//! Answers and their deliveries.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use otklik_chassis::{
    error::Error,
    identity,
    lane::{Caller, Done},
    page::Page,
    validate::Violations,
};
use otklik_proto::feedback::v1::{
    AnswerState, ApproveAnswerRequest, ApproveAnswerResponse, DraftAnswerRequest, DraftAnswerResponse,
    GetAnswerRequest, GetAnswerResponse, ListAnswersFilter, ListAnswersRequest, ListAnswersResponse,
    ListDeliveriesFilter, ListDeliveriesRequest, ListDeliveriesResponse, PublishAnswerRequest, PublishAnswerResponse,
    SendBackAnswerRequest, SendBackAnswerResponse, SendBackReason,
};
use ring::rand::{SecureRandom, SystemRandom};
use tonic::Request;
use uuid::Uuid;

use super::{Api, convert};
use crate::{
    domain::{
        answer::{Terms, Wording},
        commitment::SALT,
    },
    store::{
        AnswerFilter, DeliveryFilter,
        command::{AnswerView, Change, Command, Draft, Publication, Reply},
    },
};

/// Longest text of an answer, in bytes.
const LONGEST_TEXT: usize = 16_384;
/// Longest comment of an approver, in bytes.
const LONGEST_COMMENT: usize = 2_048;
/// Most addresses of proof.
const MOST_PROOFS: usize = 20;
/// Longest address of proof, in bytes.
const LONGEST_PROOF: usize = 2_048;

impl Api {
    pub(super) async fn draft_answer(
        &self,
        request: Request<DraftAnswerRequest>,
    ) -> Result<DraftAnswerResponse, Error> {
        let caller = Caller::of(&request, "DraftAnswer", &request.get_ref().request_id)?;
        let by = identity::actor(&request)?.subject;
        let request = request.into_inner();
        let mut violations = Violations::new();
        convert::require_request_id(&mut violations, &request.request_id);
        let case_id = violations.uuid("case_id", &request.case_id);
        let answer_id = violations.optional_uuid("answer_id", &request.answer_id);
        violations.check(
            answer_id.is_some() || request.etag.is_empty(),
            "etag",
            "must be empty unless answer_id is set",
        );
        let terms = self.terms(&request, &mut violations);
        check_proofs(&request.proof_urls, &mut violations);
        let text = self.text(case_id, &terms, &request.text, &mut violations).await?;
        violations.finish()?;

        let draft = Draft {
            case_id: case_id.unwrap_or_default(),
            answer_id,
            etag: request.etag,
            by,
            terms,
            wording: Wording { text, salt: salt()?, proof_urls: request.proof_urls, ..Wording::default() },
        };
        let done = self.lane.call(Command::Draft(Box::new(draft)), caller).await?;
        let (answer, position) = self.changed(done).await?;
        Ok(DraftAnswerResponse { answer: Some(convert::answer(answer)), position })
    }

    fn terms(&self, request: &DraftAnswerRequest, violations: &mut Violations) -> Terms {
        let promise_date = match request.promise_date.as_str() {
            "" => None,
            // Strictly: the parser would take a date with a time as well.
            text if text.len() == "YYYY-MM-DD".len() => text.parse().ok(),
            _ => None,
        };
        violations.check(
            request.promise_date.is_empty() || promise_date.is_some(),
            "promise_date",
            "must be a date `YYYY-MM-DD`",
        );
        let terms = Terms {
            kind: convert::code(violations, "kind", request.kind),
            outcome: convert::code(violations, "outcome", request.outcome),
            promise_date,
            template_id: request.template_id.clone(),
        };
        if request.promise_date.is_empty() || promise_date.is_some() {
            terms.check(TimeZone::UTC.to_datetime(self.clock.now()).date(), violations);
        }
        terms
    }

    /// The text as it goes out: the caller's or the template's, with the placeholders that feedback can fill itself.
    async fn text(
        &self,
        case_id: Option<Uuid>,
        terms: &Terms,
        text: &str,
        violations: &mut Violations,
    ) -> Result<String, Error> {
        convert::at_most_bytes(violations, "text", text, LONGEST_TEXT);
        let written = if text.trim().is_empty() { "" } else { text };
        if terms.template_id.is_empty() {
            violations.require("text", text);
            return Ok(written.to_owned());
        }
        let Some(template) = self.templates.get(&terms.template_id) else {
            violations.add("template_id", "is no template of the region");
            return Ok(String::new());
        };
        if let Err(why) = template.check(terms) {
            violations.add("template_id", why);
        }
        let Some(case_id) = case_id else { return Ok(String::new()) };
        let case = self.reader.case(case_id).await?.ok_or_else(|| Error::not_found("case", case_id))?;
        let mut known = BTreeMap::from([("case_number", case.number)]);
        if let Some(date) = terms.promise_date {
            known.insert("deadline", date.strftime("%d.%m.%Y").to_string());
        }
        match template.fill(written, &known) {
            Ok(text) => {
                convert::at_most_bytes(violations, "text", &text, LONGEST_TEXT);
                Ok(text)
            }
            Err(missing) => {
                violations
                    .add("text", format!("must be given with these placeholders filled in: {}", missing.join(", ")));
                Ok(String::new())
            }
        }
    }

    pub(super) async fn approve_answer(
        &self,
        request: Request<ApproveAnswerRequest>,
    ) -> Result<ApproveAnswerResponse, Error> {
        let caller = Caller::of(&request, "ApproveAnswer", &request.get_ref().request_id)?;
        let by = identity::actor(&request)?.subject;
        let request = request.into_inner();
        let mut violations = Violations::new();
        convert::require_request_id(&mut violations, &request.request_id);
        let answer_id = violations.uuid("answer_id", &request.answer_id);
        violations.finish()?;
        let change = Change { answer_id: answer_id.unwrap_or_default(), etag: request.etag, by };
        let done = self.lane.call(Command::Approve(change), caller).await?;
        let (answer, position) = self.changed(done).await?;
        Ok(ApproveAnswerResponse { answer: Some(convert::answer(answer)), position })
    }

    pub(super) async fn send_back_answer(
        &self,
        request: Request<SendBackAnswerRequest>,
    ) -> Result<SendBackAnswerResponse, Error> {
        let caller = Caller::of(&request, "SendBackAnswer", &request.get_ref().request_id)?;
        let by = identity::actor(&request)?.subject;
        let request = request.into_inner();
        let mut violations = Violations::new();
        convert::require_request_id(&mut violations, &request.request_id);
        let answer_id = violations.uuid("answer_id", &request.answer_id);
        let reason: SendBackReason = convert::code(&mut violations, "reason", request.reason);
        violations.check(request.reason != 0, "reason", "must be set");
        convert::at_most_bytes(&mut violations, "comment", &request.comment, LONGEST_COMMENT);
        violations.finish()?;
        let change = Change { answer_id: answer_id.unwrap_or_default(), etag: request.etag, by };
        let done = self.lane.call(Command::SendBack(change, reason, request.comment), caller).await?;
        let (answer, position) = self.changed(done).await?;
        Ok(SendBackAnswerResponse { answer: Some(convert::answer(answer)), position })
    }

    pub(super) async fn publish_answer(
        &self,
        request: Request<PublishAnswerRequest>,
    ) -> Result<PublishAnswerResponse, Error> {
        let caller = Caller::of(&request, "PublishAnswer", &request.get_ref().request_id)?;
        let by = identity::actor(&request)?.subject;
        let request = request.into_inner();
        let mut violations = Violations::new();
        convert::require_request_id(&mut violations, &request.request_id);
        let answer_id = violations.uuid("answer_id", &request.answer_id);
        violations.finish()?;
        let answer_id = answer_id.unwrap_or_default();
        let (case_id, state) =
            self.reader.answer_state(answer_id).await?.ok_or_else(|| Error::not_found("answer", answer_id))?;
        // The others are asked outside the transaction; for an answer that can't be published (or already is: a repeat of
        // the call) there is nothing to ask.
        let standing = match state {
            AnswerState::Approved => Some(self.checks.standing(case_id).await?),
            _ => None,
        };
        let change = Change { answer_id, etag: request.etag, by };
        let publication = Publication { change, case_id, standing };
        let done = self.lane.call(Command::Publish(Box::new(publication)), caller).await?;
        let (answer, position) = self.changed(done).await?;
        Ok(PublishAnswerResponse { answer: Some(convert::answer(answer)), position })
    }

    /// The answer after a change; for a repeat, as it is now.
    async fn changed(
        &self,
        mut done: Done<Reply>,
    ) -> Result<(AnswerView, Option<otklik_proto::ledger::v1::Position>), Error> {
        let view = match convert::view_of(&mut done) {
            Some(view) => view,
            None => self.find(convert::resource_id(&done.resource)?).await?,
        };
        Ok((view, done.position))
    }

    async fn find(&self, id: Uuid) -> Result<AnswerView, Error> {
        self.reader.answer(id).await?.ok_or_else(|| Error::not_found("answer", id))
    }

    pub(super) async fn get_answer(&self, request: Request<GetAnswerRequest>) -> Result<GetAnswerResponse, Error> {
        let mut violations = Violations::new();
        let id = violations.uuid("answer_id", &request.get_ref().answer_id);
        violations.finish()?;
        let view = self.find(id.unwrap_or_default()).await?;
        Ok(GetAnswerResponse { answer: Some(convert::answer(view)) })
    }

    pub(super) async fn list_answers(
        &self,
        request: Request<ListAnswersRequest>,
    ) -> Result<ListAnswersResponse, Error> {
        let request = request.into_inner();
        let arguments = ListAnswersRequest { filter: request.filter.clone(), ..Default::default() };
        let page = Page::of("ListAnswers", request.page_size, &request.page_token, &arguments)?;
        let ListAnswersFilter { case_id, message_id, states } = request.filter.unwrap_or_default();
        let mut violations = Violations::new();
        let filter = AnswerFilter {
            case_id: violations.optional_uuid("filter.case_id", &case_id),
            message_id: violations.optional_uuid("filter.message_id", &message_id),
            states: convert::codes(&mut violations, "filter.states", &states),
        };
        violations.finish()?;
        let found = self.reader.answers(&filter, page.after, page.limit()).await?;
        let (found, next_page_token) = page.cut(found, |view| (view.answer.drafted.as_microsecond(), view.answer.id));
        Ok(ListAnswersResponse { answers: found.into_iter().map(convert::answer).collect(), next_page_token })
    }

    pub(super) async fn list_deliveries(
        &self,
        request: Request<ListDeliveriesRequest>,
    ) -> Result<ListDeliveriesResponse, Error> {
        let request = request.into_inner();
        let arguments = ListDeliveriesRequest { filter: request.filter.clone(), ..Default::default() };
        let page = Page::of("ListDeliveries", request.page_size, &request.page_token, &arguments)?;
        let ListDeliveriesFilter { answer_id, case_id, message_id, states } = request.filter.unwrap_or_default();
        let mut violations = Violations::new();
        let filter = DeliveryFilter {
            answer_id: violations.optional_uuid("filter.answer_id", &answer_id),
            case_id: violations.optional_uuid("filter.case_id", &case_id),
            message_id: violations.optional_uuid("filter.message_id", &message_id),
            states: convert::codes(&mut violations, "filter.states", &states),
        };
        violations.finish()?;
        let found = self.reader.deliveries(&filter, page.after, page.limit()).await?;
        let (found, next_page_token) = page.cut(found, |delivery| delivery.id);
        Ok(ListDeliveriesResponse { deliveries: found.into_iter().map(convert::delivery).collect(), next_page_token })
    }
}

fn check_proofs(urls: &[String], violations: &mut Violations) {
    violations.check(urls.len() <= MOST_PROOFS, "proof_urls", format!("must be at most {MOST_PROOFS}"));
    for (index, url) in urls.iter().enumerate() {
        let web = url.starts_with("https://") || url.starts_with("http://");
        let clean = url.len() <= LONGEST_PROOF && !url.contains(|c: char| c.is_whitespace() || c.is_control());
        let rule = format!("must be an address beginning with http:// or https://, of at most {LONGEST_PROOF} bytes");
        violations.check(web && clean, format!("proof_urls[{index}]"), rule);
    }
}

fn salt() -> Result<[u8; SALT], Error> {
    let mut salt = [0; SALT];
    let filled = SystemRandom::new().fill(&mut salt);
    filled.map_err(|_| Error::internal(anyhow::anyhow!("the system gives no random bytes")))?;
    Ok(salt)
}

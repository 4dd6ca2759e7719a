//! The service's calls: converted, checked, passed on, answered.

mod answer;
mod check;
mod submit;

use otklik_chassis::{
    clock::Clock,
    error::Error,
    lane::{Caller, Lane},
    page::Page,
};
use otklik_proto::intake::v1::{
    BatchGetMessagesRequest, BatchGetMessagesResponse, EraseAuthorRequest, EraseAuthorResponse, GetMessageRequest,
    GetMessageResponse, GetSourceRequest, GetSourceResponse, ListMessagesRequest, ListMessagesResponse,
    ListSourcesRequest, ListSourcesResponse, RegisterSourceRequest, RegisterSourceResponse, SubmitMessageRequest,
    SubmitMessageResponse, SubmitMessagesRequest, WithdrawMessageRequest, WithdrawMessageResponse,
    intake_service_server::IntakeService,
};
use ring::rand::SystemRandom;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use self::check::Target;
use crate::{
    domain::{
        keys::{AuthorKey, AuthorSecret, ItemKey},
        source::Source,
    },
    store::{self, Command, Erasure, Listed, Reader, Reply, Writer},
};

/// Answers calls of `IntakeService`.
pub(crate) struct Api {
    lane: Lane<Writer>,
    reader: Reader,
    clock: Clock,
    secret: AuthorSecret,
    random: SystemRandom,
}

impl Api {
    pub(crate) fn new(lane: Lane<Writer>, reader: Reader, clock: Clock, secret: AuthorSecret) -> Self {
        Self { lane, reader, clock, secret, random: SystemRandom::new() }
    }

    async fn withdrawn(&self, request: Request<WithdrawMessageRequest>) -> Result<WithdrawMessageResponse, Error> {
        let caller = Caller::of(&request, "WithdrawMessage", "")?;
        let withdrawal = check::withdrawal(request.into_inner())?;
        let done = self.lane.call(Command::Withdraw(withdrawal), caller).await?;
        let Some(Reply::Withdrew(withdrew)) = done.reply else { return Err(no_reply()) };
        let position = match (done.position, withdrew.message_id) {
            (None, Some(message_id)) => self.reader.position(message_id, withdrew.entry_seq).await?,
            (position, _) => position,
        };
        Ok(answer::withdrew(&withdrew, position))
    }

    async fn read(&self, request: GetMessageRequest) -> Result<GetMessageResponse, Error> {
        let target = check::target(request)?;
        let found = match &target {
            Target::Message(id) => self.reader.message(*id).await?,
            Target::Item { source_id, external_id } => {
                self.reader.message_of_item(ItemKey::of(source_id, external_id)).await?
            }
        };
        let view = found.ok_or_else(|| Error::not_found("message", target))?;
        Ok(GetMessageResponse { message: Some(answer::message(view)) })
    }

    async fn list(&self, mut request: ListMessagesRequest) -> Result<ListMessagesResponse, Error> {
        let (size, token) = (request.page_size, std::mem::take(&mut request.page_token));
        request.page_size = 0;
        let page = Page::<Uuid>::of("otklik.intake.v1.IntakeService/ListMessages", size, &token, &request);
        let filter = check::message_filter(request.filter.unwrap_or_default());
        let (page, filter) = check::both(page, filter)?;
        let listed = Listed { after: page.after, limit: page.limit() };
        let found = self.reader.list_messages(&filter, &listed).await?;
        let (found, next_page_token) = page.cut(found, |view| view.row.message_id);
        Ok(ListMessagesResponse { messages: found.into_iter().map(answer::message).collect(), next_page_token })
    }

    async fn erase(&self, request: Request<EraseAuthorRequest>) -> Result<EraseAuthorResponse, Error> {
        let caller = Caller::of(&request, "EraseAuthor", &request.get_ref().request_id)?;
        // The parts of the erasure have no key of their own: only its beginning is remembered.
        let parts = Caller::of(&request, "EraseAuthor", "")?;
        let (author, reason) = check::erasure(request.into_inner(), &self.secret)?;
        let done = self.lane.call(Command::BeginErasure(author, reason), caller).await?;
        let (erasure, count) = match done.reply {
            Some(Reply::ErasureBegun(erasure, count)) => (erasure, count),
            Some(_) => return Err(no_reply()),
            None => {
                let (author, until_us, count) = remembered(&done.resource).ok_or_else(no_reply)?;
                (Erasure { author, until_us, reason }, count)
            }
        };
        let mut position = store::finish_erasure(&self.lane, erasure, &parts).await?;
        if position.is_none()
            && count > 0
            && let Some((message_id, entry_seq)) = self.reader.last_erased(author).await?
        {
            position = self.reader.position(message_id, entry_seq).await?;
        }
        Ok(EraseAuthorResponse { author_key: author.to_hex(), erased_message_count: count, position })
    }

    async fn list_sources(&self, mut request: ListSourcesRequest) -> Result<ListSourcesResponse, Error> {
        let (size, token) = (request.page_size, std::mem::take(&mut request.page_token));
        request.page_size = 0;
        let page = Page::<String>::of("otklik.intake.v1.IntakeService/ListSources", size, &token, &request);
        let kinds = check::source_kinds(&request.filter.unwrap_or_default().kinds);
        let (page, kinds) = check::both(page, kinds)?;
        let listed = Listed { after: page.after.clone(), limit: page.limit() };
        let found = self.reader.list_sources(&kinds, &listed).await?;
        let (found, next_page_token) = page.cut(found, |view| view.source.id.clone());
        let now = self.clock.now();
        let sources = found.into_iter().map(|view| answer::source(view, now)).collect();
        Ok(ListSourcesResponse { sources, next_page_token })
    }

    async fn source(&self, source_id: &str) -> Result<otklik_proto::intake::v1::Source, Error> {
        let found = self.reader.source(source_id).await?;
        let view = found.ok_or_else(|| Error::not_found("source", source_id))?;
        Ok(answer::source(view, self.clock.now()))
    }

    async fn register(&self, request: Request<RegisterSourceRequest>) -> Result<RegisterSourceResponse, Error> {
        let caller = Caller::of(&request, "RegisterSource", &request.get_ref().request_id)?;
        let source: Source = check::registration(request.into_inner())?;
        let done = self.lane.call(Command::Register(source), caller).await?;
        let source = self.source(&done.resource).await?;
        Ok(RegisterSourceResponse { source: Some(source), position: done.position })
    }
}

/// What a remembered call to erase an author began: whose messages, until when, how many.
fn remembered(resource: &str) -> Option<(AuthorKey, i64, u64)> {
    let mut parts = resource.split(' ');
    let author = AuthorKey::from_hex(parts.next()?)?;
    Some((author, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn no_reply() -> Error {
    Error::internal(anyhow::anyhow!("the lane gave a command the reply of another"))
}

#[tonic::async_trait]
impl IntakeService for Api {
    type SubmitMessagesStream = submit::Results;

    async fn submit_message(
        &self,
        request: Request<SubmitMessageRequest>,
    ) -> Result<Response<SubmitMessageResponse>, Status> {
        let caller = Caller::of(&request, "SubmitMessage", "")?;
        Ok(Response::new(self.submitter().take_in(request.into_inner(), caller).await?))
    }

    async fn submit_messages(
        &self,
        request: Request<Streaming<SubmitMessagesRequest>>,
    ) -> Result<Response<Self::SubmitMessagesStream>, Status> {
        Ok(Response::new(submit::results(self.submitter(), request)?))
    }

    async fn withdraw_message(
        &self,
        request: Request<WithdrawMessageRequest>,
    ) -> Result<Response<WithdrawMessageResponse>, Status> {
        Ok(Response::new(self.withdrawn(request).await?))
    }

    async fn get_message(&self, request: Request<GetMessageRequest>) -> Result<Response<GetMessageResponse>, Status> {
        Ok(Response::new(self.read(request.into_inner()).await?))
    }

    async fn batch_get_messages(
        &self,
        request: Request<BatchGetMessagesRequest>,
    ) -> Result<Response<BatchGetMessagesResponse>, Status> {
        let references = check::references(&request.get_ref().references)?;
        let texts = self.reader.texts(&references).await?;
        let messages = request.into_inner().references.into_iter().zip(texts);
        let messages = messages.map(|(reference, text)| answer::text(reference.message_id, text)).collect();
        Ok(Response::new(BatchGetMessagesResponse { messages }))
    }

    async fn list_messages(
        &self,
        request: Request<ListMessagesRequest>,
    ) -> Result<Response<ListMessagesResponse>, Status> {
        Ok(Response::new(self.list(request.into_inner()).await?))
    }

    async fn erase_author(
        &self,
        request: Request<EraseAuthorRequest>,
    ) -> Result<Response<EraseAuthorResponse>, Status> {
        Ok(Response::new(self.erase(request).await?))
    }

    async fn get_source(&self, request: Request<GetSourceRequest>) -> Result<Response<GetSourceResponse>, Status> {
        let source_id = request.into_inner().source_id;
        check::source_id(&source_id)?;
        Ok(Response::new(GetSourceResponse { source: Some(self.source(&source_id).await?) }))
    }

    async fn list_sources(
        &self,
        request: Request<ListSourcesRequest>,
    ) -> Result<Response<ListSourcesResponse>, Status> {
        Ok(Response::new(self.list_sources(request.into_inner()).await?))
    }

    async fn register_source(
        &self,
        request: Request<RegisterSourceRequest>,
    ) -> Result<Response<RegisterSourceResponse>, Status> {
        Ok(Response::new(self.register(request).await?))
    }
}

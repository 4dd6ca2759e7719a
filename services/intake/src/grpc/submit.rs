//! Taking messages in, one by one and in streams.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{Stream, StreamExt, future, stream};
use otklik_chassis::{
    error::{Error, Violation},
    lane::{Caller, Lane},
};
use otklik_proto::intake::v1::{
    ChannelKind, FieldViolation, ItemError, SubmitMessageRequest, SubmitMessageResponse, SubmitMessagesRequest,
    SubmitMessagesResponse, submit_messages_response,
};
use ring::rand::{SecureRandom, SystemRandom};
use tonic::{Request, Status, Streaming};

use super::{Api, answer, check, no_reply};
use crate::{
    domain::keys::{AuthorSecret, SALT_LENGTH},
    store::{Command, Reader, Reply, Writer},
};

/// Items of one stream that are worked on at once. Beyond it the stream is not read: the sender waits.
const WINDOW: usize = 512;

/// The results of a stream of submissions, each as soon as it is there.
pub(super) type Results = Pin<Box<dyn Stream<Item = Result<SubmitMessagesResponse, Status>> + Send>>;

/// What taking a message in needs; outlives the call that it was made for.
#[derive(Clone)]
pub(super) struct Submitter {
    lane: Lane<Writer>,
    reader: Reader,
    secret: AuthorSecret,
    random: SystemRandom,
}

impl Api {
    pub(super) fn submitter(&self) -> Submitter {
        Submitter {
            lane: self.lane.clone(),
            reader: self.reader.clone(),
            secret: self.secret.clone(),
            random: self.random.clone(),
        }
    }
}

impl Submitter {
    pub(super) async fn take_in(
        &self,
        request: SubmitMessageRequest,
        caller: Caller,
    ) -> Result<SubmitMessageResponse, Error> {
        let mut salt = [0; SALT_LENGTH];
        self.random
            .fill(&mut salt)
            .map_err(|_| Error::internal(anyhow::anyhow!("the system gives no random numbers")))?;
        let (source_id, channel) = (request.source_id.clone(), request.channel_kind());
        let submission = match check::submission(request, &self.secret, salt) {
            Ok(submission) => submission,
            Err(Error::Invalid(violations)) => {
                return Err(Error::Invalid(self.all_violations(violations, &source_id, channel).await?));
            }
            Err(error) => return Err(error),
        };
        let done = self.lane.call(Command::Submit(Box::new(submission)), caller).await?;
        let Some(Reply::Submitted(submitted)) = done.reply else { return Err(no_reply()) };
        let position = match done.position {
            None => self.reader.position(submitted.message_id, submitted.entry_seq).await?,
            position => position,
        };
        Ok(answer::submitted(&submitted, position))
    }

    /// Adds what only the registration of the source shows, so that the caller hears of everything at once.
    async fn all_violations(
        &self,
        mut violations: Vec<Violation>,
        source_id: &str,
        channel: ChannelKind,
    ) -> Result<Vec<Violation>, Error> {
        let is_checked = violations.iter().any(|v| v.field == "source_id" || v.field == "channel_kind");
        if !is_checked
            && let Some(view) = self.reader.source(source_id).await?
            && let Some(description) = view.source.channel_problem(channel)
        {
            violations.push(Violation { field: "channel_kind".into(), description });
        }
        Ok(violations)
    }

    async fn item(self, item: SubmitMessagesRequest, caller: Caller) -> SubmitMessagesResponse {
        let result = match item.message {
            Some(message) => self.take_in(message, caller).await,
            None => Err(Error::invalid("message", "must be set")),
        };
        let result = match result {
            Ok(response) => submit_messages_response::Result::Response(response),
            Err(error) => submit_messages_response::Result::Error(item_error(error)),
        };
        SubmitMessagesResponse { index: item.index, result: Some(result) }
    }
}

/// The results of the items of `request`. A stream that breaks gives the results of what was read before, and then
/// the reason.
pub(super) fn results(
    submitter: Submitter,
    request: Request<Streaming<SubmitMessagesRequest>>,
) -> Result<Results, Error> {
    let (metadata, extensions, items) = request.into_parts();
    let opened = Request::from_parts(metadata, extensions, SubmitMessageRequest::default());
    let caller = Caller::of(&opened, "SubmitMessages", "")?;
    let broken: Arc<Mutex<Option<Status>>> = Arc::default();
    let noted = broken.clone();
    let sound = items.scan((), move |(), item| {
        future::ready(match item {
            Ok(item) => Some(item),
            Err(status) => {
                *noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
                None
            }
        })
    });
    let answered = sound.map(move |item| submitter.clone().item(item, caller.clone())).buffer_unordered(WINDOW).map(Ok);
    let ending = stream::once(async move { broken.lock().unwrap_or_else(PoisonError::into_inner).take() })
        .filter_map(|status| future::ready(status.map(Err)));
    Ok(Box::pin(answered.chain(ending)))
}

/// What a unary call would have said as its status.
fn item_error(error: Error) -> ItemError {
    let (_, reason) = error.code_and_reason();
    let reason = reason.to_owned();
    let field_violations = match &error {
        Error::Invalid(violations) => violations
            .iter()
            .map(|v| FieldViolation { field: v.field.clone(), description: v.description.clone() })
            .collect(),
        _ => Vec::new(),
    };
    let status = Status::from(error);
    ItemError { code: status.code().into(), reason, message: status.message().to_owned(), field_violations }
}

//! Requests, checked: everything wrong with one is told at once.

use std::fmt;

use otklik_chassis::{error::Error, validate::Violations};
use otklik_proto::{
    intake::v1::{
        Author as AuthorRequest, ChannelKind, EraseAuthorRequest, EraseReason, GetMessageRequest, ItemKey as Item,
        ListMessagesFilter, MessageReference, MessageState, Regime, RegisterSourceRequest, SourceKind,
        SubmitMessageRequest, WithdrawMessageRequest, WithdrawReason, erase_author_request, get_message_request,
        withdraw_message_request,
    },
    time::to_micros,
};
use uuid::Uuid;

use crate::{
    domain::{
        keys::{AuthorKey, AuthorSecret, ItemKey, SALT_LENGTH, commitment},
        source::{self, LONGEST_TITLE, MOST_OWN_AUTHORS, Source, USUAL_SILENCE_HOURS},
        standing::GREATEST_REVISION,
        submission::{
            Author, Details, LONGEST_EXTERNAL_ID, LONGEST_NAME, LONGEST_TEXT, LONGEST_URL, MOST_ATTACHMENTS, Submission,
        },
    },
    store::{MessageFilter, Reference, Withdrawal, WithdrawalTarget},
};

/// Most references of a `BatchGetMessages`.
const MOST_REFERENCES: usize = 1000;
/// Elements of a list that are told to be wrong at the most: an answer must fit into the headers of HTTP/2.
const MOST_TOLD: usize = 20;
/// Longest request id in bytes.
const LONGEST_REQUEST_ID: usize = 128;
const CODE: &str = "must be a code of lower-case Latin letters, digits and hyphens, at most 64";

/// Whom a call to read names.
#[derive(Debug)]
pub(super) enum Target {
    Message(Uuid),
    Item { source_id: String, external_id: String },
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(id) => id.fmt(formatter),
            Self::Item { source_id, external_id } => write!(formatter, "{source_id}/{external_id}"),
        }
    }
}

/// Checks fields the way intake needs them.
trait Checks {
    fn bounded(&mut self, field: &str, value: &str, most_bytes: usize);
    fn filled(&mut self, field: &str, value: &str, most_bytes: usize);
    fn code(&mut self, field: &str, value: &str);
    fn constant<T: Default + PartialEq>(&mut self, field: &str, number: i32, named: impl Fn(i32) -> Option<T>) -> T;
    fn constants<T: Default + PartialEq>(
        &mut self,
        list: &str,
        numbers: &[i32],
        named: impl Fn(i32) -> Option<T>,
    ) -> Vec<T>;
    fn revision(&mut self, field: &str, revision: u64);
    fn request_id(&mut self, request_id: &str);
    fn wrong_elements(&mut self, list: &str, fields: Vec<String>, problem: &str);
}

impl Checks for Violations {
    /// At most so many bytes, and no zero character, which not every database can store.
    fn bounded(&mut self, field: &str, value: &str, most_bytes: usize) {
        self.check(value.len() <= most_bytes, field, format!("must have at most {most_bytes} bytes"));
        self.check(!value.contains('\0'), field, "must not hold the character U+0000");
    }

    fn filled(&mut self, field: &str, value: &str, most_bytes: usize) {
        self.check(!value.is_empty(), field, "must not be empty");
        self.bounded(field, value, most_bytes);
    }

    fn code(&mut self, field: &str, value: &str) {
        self.check(source::is_code(value), field, CODE);
    }

    /// The constant of an enumeration; a violation when it is unspecified or unknown.
    fn constant<T: Default + PartialEq>(&mut self, field: &str, number: i32, named: impl Fn(i32) -> Option<T>) -> T {
        let constant = named(number);
        let is_known = constant.is_some();
        let constant = constant.unwrap_or_default();
        self.check(is_known, field, "must be one of the constants of its enumeration");
        self.check(!is_known || constant != T::default(), field, "must be set");
        constant
    }

    /// Constants of an enumeration, each as [`Checks::constant`] has it; every constant once.
    fn constants<T: Default + PartialEq>(
        &mut self,
        list: &str,
        numbers: &[i32],
        named: impl Fn(i32) -> Option<T>,
    ) -> Vec<T> {
        let (mut constants, mut wrong) = (Vec::new(), Vec::new());
        for (index, number) in numbers.iter().enumerate() {
            match named(*number).filter(|constant| *constant != T::default()) {
                Some(constant) if constants.contains(&constant) => {}
                Some(constant) => constants.push(constant),
                None => wrong.push(format!("{list}[{index}]")),
            }
        }
        self.wrong_elements(list, wrong, "must be a constant of its enumeration, and not the unspecified one");
        constants
    }

    fn revision(&mut self, field: &str, revision: u64) {
        self.check(revision <= GREATEST_REVISION, field, format!("must be at most {GREATEST_REVISION}"));
    }

    fn request_id(&mut self, request_id: &str) {
        self.filled("request_id", request_id, LONGEST_REQUEST_ID);
    }

    /// The same problem of elements of a list: the first of them by name, the others by number.
    fn wrong_elements(&mut self, list: &str, fields: Vec<String>, problem: &str) {
        let more = fields.len().saturating_sub(MOST_TOLD);
        for field in fields.into_iter().take(MOST_TOLD) {
            self.add(field, problem);
        }
        self.check(more == 0, list, format!("has {more} more that {problem}"));
    }
}

/// The submission that a request asks for.
pub(super) fn submission(
    request: SubmitMessageRequest,
    secret: &AuthorSecret,
    salt: [u8; SALT_LENGTH],
) -> Result<Submission, Error> {
    let mut violations = Violations::new();
    let v = &mut violations;
    v.code("source_id", &request.source_id);
    v.filled("external_id", &request.external_id, LONGEST_EXTERNAL_ID);
    v.revision("source_revision", request.source_revision);
    v.filled("text", &request.text, LONGEST_TEXT);
    let channel = v.constant("channel_kind", request.channel_kind, |n| ChannelKind::try_from(n).ok());
    let published = v.timestamp("published_time", request.published_time.as_ref());
    let author = v.required("author", request.author);
    if let Some(AuthorRequest { external_id, display_name }) = &author {
        v.filled("author.external_id", external_id, LONGEST_EXTERNAL_ID);
        v.bounded("author.display_name", display_name, LONGEST_NAME);
    }
    v.bounded("in_reply_to_external_id", &request.in_reply_to_external_id, LONGEST_EXTERNAL_ID);
    v.bounded("thread_external_id", &request.thread_external_id, LONGEST_EXTERNAL_ID);
    v.bounded("url", &request.url, LONGEST_URL);
    let attachments = request.attachment_urls;
    v.check(attachments.len() <= MOST_ATTACHMENTS, "attachment_urls", format!("must be at most {MOST_ATTACHMENTS}"));
    for (index, url) in attachments.iter().take(MOST_ATTACHMENTS).enumerate() {
        v.filled(&format!("attachment_urls[{index}]"), url, LONGEST_URL);
    }
    if let Some(place) = &request.location {
        let is_latitude = (-90.0..=90.0).contains(&place.latitude);
        v.check(is_latitude, "location.latitude", "must be from -90 to 90 degrees");
        let is_longitude = (-180.0..=180.0).contains(&place.longitude);
        v.check(is_longitude, "location.longitude", "must be from -180 to 180 degrees");
    }
    violations.finish()?;
    let (Some(author), Some(published)) = (author, published) else {
        return Err(Error::internal(anyhow::anyhow!("a missing field was not noticed")));
    };
    Ok(Submission {
        item: ItemKey::of(&request.source_id, &request.external_id),
        commitment: commitment(&salt, &request.text),
        salt,
        author: Author {
            key: secret.key_of(&request.source_id, &author.external_id),
            external_id: author.external_id,
            name: author.display_name,
        },
        source_id: request.source_id,
        external_id: request.external_id,
        revision: request.source_revision,
        text: request.text,
        channel,
        published,
        details: Details {
            in_reply_to: request.in_reply_to_external_id,
            thread: request.thread_external_id,
            url: request.url,
            attachments,
            location: request.location.map(|place| (place.latitude, place.longitude)),
        },
    })
}

fn item(violations: &mut Violations, item: Item) -> (String, String) {
    violations.code("item.source_id", &item.source_id);
    violations.filled("item.external_id", &item.external_id, LONGEST_EXTERNAL_ID);
    (item.source_id, item.external_id)
}

/// The withdrawal that a request asks for.
pub(super) fn withdrawal(request: WithdrawMessageRequest) -> Result<Withdrawal, Error> {
    use withdraw_message_request::Target;
    let mut violations = Violations::new();
    violations.revision("source_revision", request.source_revision);
    let reason = violations.constant("reason", request.reason, |n| WithdrawReason::try_from(n).ok());
    let target = match violations.required("target", request.target) {
        Some(Target::Item(named)) => {
            let (source_id, external_id) = item(&mut violations, named);
            Some(WithdrawalTarget::Item { source_id, external_id })
        }
        Some(Target::MessageId(id)) => violations.uuid("message_id", &id).map(WithdrawalTarget::Message),
        None => None,
    };
    violations.finish()?;
    let target = target.ok_or_else(|| Error::invalid("target", "must be set"))?;
    Ok(Withdrawal { target, revision: request.source_revision, reason })
}

/// The message that a request names.
pub(super) fn target(request: GetMessageRequest) -> Result<Target, Error> {
    let mut violations = Violations::new();
    let target = match violations.required("target", request.target) {
        Some(get_message_request::Target::Item(named)) => {
            let (source_id, external_id) = item(&mut violations, named);
            Some(Target::Item { source_id, external_id })
        }
        Some(get_message_request::Target::MessageId(id)) => violations.uuid("message_id", &id).map(Target::Message),
        None => None,
    };
    violations.finish()?;
    target.ok_or_else(|| Error::invalid("target", "must be set"))
}

/// The versions that a request names.
pub(super) fn references(references: &[MessageReference]) -> Result<Vec<Reference>, Error> {
    let mut violations = Violations::new();
    let is_few = references.len() <= MOST_REFERENCES;
    violations.check(is_few, "references", format!("must be at most {MOST_REFERENCES}"));
    let mut found = Vec::with_capacity(references.len().min(MOST_REFERENCES));
    let mut wrong = Vec::new();
    for (index, reference) in references.iter().take(MOST_REFERENCES).enumerate() {
        match Uuid::try_parse(&reference.message_id) {
            Ok(message_id) => found.push(Reference { message_id, version: reference.version }),
            Err(_) => wrong.push(format!("references[{index}].message_id")),
        }
    }
    violations.wrong_elements("references", wrong, "must be a UUID");
    violations.finish()?;
    Ok(found)
}

/// The filter of a list of messages.
pub(super) fn message_filter(filter: ListMessagesFilter) -> Result<MessageFilter, Error> {
    let mut violations = Violations::new();
    if !filter.source_id.is_empty() {
        violations.code("filter.source_id", &filter.source_id);
    }
    let states = violations.constants("filter.states", &filter.states, |n| MessageState::try_from(n).ok());
    let author = AuthorKey::from_hex(&filter.author_key);
    let is_key = author.is_some() || filter.author_key.is_empty();
    violations.check(is_key, "filter.author_key", "must be the key of an author: 32 hexadecimal digits");
    violations.finish()?;
    Ok(MessageFilter {
        source_id: Some(filter.source_id).filter(|id| !id.is_empty()),
        states,
        received_from_us: filter.received_from_time.as_ref().map(to_micros),
        received_before_us: filter.received_before_time.as_ref().map(to_micros),
        author,
    })
}

/// The kinds that a list of sources is restricted to.
pub(super) fn source_kinds(kinds: &[i32]) -> Result<Vec<SourceKind>, Error> {
    let mut violations = Violations::new();
    let kinds = violations.constants("filter.kinds", kinds, |n| SourceKind::try_from(n).ok());
    violations.finish()?;
    Ok(kinds)
}

/// A source's code.
pub(super) fn source_id(source_id: &str) -> Result<(), Error> {
    let mut violations = Violations::new();
    violations.code("source_id", source_id);
    violations.finish()
}

/// Whose messages are to be erased, and why.
pub(super) fn erasure(request: EraseAuthorRequest, secret: &AuthorSecret) -> Result<(AuthorKey, EraseReason), Error> {
    use erase_author_request::Author;
    let mut violations = Violations::new();
    violations.request_id(&request.request_id);
    let reason = violations.constant("reason", request.reason, |n| EraseReason::try_from(n).ok());
    let author = match violations.required("author", request.author) {
        Some(Author::Reference(author)) => {
            violations.code("reference.source_id", &author.source_id);
            violations.filled("reference.author_external_id", &author.author_external_id, LONGEST_EXTERNAL_ID);
            Some(secret.key_of(&author.source_id, &author.author_external_id))
        }
        Some(Author::AuthorKey(digits)) => {
            let key = AuthorKey::from_hex(&digits);
            violations.check(key.is_some(), "author_key", "must be 32 hexadecimal digits");
            key
        }
        None => None,
    };
    violations.finish()?;
    let author = author.ok_or_else(|| Error::invalid("author", "must be set"))?;
    Ok((author, reason))
}

/// The source that a request registers.
pub(super) fn registration(request: RegisterSourceRequest) -> Result<Source, Error> {
    let mut violations = Violations::new();
    let v = &mut violations;
    v.request_id(&request.request_id);
    let source = v.required("source", request.source).unwrap_or_default();
    v.code("source.source_id", &source.source_id);
    let kind = v.constant("source.kind", source.kind, |n| SourceKind::try_from(n).ok());
    let regime = v.constant("source.regime", source.regime, |n| Regime::try_from(n).ok());
    v.at_most("source.title", &source.title, LONGEST_TITLE);
    v.check(!source.title.contains('\0'), "source.title", "must not hold the character U+0000");
    let is_place = source.default_place_id.is_empty() || source::is_place_code(&source.default_place_id);
    v.check(is_place, "source.default_place_id", "must be the code of a place");
    let own = &source.own_author_external_ids;
    let is_few = own.len() <= MOST_OWN_AUTHORS;
    v.check(is_few, "source.own_author_external_ids", format!("must be at most {MOST_OWN_AUTHORS}"));
    let is_id = |id: &str| (1..=LONGEST_EXTERNAL_ID).contains(&id.len()) && !id.contains('\0');
    let wrong = own.iter().take(MOST_OWN_AUTHORS).enumerate().filter(|(_, id)| !is_id(id));
    let wrong = wrong.map(|(index, _)| format!("source.own_author_external_ids[{index}]")).collect();
    let problem = format!("must have 1 to {LONGEST_EXTERNAL_ID} bytes and not hold the character U+0000");
    v.wrong_elements("source.own_author_external_ids", wrong, &problem);
    violations.finish()?;
    Ok(Source {
        id: source.source_id,
        kind,
        title: source.title,
        default_place: source.default_place_id,
        regime,
        own_authors: source.own_author_external_ids,
        channel_kinds: Vec::new(),
        expected_silence_hours: USUAL_SILENCE_HOURS,
    })
}

/// Both results, or what is wrong with both.
pub(super) fn both<A, B>(one: Result<A, Error>, other: Result<B, Error>) -> Result<(A, B), Error> {
    match (one, other) {
        (Err(Error::Invalid(mut violations)), Err(Error::Invalid(more))) => {
            violations.extend(more);
            Err(Error::Invalid(violations))
        }
        (one, other) => Ok((one?, other?)),
    }
}

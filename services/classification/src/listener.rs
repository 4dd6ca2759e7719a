//! What is heard from intake, and what it asks of us.
//!
//! A batch of entries is turned into commands outside any transaction: the texts are fetched at once, read and
//! classified on a thread that may be busy, and forgotten.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use async_trait::async_trait;
use otklik_chassis::{
    client::Channel,
    consumer::{Incoming, Prepared, Subscriber},
    error::Error,
    sized,
};
use otklik_proto::{
    EventType,
    intake::v1::{
        BatchGetMessagesRequest, GetMessageRequest, MessageErased, MessageReceived, MessageReference, MessageRejected,
        MessageRevised, MessageState, MessageText, MessageWithdrawn, TextStatus, get_message_request::Target,
        intake_service_client::IntakeServiceClient,
    },
};
use tonic::Code;
use uuid::Uuid;

use crate::{
    domain::life::{Finding, NotClassified},
    pack::Pack,
    store::{Arrival, Command},
    wire,
};

/// Most references of one `BatchGetMessages`.
const MOST_REFERENCES: usize = 1000;
/// Bytes of text that are classified where they arrive; more of it goes to a thread for long work.
const QUICK: usize = 4096;

/// Follows intake.
#[derive(Debug)]
pub struct Listener {
    pack: Arc<Pack>,
    intake: IntakeServiceClient<Channel>,
}

impl Listener {
    /// A listener that classifies by `pack` and asks intake through `channel`.
    pub fn new(pack: Arc<Pack>, channel: Channel) -> Self {
        Self { pack, intake: sized!(IntakeServiceClient::new(channel)) }
    }
}

/// An entry, as far as it matters here.
enum Heard {
    /// A version of a message, first or edited.
    Version(Box<Version>),
    Rejected(Uuid, u32),
    Gone(Uuid, u32, NotClassified),
    Broken(Error),
}

/// A version of a message before its text is known.
struct Version {
    /// What becomes an arrival; its finding is not known yet.
    arrival: Arrival,
    /// The place that intake suggests.
    place_hint: String,
}

#[async_trait]
impl Subscriber for Listener {
    type Command = Command;

    fn handles(&self) -> &'static [&'static str] {
        &[
            MessageReceived::TYPE,
            MessageRevised::TYPE,
            MessageRejected::TYPE,
            MessageWithdrawn::TYPE,
            MessageErased::TYPE,
        ]
    }

    async fn prepare(&self, entries: &[Incoming]) -> Result<Vec<Prepared<Command>>, Error> {
        let mut heard: Vec<Heard> = entries.iter().map(|entry| hear(entry).unwrap_or_else(Heard::Broken)).collect();
        let rejected = self.rejected(entries, &heard).await?;
        let mut versions = Vec::new();
        for (index, one) in heard.iter_mut().enumerate() {
            if let Heard::Version(version) = one {
                let arrival = &version.arrival;
                if !rejected.contains(&(arrival.message_id, arrival.version)) {
                    versions.push((
                        index,
                        arrival.message_id,
                        arrival.version,
                        std::mem::take(&mut version.place_hint),
                    ));
                }
            }
        }
        let texts = self.texts(&versions).await?;
        let mut findings = self.classify(versions, texts).await?;
        let prepared = heard.into_iter().enumerate().map(|(index, heard)| match heard {
            Heard::Broken(error) => Prepared::Refuse(error),
            Heard::Rejected(..) => Prepared::Skip,
            Heard::Gone(message_id, version, reason) => Prepared::Apply(Command::Go { message_id, version, reason }),
            Heard::Version(version) => match findings.remove(&index) {
                // Rejected: nothing that a citizen wrote to the authority.
                None => Prepared::Skip,
                Some(Ok(finding)) => Prepared::Apply(Command::Arrive(Box::new(Arrival { finding, ..version.arrival }))),
                Some(Err(error)) => Prepared::Refuse(error),
            },
        });
        Ok(prepared.collect())
    }
}

/// An entry's meaning.
fn hear(entry: &Incoming) -> Result<Heard, Error> {
    Ok(match entry.entry.r#type.as_str() {
        MessageReceived::TYPE => {
            let event: MessageReceived = entry.payload()?;
            let place_hint = event.origin.as_ref().map(|origin| origin.place_hint_id.clone()).unwrap_or_default();
            let arrival = Arrival {
                message_id: id(&event.message_id)?,
                version: event.version,
                origin: event.origin,
                published: wire::time_of(event.published_time.as_ref()),
                received: wire::time_of(event.received_time.as_ref()),
                finding: UNREAD,
            };
            Heard::Version(Box::new(Version { arrival, place_hint }))
        }
        MessageRevised::TYPE => {
            let event: MessageRevised = entry.payload()?;
            let place_hint = event.origin.as_ref().map(|origin| origin.place_hint_id.clone()).unwrap_or_default();
            let arrival = Arrival {
                message_id: id(&event.message_id)?,
                version: event.version,
                origin: event.origin,
                published: wire::time_of(event.published_time.as_ref()),
                received: wire::time_of(event.received_time.as_ref()),
                finding: UNREAD,
            };
            Heard::Version(Box::new(Version { arrival, place_hint }))
        }
        MessageRejected::TYPE => {
            let event: MessageRejected = entry.payload()?;
            Heard::Rejected(id(&event.message_id)?, event.version)
        }
        MessageWithdrawn::TYPE => {
            let event: MessageWithdrawn = entry.payload()?;
            Heard::Gone(id(&event.message_id)?, event.version, NotClassified::Withdrawn)
        }
        MessageErased::TYPE => {
            let event: MessageErased = entry.payload()?;
            Heard::Gone(id(&event.message_id)?, event.version, NotClassified::Erased)
        }
        other => return Err(Error::internal(anyhow::anyhow!("an entry of type {other} was not asked for"))),
    })
}

/// Stands for the finding until the text has been read.
const UNREAD: Finding = Finding::Nothing(NotClassified::Unreadable);

fn id(text: &str) -> Result<Uuid, Error> {
    text.parse().map_err(|_| Error::internal(anyhow::anyhow!("a message id is no UUID")))
}

impl Listener {
    /// The versions that intake rejected. It says so right after the version itself: of a version that is the last of
    /// its partition here, intake is asked whether that entry is still to come.
    async fn rejected(&self, entries: &[Incoming], heard: &[Heard]) -> Result<HashSet<(Uuid, u32)>, Error> {
        let mut rejected = HashSet::new();
        let mut last: HashMap<u32, Option<(Uuid, u32)>> = HashMap::new();
        for (entry, heard) in entries.iter().zip(heard) {
            let partition = entry.entry.position.as_ref().map_or(0, |position| position.partition);
            let version = match heard {
                Heard::Version(version) => Some((version.arrival.message_id, version.arrival.version)),
                Heard::Rejected(message, version) => {
                    rejected.insert((*message, *version));
                    None
                }
                Heard::Gone(..) | Heard::Broken(_) => None,
            };
            last.insert(partition, version);
        }
        for (message, version) in last.into_values().flatten() {
            if self.is_rejected(message, version).await? {
                rejected.insert((message, version));
            }
        }
        Ok(rejected)
    }

    async fn is_rejected(&self, message: Uuid, version: u32) -> Result<bool, Error> {
        let request = GetMessageRequest { target: Some(Target::MessageId(message.to_string())) };
        match self.intake.clone().get_message(request).await {
            Ok(response) => {
                let message = response.into_inner().message.unwrap_or_default();
                Ok(message.state() == MessageState::Rejected && message.version == version)
            }
            Err(status) if status.code() == Code::NotFound => Ok(false),
            Err(status) => Err(status.into()),
        }
    }

    /// The texts of the given versions, in their order.
    async fn texts(&self, versions: &[(usize, Uuid, u32, String)]) -> Result<Vec<MessageText>, Error> {
        let mut texts = Vec::with_capacity(versions.len());
        for chunk in versions.chunks(MOST_REFERENCES) {
            let reference = |(_, message, version, _): &(usize, Uuid, u32, String)| MessageReference {
                message_id: message.to_string(),
                version: *version,
            };
            let request = BatchGetMessagesRequest { references: chunk.iter().map(reference).collect() };
            let response = self.intake.clone().batch_get_messages(request).await?.into_inner();
            if response.messages.len() != chunk.len() {
                return Err(Error::internal(anyhow::anyhow!(
                    "intake answered {} texts for {} references",
                    response.messages.len(),
                    chunk.len()
                )));
            }
            texts.extend(response.messages);
        }
        Ok(texts)
    }

    /// What the texts hold, by the index of their entry.
    async fn classify(
        &self,
        versions: Vec<(usize, Uuid, u32, String)>,
        texts: Vec<MessageText>,
    ) -> Result<HashMap<usize, Result<Finding, Error>>, Error> {
        let length: usize = texts.iter().map(|text| text.text.len()).sum();
        let pack = self.pack.clone();
        let work = move || {
            let read = versions.into_iter().zip(texts);
            read.map(|((index, .., hint), text)| (index, find(&pack, &text, &hint))).collect()
        };
        if length <= QUICK {
            return Ok(work());
        }
        tokio::task::spawn_blocking(work).await.map_err(Error::internal)
    }
}

/// What a text holds.
fn find(pack: &Pack, text: &MessageText, place_hint: &str) -> Result<Finding, Error> {
    Ok(match text.status() {
        TextStatus::Text => match pack.classifier.classify(&text.text, place_hint) {
            questions if questions.is_empty() => Finding::Nothing(NotClassified::Unreadable),
            questions => Finding::Questions(questions),
        },
        TextStatus::Withdrawn => Finding::Nothing(NotClassified::Withdrawn),
        TextStatus::Erased => Finding::Nothing(NotClassified::Erased),
        TextStatus::NotFound | TextStatus::Unspecified => {
            return Err(Error::internal(anyhow::anyhow!("intake announced a version that it does not have")));
        }
    })
}

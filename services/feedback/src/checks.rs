//! What others must say before an answer goes out: the case's owner of its state, intake of the ways to its authors.
//!
//! Publications that wait are checked together, at once when nothing is on its way: two calls for all of them. A few such
//! rounds may be on their way at a time, because one that waits for its owner to catch up should not hold up the next.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use otklik_chassis::{client::Channel, error::Error, ledger::Ledger, run::Tasks, seen};
use otklik_proto::{
    assignment::v1::{BatchGetCasesRequest, Case, assignment_service_client::AssignmentServiceClient},
    intake::v1::{
        BatchGetMessagesRequest, MessageReference, MessageText, TextStatus, intake_service_client::IntakeServiceClient,
    },
};
use tokio::sync::{Mutex, mpsc, oneshot};
use tonic::{Request, Status, metadata::MetadataValue};
use uuid::Uuid;

use crate::{
    domain::delivery::Route,
    store::command::{Fate, Recipient, Standing},
};

/// Cases checked in one call at the most.
const MOST_CASES: usize = 256;
/// Messages asked for in one call at the most: the contract's limit.
const MOST_MESSAGES: usize = 1000;
/// Rounds on their way at the most.
const ROUNDS: usize = 4;
/// Publications that may wait to be checked.
const QUEUE: usize = 1024;

/// Checks publications. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Checks {
    asking: mpsc::Sender<Question>,
}

struct Question {
    case_id: Uuid,
    answer: oneshot::Sender<Result<Standing, Error>>,
}

impl Checks {
    /// Starts the tasks that ask the assignment service and intake.
    pub fn start(assignment: Channel, intake: Channel, ledger: Ledger, tasks: &Tasks) -> Self {
        let (asking, questions) = mpsc::channel(QUEUE);
        let others = Arc::new(Others { assignment, intake, ledger, questions: Mutex::new(questions) });
        for _ in 0..ROUNDS {
            let (others, token) = (others.clone(), tasks.token());
            tasks.spawn("publication-checks", async move {
                let _ = token.run_until_cancelled(others.answer_all()).await;
                Ok(())
            });
        }
        Self { asking }
    }

    /// Where the case stands now, and the ways to its authors.
    ///
    /// # Errors
    /// `NotFound` when the owner knows no such case; `Unavailable` when one of them can't be asked.
    pub async fn standing(&self, case_id: Uuid) -> Result<Standing, Error> {
        let stopping = || Error::unavailable("the service is stopping");
        let (answer, reply) = oneshot::channel();
        self.asking.send(Question { case_id, answer }).await.map_err(|_| stopping())?;
        reply.await.map_err(|_| stopping())?
    }
}

struct Others {
    assignment: Channel,
    intake: Channel,
    ledger: Ledger,
    questions: Mutex<mpsc::Receiver<Question>>,
}

impl Others {
    async fn answer_all(&self) {
        let mut waiting = Vec::with_capacity(MOST_CASES);
        loop {
            let received = self.questions.lock().await.recv_many(&mut waiting, MOST_CASES).await;
            if received == 0 {
                return;
            }
            // Who has gone needs no answer.
            waiting.retain(|question| !question.answer.is_closed());
            let ids: BTreeSet<Uuid> = waiting.iter().map(|question| question.case_id).collect();
            let found = if ids.is_empty() { Ok(HashMap::new()) } else { self.standings(ids).await };
            for Question { case_id, answer } in waiting.drain(..) {
                let standing = match &found {
                    Ok(found) => found.get(&case_id).cloned().unwrap_or_else(|| Err(Error::not_found("case", case_id))),
                    Err(error) => Err(error.clone()),
                };
                let _ = answer.send(standing);
            }
        }
    }

    async fn standings(&self, ids: BTreeSet<Uuid>) -> Result<HashMap<Uuid, Result<Standing, Error>>, Error> {
        let cases = self.cases(&ids).await?;
        let members = cases.iter().flat_map(|case| &case.members).map(|member| member.message_id.clone());
        let messages = self.messages(members.collect()).await?;
        cases.iter().map(|case| Ok((id(&case.case_id)?, standing(case, &messages)))).collect()
    }

    /// The cases as their owner has them, once it has seen all that feedback has said of them.
    async fn cases(&self, ids: &BTreeSet<Uuid>) -> Result<Vec<Case>, Error> {
        let client = otklik_chassis::sized!(AssignmentServiceClient::new(self.assignment.clone()));
        let asked = BatchGetCasesRequest { case_ids: ids.iter().map(Uuid::to_string).collect() };
        let after = self.newest(ids);
        let call = || {
            let mut client = client.clone();
            let mut request = Request::new(asked.clone());
            for value in &after {
                request.metadata_mut().append(seen::AFTER, value.clone());
            }
            async move { client.batch_get_cases(request).await }
        };
        let response =
            self.assignment.retry(call).await.map_err(|status| unanswered("the assignment service", &status))?;
        Ok(response.into_inner().cases)
    }

    /// The heads of the partitions that these cases' entries are in.
    fn newest(&self, ids: &BTreeSet<Uuid>) -> Vec<MetadataValue<tonic::metadata::Ascii>> {
        let heads = self.ledger.heads();
        let heads = heads.borrow();
        let partitions: BTreeSet<u32> = ids.iter().map(|id| self.ledger.partition_of(*id)).collect();
        let positions = partitions.into_iter().filter_map(|partition| {
            let head = heads.get(partition as usize).filter(|head| head.seq > 0)?;
            let position = self.ledger.position(partition, head.seq, head.hash.to_vec());
            MetadataValue::try_from(seen::after(self.ledger.service(), &position)).ok()
        });
        positions.collect()
    }

    async fn messages(&self, ids: BTreeSet<String>) -> Result<HashMap<String, MessageText>, Error> {
        let ids: Vec<String> = ids.into_iter().collect();
        let client = otklik_chassis::sized!(IntakeServiceClient::new(self.intake.clone()));
        let mut found = HashMap::with_capacity(ids.len());
        for chunk in ids.chunks(MOST_MESSAGES) {
            let references = chunk.iter().map(|id| MessageReference { message_id: id.clone(), version: 0 }).collect();
            let asked = Arc::new(BatchGetMessagesRequest { references });
            let call = || {
                let (mut client, request) = (client.clone(), BatchGetMessagesRequest::clone(&asked));
                async move { client.batch_get_messages(request).await }
            };
            let response = self.intake.retry(call).await.map_err(|status| unanswered("intake", &status))?;
            found.extend(
                response.into_inner().messages.into_iter().map(|message| (message.message_id.clone(), message)),
            );
        }
        Ok(found)
    }
}

/// Nothing can be published on a guess: whatever keeps another service from answering, the call may be repeated.
fn unanswered(who: &str, status: &Status) -> Error {
    tracing::warn!(code = ?status.code(), message = status.message(), "{who} could not be asked");
    Error::unavailable(format!("{who} could not be asked; nothing was published, repeat the call"))
}

fn standing(case: &Case, messages: &HashMap<String, MessageText>) -> Result<Standing, Error> {
    let mut recipients: Vec<Recipient> = Vec::with_capacity(case.members.len());
    let mut known = BTreeSet::new();
    for member in &case.members {
        // Several questions of one message may be in one case.
        if !known.insert(&member.message_id) {
            continue;
        }
        let message = messages.get(&member.message_id);
        let fate = match message.map(MessageText::status) {
            Some(TextStatus::Text) => None,
            Some(TextStatus::Withdrawn) => Some(Fate::Withdrawn),
            Some(TextStatus::Erased) => Some(Fate::Erased),
            Some(TextStatus::NotFound | TextStatus::Unspecified) | None => {
                return Err(Error::unavailable(format!(
                    "intake does not know message {} of the case",
                    member.message_id
                )));
            }
        };
        let route = message.and_then(|message| message.route.clone()).unwrap_or_default();
        if fate.is_none() && route.external_id.is_empty() {
            return Err(Error::unavailable(format!("intake knows no way back to message {}", member.message_id)));
        }
        recipients.push(Recipient {
            message_id: id(&member.message_id)?,
            route: Route {
                source_id: route.source_id,
                external_id: route.external_id,
                channel_kind: route.channel_kind,
            },
            fate,
        });
    }
    // In the order that they are read back in.
    recipients.sort_by_key(|recipient| recipient.message_id);
    Ok(Standing { state: case.state(), round: case.reopen_count, recipients })
}

fn id(text: &str) -> Result<Uuid, Error> {
    text.parse().map_err(|_| Error::internal(anyhow::anyhow!("another service gave an id that is no UUID")))
}

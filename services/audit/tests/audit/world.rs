//! A small world: four hand-made ledgers, a clock, and an audit that follows them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use otklik_audit::{Audit, settings::Settings};
use otklik_chassis::{
    clock::SimulatedClock,
    config::Config,
    id::{child_id, new_id},
    run::{Running, start},
    testing::TestDatabase,
};
use otklik_proto::{
    EventType,
    assignment::v1::{
        CaseAccepted, CaseAssigned, CaseClosed, CaseOpened, CaseResolved, CloseKind, Deadline, DeadlineKind, Outcome,
        WorkStarted,
    },
    audit::v1::{GetLifecycleRequest, get_lifecycle_request::Subject},
    audit::v1::{Lifecycle, audit_service_client::AuditServiceClient},
    classification::v1::{ClassifiedQuestion, Decision, MessageClassified, QuestionKind},
    feedback::v1::{AnswerApproved, AnswerDelivered, AnswerDrafted, AnswerKind, AnswerPublished, RatingRecorded},
    intake::v1::{MessageOrigin, MessageReceived},
    ledger::v1::{Actor, EntryHeader, GetHeadsRequest, ledger_service_client::LedgerServiceClient},
    time::from_micros,
};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use uuid::Uuid;

use crate::peers::{Ledger, Peer};

/// How long the tests wait for anything at the most.
pub const LONG: Duration = Duration::from_secs(60);
const MINUTE_US: i64 = 60_000_000;

/// The four ledgers.
pub struct World {
    pub ledgers: BTreeMap<&'static str, Ledger>,
    pub peers: BTreeMap<&'static str, Peer>,
    pub clock: SimulatedClock,
    /// Wednesday, 18 November 2020, 10:00 in Vladivostok.
    pub start_us: i64,
}

/// One life, as far as it has come.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    pub message: Uuid,
    pub case: Uuid,
    pub answer: Uuid,
    /// The last entry of each service.
    pub last: Uuid,
}

/// What a message is about.
#[derive(Debug, Clone, Copy)]
pub struct Matter {
    pub group: &'static str,
    pub topic: &'static str,
    pub place: &'static str,
    pub executor: &'static str,
    pub source: &'static str,
}

pub const ICE: Matter = Matter {
    group: "roads",
    topic: "roads.ice",
    place: "vladivostok",
    executor: "city-roads",
    source: "vk-primorye-gov",
};

impl World {
    pub async fn new() -> Self {
        let start: Timestamp = "2020-11-18T00:00:00Z".parse().unwrap();
        let mut world = Self {
            ledgers: BTreeMap::new(),
            peers: BTreeMap::new(),
            clock: SimulatedClock::new(start),
            start_us: start.as_microsecond(),
        };
        for service in ["intake", "classification", "assignment", "feedback"] {
            let ledger = Ledger::new(service);
            world.peers.insert(service, ledger.serve());
            world.ledgers.insert(service, ledger);
        }
        world
    }

    /// A moment, so many minutes after the start.
    pub fn at(&self, minutes: i64) -> Timestamp {
        Timestamp::from_microsecond(self.start_us + minutes * MINUTE_US).unwrap()
    }

    /// Writes an event into the ledger of its service and returns the entry's id.
    pub fn say<M: EventType>(
        &self,
        (kind, aggregate): (&str, Uuid),
        subjects: &[Uuid],
        cause: Option<Uuid>,
        minutes: i64,
        event: &M,
    ) -> Uuid {
        let service = M::TYPE.split('.').nth(1).unwrap();
        let id = new_id(self.at(minutes));
        let header = EntryHeader {
            entry_id: id.to_string(),
            aggregate_kind: kind.to_owned(),
            aggregate_id: aggregate.to_string(),
            subject_ids: subjects.iter().map(ToString::to_string).collect(),
            actor: Some(Actor { subject: format!("service:{service}"), role: "service".into() }),
            received_time: Some(from_micros(self.start_us)),
            recorded_time: Some(from_micros(self.at(minutes).as_microsecond())),
            cause_entry_id: cause.map(|id| id.to_string()).unwrap_or_default(),
            ..Default::default()
        };
        self.ledgers[service].append(&header, M::TYPE, event.encode_to_vec());
        id
    }

    /// A message is received, so many minutes after the start.
    pub fn receive(&self, matter: Matter, minutes: i64) -> (Uuid, Uuid) {
        let message = new_id(self.at(minutes));
        let time = Some(from_micros(self.at(minutes).as_microsecond()));
        let received = MessageReceived {
            message_id: message.to_string(),
            version: 1,
            origin: Some(MessageOrigin { source_id: matter.source.into(), ..Default::default() }),
            published_time: time,
            received_time: time,
            ..Default::default()
        };
        let entry = self.say(("message", message), &[message], None, minutes, &received);
        (message, entry)
    }

    /// A question of a message.
    pub fn question(message: Uuid, ordinal: u32, matter: Matter) -> ClassifiedQuestion {
        ClassifiedQuestion {
            question_id: child_id("question", message, ordinal).to_string(),
            ordinal,
            topic: matter.topic.into(),
            topic_group: matter.group.into(),
            kind: QuestionKind::Complaint.into(),
            place_ids: vec![matter.place.into(), "primorye".into()],
            decision: Decision::Auto.into(),
            ..Default::default()
        }
    }

    /// A message is received, classified, and its case is assigned.
    pub fn assign(&self, matter: Matter, minutes: i64) -> Told {
        let (message, received) = self.receive(matter, minutes);
        let question = Self::question(message, 1, matter);
        let classified = MessageClassified {
            message_id: message.to_string(),
            message_version: 1,
            questions: vec![question.clone()],
            ..Default::default()
        };
        let classified = self.say(("message", message), &[message], Some(received), minutes, &classified);
        let case = new_id(self.at(minutes));
        let opened = CaseOpened {
            case_id: case.to_string(),
            message_id: message.to_string(),
            question_id: question.question_id,
            topic: matter.topic.into(),
            topic_group: matter.group.into(),
            ..Default::default()
        };
        self.say(("case", case), &[message, case], Some(classified), minutes, &opened);
        let due = |kind: DeadlineKind, hours: i64| Deadline {
            kind: kind.into(),
            due_time: Some(from_micros(self.at(minutes + hours * 60).as_microsecond())),
            ..Default::default()
        };
        let assigned = CaseAssigned {
            case_id: case.to_string(),
            executor_id: matter.executor.into(),
            deadlines: vec![due(DeadlineKind::FirstResponse, 24), due(DeadlineKind::Resolution, 24 * 7)],
            ..Default::default()
        };
        let last = self.say(("case", case), &[message, case], Some(classified), minutes, &assigned);
        Told { message, case, answer: new_id(self.at(minutes)), last }
    }

    /// The case is worked on and answered so many minutes after the start; the answer reaches the author.
    pub fn answer(&self, mut told: Told, minutes: i64) -> Told {
        let Told { message, case, answer, .. } = told;
        let (case_id, answer_id) = (case.to_string(), answer.to_string());
        let of_case = ("case", case);
        let both = [message];
        let kind = i32::from(AnswerKind::Final);
        let outcome = i32::from(Outcome::Done);
        let accepted = CaseAccepted { case_id: case_id.clone(), ..Default::default() };
        self.say(of_case, &both, None, minutes - 3, &accepted);
        let started = WorkStarted { case_id: case_id.clone(), ..Default::default() };
        self.say(of_case, &both, None, minutes - 2, &started);
        let drafted = AnswerDrafted {
            answer_id: answer_id.clone(),
            case_id: case_id.clone(),
            kind,
            outcome,
            ..Default::default()
        };
        self.say(of_case, &both, None, minutes - 1, &drafted);
        let approved =
            AnswerApproved { answer_id: answer_id.clone(), case_id: case_id.clone(), kind, ..Default::default() };
        self.say(of_case, &both, None, minutes - 1, &approved);
        let published = AnswerPublished {
            answer_id: answer_id.clone(),
            case_id: case_id.clone(),
            kind,
            outcome,
            message_ids: vec![message.to_string()],
            ..Default::default()
        };
        let published = self.say(of_case, &both, None, minutes, &published);
        let delivered = AnswerDelivered {
            answer_id: answer_id.clone(),
            case_id: case_id.clone(),
            message_id: message.to_string(),
            kind,
            ..Default::default()
        };
        self.say(of_case, &both, None, minutes, &delivered);
        let resolved = CaseResolved {
            case_id,
            outcome,
            answer_id,
            rating_end_time: Some(from_micros(self.at(minutes + 7 * 24 * 60).as_microsecond())),
            ..Default::default()
        };
        told.last = self.say(of_case, &both, Some(published), minutes, &resolved);
        told
    }

    /// The author is satisfied, and the case is closed.
    pub fn close(&self, mut told: Told, minutes: i64) -> Told {
        let Told { message, case, answer, .. } = told;
        let rating = RatingRecorded {
            case_id: case.to_string(),
            message_id: message.to_string(),
            answer_id: answer.to_string(),
            score: 5,
            satisfied: true,
            ..Default::default()
        };
        let rated = self.say(("case", case), &[message], None, minutes, &rating);
        let closed = CaseClosed { case_id: case.to_string(), kind: CloseKind::Confirmed.into() };
        told.last = self.say(("case", case), &[message, case], Some(rated), minutes, &closed);
        told
    }

    /// Starts audit on a database.
    pub async fn audit(&self, database: &TestDatabase, traces: &str) -> Auditor {
        let mut config = Config::<Settings>::defaults("audit", 0);
        config.database_url = database.url.clone();
        config.data_dir = database.path().to_owned();
        config.server.lame_duck = Duration::ZERO;
        config.settings.traces_endpoint = traces.to_owned();
        for (service, peer) in &self.peers {
            config.peers.insert((*service).to_owned(), peer.uri.clone());
        }
        let running = start::<Audit>(config, Arc::new(self.clock.clone()), CancellationToken::new()).await.unwrap();
        let channel = Channel::from_shared(running.uri().to_owned()).unwrap().connect_lazy();
        Auditor { running, client: AuditServiceClient::new(channel.clone()), ledger: LedgerServiceClient::new(channel) }
    }
}

/// An audit that runs.
pub struct Auditor {
    running: Running,
    pub client: AuditServiceClient<Channel>,
    ledger: LedgerServiceClient<Channel>,
}

impl Auditor {
    /// Returns once everything in the ledgers of the world has been copied.
    pub async fn see(&mut self, world: &World) {
        let waiting = async {
            loop {
                let heads = self.ledger.get_heads(GetHeadsRequest {}).await.unwrap().into_inner();
                let seen = |service: &str| {
                    let seen = heads.seen.iter().find(|seen| seen.service == service);
                    seen.map_or(0, |seen| seen.positions.iter().map(|p| p.seq).sum::<u64>())
                };
                if world.ledgers.iter().all(|(service, ledger)| seen(service) == ledger.len() as u64) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LONG, waiting).await.expect("audit copies everything");
    }

    pub async fn of_message(&mut self, id: Uuid) -> Lifecycle {
        self.lifecycle(Subject::MessageId(id.to_string())).await
    }

    pub async fn of_case(&mut self, id: Uuid) -> Lifecycle {
        self.lifecycle(Subject::CaseId(id.to_string())).await
    }

    async fn lifecycle(&mut self, subject: Subject) -> Lifecycle {
        let request = GetLifecycleRequest { subject: Some(subject) };
        self.client.get_lifecycle(request).await.unwrap().into_inner().lifecycle.unwrap()
    }

    pub async fn stop(self) {
        self.running.shut_down();
        self.running.stopped().await.unwrap();
    }
}

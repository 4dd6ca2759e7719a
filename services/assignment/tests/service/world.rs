//! A real assignment service between three played neighbours, under a clock that the test moves.

use std::{sync::Arc, time::Duration};

use otklik_assignment::{Assignment, Settings};
use otklik_chassis::{
    clock::{SimulatedClock, Time as _},
    config::Config,
    id::{child_id, new_id},
    run::{self, Running},
    testing::TestDatabase,
};
use otklik_proto::{
    assignment::v1::{self as api, assignment_service_client::AssignmentServiceClient},
    classification::v1::{ClassifiedQuestion, Decision, MessageClassified, QuestionKind, Urgency},
    feedback::v1::{AnswerKind, AnswerPublished},
    intake::v1::{ChannelKind, MessageOrigin, Regime, SourceKind},
    ledger::v1::{Entry, EntryHeader, StreamEntriesRequest, ledger_service_client::LedgerServiceClient},
};
use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::{Request, transport::Channel};
use uuid::Uuid;

use crate::peer::{Peer, Times};

/// Thursday, 19 November 2020, 10:00 in Vladivostok: the first day of the ice storm.
pub const START: &str = "2020-11-19T00:00:00Z";
/// Longer than anything here takes, so that a fault ends a test.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct World {
    pub clock: SimulatedClock,
    pub classification: Peer,
    pub feedback: Peer,
    pub intake: Peer,
    pub database: TestDatabase,
    pub replicas: Vec<Running>,
    pub client: AssignmentServiceClient<Channel>,
    requests: std::cell::Cell<u32>,
}

impl World {
    pub async fn new(database: TestDatabase) -> Self {
        let clock = SimulatedClock::new(START.parse().unwrap());
        let peers = (Peer::start("classification").await, Peer::start("feedback").await, Peer::start("intake").await);
        let (classification, feedback, intake) = peers;
        let peers = [("classification", &classification), ("feedback", &feedback), ("intake", &intake)];
        let running = serve(&database, &clock, &peers).await;
        let client = connect(&running).await;
        let requests = std::cell::Cell::new(0);
        Self { clock, classification, feedback, intake, database, replicas: vec![running], client, requests }
    }

    /// Another replica on the same database.
    pub async fn join(&mut self) {
        let peers = [("classification", &self.classification), ("feedback", &self.feedback), ("intake", &self.intake)];
        let running = serve(&self.database, &self.clock, &peers).await;
        self.replicas.push(running);
    }

    /// Stops all replicas.
    pub async fn stop(&mut self) {
        for running in self.replicas.drain(..) {
            running.shut_down();
            running.stopped().await.unwrap();
        }
    }

    pub async fn restart(&mut self) {
        self.stop().await;
        self.join().await;
        self.client = connect(&self.replicas[0]).await;
    }

    pub fn now_us(&self) -> i64 {
        self.clock.now().as_microsecond()
    }

    pub fn pass(&self, hours: i64) {
        self.clock.advance_to(self.clock.now() + jiff::SignedDuration::from_hours(hours));
    }

    pub fn times(&self) -> Times {
        let now = self.now_us();
        Times { published_us: now - 60_000_000, received_us: now, recorded_us: now }
    }

    /// A request that is answered once everything written so far has been seen.
    pub fn informed<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        request.set_timeout(PATIENCE);
        for after in [&self.classification, &self.feedback, &self.intake].into_iter().filter_map(|peer| peer.after()) {
            request.metadata_mut().append("otklik-after", after.parse().unwrap());
        }
        request
    }

    pub fn request_id(&self) -> String {
        self.requests.set(self.requests.get() + 1);
        format!("request-{}", self.requests.get())
    }

    /// Has a message classified with these questions; returns its id.
    pub fn classify(&self, questions: Vec<ClassifiedQuestion>) -> Uuid {
        let message_id = new_id(self.clock.now());
        self.classify_version(message_id, 1, questions);
        message_id
    }

    pub fn classify_version(&self, message_id: Uuid, version: u32, mut questions: Vec<ClassifiedQuestion>) -> String {
        for (question, ordinal) in questions.iter_mut().zip(1..) {
            question.ordinal = ordinal;
            question.question_id = question_id(message_id, ordinal).to_string();
        }
        let event = MessageClassified {
            message_id: message_id.to_string(),
            message_version: version,
            questions,
            origin: Some(origin()),
            ..Default::default()
        };
        self.classification.write(message_id, &[message_id], self.times(), &event)
    }

    /// The cases that a message joined, the latest opened first.
    pub async fn cases_of(&self, message_id: Uuid) -> Vec<api::Case> {
        let filter = api::ListCasesFilter { message_id: message_id.to_string(), ..Default::default() };
        self.list(filter).await
    }

    pub async fn list(&self, filter: api::ListCasesFilter) -> Vec<api::Case> {
        let request =
            self.informed(api::ListCasesRequest { filter: Some(filter), page_size: 500, ..Default::default() });
        self.client.clone().list_cases(request).await.unwrap().into_inner().cases
    }

    /// The one case of a message with one question.
    pub async fn case_of(&self, message_id: Uuid) -> api::Case {
        let mut cases = self.cases_of(message_id).await;
        assert_eq!(cases.len(), 1, "{cases:?}");
        cases.remove(0)
    }

    pub async fn get(&self, case_id: &str) -> api::Case {
        let request = self.informed(api::GetCaseRequest { case_id: case_id.into() });
        self.client.clone().get_case(request).await.unwrap().into_inner().case.unwrap()
    }

    /// A case that an executor has begun to work on.
    pub async fn case_in_progress(&self) -> api::Case {
        let message_id = self.classify(vec![power_outage()]);
        let case_id = self.case_of(message_id).await.case_id;
        self.accept(&case_id).await.unwrap();
        let request = api::StartWorkRequest { request_id: self.request_id(), case_id, etag: String::new() };
        self.client.clone().start_work(request).await.unwrap().into_inner().case.unwrap()
    }

    pub async fn accept(&self, case_id: &str) -> Result<api::Case, tonic::Status> {
        let request =
            api::AcceptCaseRequest { request_id: self.request_id(), case_id: case_id.into(), etag: String::new() };
        Ok(self.client.clone().accept_case(request).await?.into_inner().case.unwrap())
    }

    /// Has feedback publish an answer; returns its id.
    pub fn publish(&self, case: &api::Case, kind: AnswerKind, outcome: api::Outcome) -> Uuid {
        let answer_id = new_id(self.clock.now());
        let event = AnswerPublished {
            answer_id: answer_id.to_string(),
            case_id: case.case_id.clone(),
            kind: kind.into(),
            outcome: outcome.into(),
            ..Default::default()
        };
        self.feedback.write(id(&case.case_id), &[message_of(case)], self.times(), &event);
        answer_id
    }

    /// A case whose final answer is out.
    pub async fn resolved_case(&self) -> api::Case {
        let case = self.case_in_progress().await;
        self.publish(&case, AnswerKind::Final, api::Outcome::Done);
        let case = self.get(&case.case_id).await;
        assert_eq!(case.state(), api::CaseState::Resolved);
        case
    }

    /// The service's own entries, as far as `enough` wants them.
    pub async fn entries_until(&self, enough: impl Fn(&[(EntryHeader, Entry)]) -> bool) -> Vec<(EntryHeader, Entry)> {
        let uri = self.replicas[0].uri().to_owned();
        let read = async {
            let mut client = LedgerServiceClient::connect(uri).await.unwrap();
            let mut stream = client.stream_entries(StreamEntriesRequest::default()).await.unwrap().into_inner();
            let mut all = Vec::new();
            while !enough(&all) {
                let response = stream.message().await.unwrap().expect("the stream has not grown old");
                all.extend(response.entries.into_iter().map(|e| (EntryHeader::decode(e.header.clone()).unwrap(), e)));
            }
            all
        };
        tokio::time::timeout(PATIENCE, read).await.expect("the entries never came")
    }

    /// The types of a case's entries, without the package, once there are `count` of them.
    pub async fn history(&self, case_id: &str, count: usize) -> Vec<String> {
        let of_case = |entries: &[(EntryHeader, Entry)]| -> Vec<String> {
            let own = entries.iter().filter(|(header, _)| header.aggregate_id == case_id);
            own.map(|(_, entry)| entry.r#type.rsplit('.').next().unwrap().to_owned()).collect()
        };
        of_case(&self.entries_until(|entries| of_case(entries).len() >= count).await)
    }
}

async fn serve(database: &TestDatabase, clock: &SimulatedClock, peers: &[(&str, &Peer)]) -> Running {
    let mut config: Config<Settings> = Config::defaults("assignment", 0);
    config.data_dir = database.path().to_owned();
    config.database_url.clone_from(&database.url);
    config.server.lame_duck = Duration::ZERO;
    for (name, peer) in peers {
        config.peers.insert((*name).to_owned(), peer.uri.clone());
    }
    run::start::<Assignment>(config, Arc::new(clock.clone()), CancellationToken::new()).await.unwrap()
}

async fn connect(running: &Running) -> AssignmentServiceClient<Channel> {
    AssignmentServiceClient::connect(running.uri().to_owned()).await.unwrap()
}

pub fn id(text: &str) -> Uuid {
    text.parse().unwrap()
}

pub fn message_of(case: &api::Case) -> Uuid {
    id(&case.members[0].message_id)
}

pub fn question_id(message_id: Uuid, ordinal: u32) -> Uuid {
    child_id("question", message_id, ordinal)
}

pub fn origin() -> MessageOrigin {
    MessageOrigin {
        source_id: "vk-primorye-gov".into(),
        source_kind: SourceKind::Page.into(),
        channel_kind: ChannelKind::Comment.into(),
        regime: Regime::OpenSourceMessage.into(),
        author_key: "k".into(),
        place_hint_id: String::new(),
    }
}

/// A question about a topic, in Vladivostok.
pub fn question(topic: &str) -> ClassifiedQuestion {
    ClassifiedQuestion {
        topic: topic.into(),
        topic_group: topic.split('.').next().unwrap().into(),
        kind: QuestionKind::Complaint.into(),
        urgency: Urgency::Normal.into(),
        place_ids: vec!["vladivostok".into()],
        confidence: 0.9,
        decision: Decision::Auto.into(),
        ..Default::default()
    }
}

/// The topic of the ice storm: the city's power grids have it.
pub fn power_outage() -> ClassifiedQuestion {
    question("housing-utilities.power-outage")
}

/// Runs a test on every database that can be had.
#[macro_export]
macro_rules! on_each_database {
    ($(async fn $name:ident($world:ident: $type:ty) $body:block)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            for database in otklik_chassis::testing::databases().await {
                eprintln!("{} on {}", stringify!($name), database.name);
                #[allow(unused_mut)]
                let mut $world = <$type>::new(database).await;
                $body
                $world.stop().await;
            }
        }
    )*};
}

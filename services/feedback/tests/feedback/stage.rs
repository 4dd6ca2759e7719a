//! The stage: the real service with everybody around it played, and what the tests do with it.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use otklik_chassis::{
    clock::{SimulatedClock, Time},
    config::Config,
    run::{self, Running, Service},
    testing::TestDatabase,
};
use otklik_feedback::{Feedback, settings::Settings};
use otklik_proto::{
    EventType,
    assignment::v1::assignment_service_server::AssignmentServiceServer,
    assignment::v1::{
        self as assignment, CaseAccepted, CaseAssigned, CaseMember, CaseOpened, CaseState, MessageJoined, Outcome,
    },
    channel::v1::channel_adapter_service_server::ChannelAdapterServiceServer,
    feedback::v1::{
        Answer, AnswerKind, ApproveAnswerRequest, Delivery, DraftAnswerRequest, ListDeliveriesFilter,
        ListDeliveriesRequest, PublishAnswerRequest, feedback_service_client::FeedbackServiceClient,
    },
    intake::v1::intake_service_server::IntakeServiceServer,
    ledger::v1::{
        Entry, EntryHeader, StreamEntriesRequest, ledger_service_client::LedgerServiceClient,
        ledger_service_server::LedgerServiceServer,
    },
};
use prost::Message;
use tokio::{net::TcpListener, sync::watch};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, service::Routes, transport};
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::peers::{Cases, Channel, Ledger, Messages, locked};

/// As long as anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The service and everybody around it.
pub struct Stage {
    pub database: TestDatabase,
    pub clock: SimulatedClock,
    pub cases: Cases,
    pub case_ledger: Ledger,
    pub messages: Messages,
    pub message_ledger: Ledger,
    pub channel: Channel,
    pub client: FeedbackServiceClient<transport::Channel>,
    /// Feedback's own ledger, as it grows.
    pub ledger: watch::Receiver<Vec<Entry>>,
    peers: Vec<(&'static str, String)>,
    running: Option<Running>,
    /// The place of the last entry of assignment and of intake that the test made.
    after: std::sync::Mutex<Vec<String>>,
}

/// Answers calls on a port of its own, as long as the test lives.
async fn serve(routes: Routes) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    tokio::spawn(transport::Server::builder().add_routes(routes).serve_with_incoming(TcpListenerStream::new(listener)));
    uri
}

impl Stage {
    pub async fn set(database: TestDatabase) -> Self {
        let mut stage = Self::bare(database).await;
        stage.start().await;
        stage
    }

    /// Everybody but the service.
    pub async fn bare(database: TestDatabase) -> Self {
        let (cases, messages, channel) = (Cases::default(), Messages::default(), Channel::default());
        let (case_ledger, message_ledger) = (Ledger::new("assignment"), Ledger::new("intake"));
        let assignment = Routes::new(AssignmentServiceServer::new(cases.clone()))
            .add_service(LedgerServiceServer::new(case_ledger.clone()));
        let intake = Routes::new(IntakeServiceServer::new(messages.clone()))
            .add_service(LedgerServiceServer::new(message_ledger.clone()));
        let peers = vec![
            ("assignment", serve(assignment).await),
            ("intake", serve(intake).await),
            ("channel", serve(Routes::new(ChannelAdapterServiceServer::new(channel.clone()))).await),
        ];
        let nowhere = transport::Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        Self {
            database,
            clock: SimulatedClock::new("2020-11-19T00:00:00Z".parse().unwrap()),
            cases,
            case_ledger,
            messages,
            message_ledger,
            channel,
            client: FeedbackServiceClient::new(nowhere),
            ledger: watch::channel(Vec::new()).1,
            peers,
            running: None,
            after: std::sync::Mutex::new(vec![String::new(); 2]),
        }
    }

    /// A replica of the service.
    pub async fn replica(&self, peers: &[&str]) -> Running {
        let mut config = Config::<Settings>::defaults(Feedback::NAME, 0);
        config.data_dir = self.database.path().to_owned();
        config.database_url = self.database.url.clone();
        config.server.lame_duck = Duration::from_millis(1);
        config.peers = self
            .peers
            .iter()
            .filter(|(name, _)| peers.contains(name))
            .map(|(name, uri)| ((*name).to_owned(), uri.clone()))
            .collect();
        run::start::<Feedback>(config, Arc::new(self.clock.clone()), CancellationToken::new()).await.unwrap()
    }

    pub async fn start(&mut self) {
        self.start_with(&["assignment", "intake", "channel"]).await;
    }

    pub async fn start_with(&mut self, peers: &[&str]) {
        let running = self.replica(peers).await;
        let channel = transport::Channel::from_shared(running.uri().to_owned()).unwrap().connect_lazy();
        self.client = FeedbackServiceClient::new(channel.clone());
        self.ledger = follow(channel);
        self.running = Some(running);
    }

    pub async fn stop(&mut self) {
        let running = self.running.take().unwrap();
        running.shut_down();
        running.stopped().await.unwrap();
    }

    /// A call by somebody who has heard of all that the others have said.
    pub fn by<T>(&self, who: &str, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("otklik-act-as", who.parse().unwrap());
        for after in locked(&self.after).iter().filter(|after| !after.is_empty()) {
            request.metadata_mut().append("otklik-after", after.parse().unwrap());
        }
        request
    }

    pub fn assignment_says<M: Message + prost::Name>(&self, case: Uuid, event: &M) {
        locked(&self.after)[0] = self.case_ledger.append("case", case, event);
    }

    pub fn intake_says<M: Message + prost::Name>(&self, message: Uuid, event: &M) {
        locked(&self.after)[1] = self.message_ledger.append("message", message, event);
    }

    /// A case of so many messages that its executor has accepted.
    pub fn accepted_case(&self, count: usize) -> (Uuid, Vec<Uuid>) {
        let (case, messages) = self.assigned_case(count);
        let case_id = case.to_string();
        self.assignment_says(case, &CaseAccepted { case_id, executor_id: "roads".into() });
        self.set_state(case, CaseState::Accepted, 0);
        (case, messages)
    }

    pub fn assigned_case(&self, count: usize) -> (Uuid, Vec<Uuid>) {
        let case = Uuid::now_v7();
        let messages: Vec<Uuid> = (0..count).map(|_| Uuid::now_v7()).collect();
        let case_id = case.to_string();
        let opened = CaseOpened {
            case_id: case_id.clone(),
            number: "2020-000007".into(),
            message_id: messages[0].to_string(),
            ..Default::default()
        };
        self.assignment_says(case, &opened);
        for message in &messages[1..] {
            let message_id = message.to_string();
            self.assignment_says(case, &MessageJoined { case_id: case_id.clone(), message_id, ..Default::default() });
        }
        let executor_id = "roads".to_owned();
        self.assignment_says(case, &CaseAssigned { case_id: case_id.clone(), executor_id, ..Default::default() });
        let members = messages.iter().map(|id| CaseMember { message_id: id.to_string(), ..Default::default() });
        let known = assignment::Case {
            case_id: case_id.clone(),
            state: CaseState::Assigned.into(),
            members: members.collect(),
            ..Default::default()
        };
        locked(&self.cases.known).insert(case_id, known);
        (case, messages)
    }

    /// What the assignment service answers when asked for the case.
    pub fn set_state(&self, case: Uuid, state: CaseState, reopen_count: u32) {
        let mut known = locked(&self.cases.known);
        let case = known.get_mut(&case.to_string()).unwrap();
        case.state = state.into();
        case.reopen_count = reopen_count;
    }

    pub fn final_draft(case: Uuid) -> DraftAnswerRequest {
        DraftAnswerRequest {
            request_id: Uuid::new_v4().to_string(),
            case_id: case.to_string(),
            kind: AnswerKind::Final.into(),
            outcome: Outcome::Done.into(),
            text: "Здравствуйте! Яма засыпана 18 ноября.".into(),
            ..Default::default()
        }
    }

    pub async fn draft(&self, request: DraftAnswerRequest) -> Result<Answer, Status> {
        let response = self.client.clone().draft_answer(self.by("anna;executor", request)).await?;
        Ok(response.into_inner().answer.unwrap())
    }

    pub async fn approve(&self, who: &str, answer: &Answer) -> Result<Answer, Status> {
        let request = ApproveAnswerRequest {
            request_id: Uuid::new_v4().to_string(),
            answer_id: answer.answer_id.clone(),
            etag: answer.etag.clone(),
        };
        let response = self.client.clone().approve_answer(self.by(who, request)).await?;
        Ok(response.into_inner().answer.unwrap())
    }

    pub async fn publish(&self, answer: &Answer) -> Result<Answer, Status> {
        let request = PublishAnswerRequest {
            request_id: Uuid::new_v4().to_string(),
            answer_id: answer.answer_id.clone(),
            ..Default::default()
        };
        let response = self.client.clone().publish_answer(self.by("anna;executor", request)).await?;
        Ok(response.into_inner().answer.unwrap())
    }

    /// A final answer that is approved.
    pub async fn approved(&self, case: Uuid) -> Answer {
        let answer = self.draft(Self::final_draft(case)).await.unwrap();
        self.approve("boris;approver", &answer).await.unwrap()
    }

    /// A final answer that is published.
    pub async fn published(&self, case: Uuid) -> Answer {
        self.publish(&self.approved(case).await).await.unwrap()
    }

    pub async fn deliveries(&self, answer: &Answer) -> Vec<Delivery> {
        let filter = ListDeliveriesFilter { answer_id: answer.answer_id.clone(), ..Default::default() };
        let request = ListDeliveriesRequest { filter: Some(filter), ..Default::default() };
        let response = self.client.clone().list_deliveries(self.by("vera;observer", request)).await.unwrap();
        response.into_inner().deliveries
    }

    /// Waits until the only delivery of the answer has been tried so many times and the last attempt is recorded.
    pub async fn settled(&self, answer: &Answer, attempts: u32) -> Delivery {
        let look = async {
            loop {
                let delivery = self.deliveries(answer).await.remove(0);
                if delivery.attempts == attempts {
                    return delivery;
                }
                // An attempt that is to come again makes no entry to wait for.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, look).await;
        found.unwrap_or_else(|_| panic!("{}: not tried {attempts} times", self.database.name))
    }

    /// Waits until the ledger of feedback holds so many entries of type `M`, and returns them.
    pub async fn told<M: EventType>(&self, count: usize) -> Vec<M> {
        let of_type = |entries: &[Entry]| -> Vec<M> {
            let wanted = entries.iter().filter(|entry| entry.r#type == M::TYPE);
            wanted.map(|entry| M::decode(entry.payload.clone()).unwrap()).collect()
        };
        let mut ledger = self.ledger.clone();
        let enough = ledger.wait_for(|entries| of_type(entries).len() >= count);
        let found = match tokio::time::timeout(PATIENCE, enough).await {
            Ok(entries) => of_type(&entries.unwrap()),
            Err(_) => panic!("{}: no {count} {} in time: {:?}", self.database.name, M::TYPE, self.types()),
        };
        assert_eq!(found.len(), count, "{}: {}", self.database.name, M::TYPE);
        found
    }

    /// The short names of all entries so far.
    pub fn types(&self) -> Vec<String> {
        let short = |entry: &Entry| entry.r#type.rsplit('.').next().unwrap_or_default().to_owned();
        self.ledger.borrow().iter().map(short).collect()
    }

    /// Waits until the channel has been sent so many deliveries, repeats included.
    pub async fn sent(&self, count: usize) -> Vec<otklik_proto::channel::v1::Delivery> {
        let mut sent = self.channel.sent.subscribe();
        let enough = tokio::time::timeout(PATIENCE, sent.wait_for(|sent| sent.len() >= count)).await;
        let found =
            enough.unwrap_or_else(|_| panic!("{}: no {count} deliveries sent", self.database.name)).unwrap().clone();
        assert_eq!(found.len(), count);
        found
    }

    pub fn advance(&self, by: SignedDuration) {
        self.clock.advance_to(self.clock.now() + by);
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// Follows the ledger of feedback.
fn follow(channel: transport::Channel) -> watch::Receiver<Vec<Entry>> {
    let (sender, receiver) = watch::channel(Vec::new());
    let reading = async move {
        let mut client = LedgerServiceClient::new(channel);
        let mut stream = client.stream_entries(StreamEntriesRequest::default()).await.unwrap().into_inner();
        while let Ok(Some(response)) = stream.message().await {
            sender.send_modify(|entries| entries.extend(response.entries));
        }
    };
    #[expect(clippy::disallowed_methods, reason = "it ends with the service's stream")]
    tokio::spawn(reading);
    receiver
}

/// The header of an entry.
pub fn header(entry: &Entry) -> EntryHeader {
    EntryHeader::decode(entry.header.clone()).unwrap()
}

/// Code, stable reason and description of a refusal.
pub fn refusal<T: std::fmt::Debug>(result: Result<T, Status>) -> (tonic::Code, String, String) {
    let status = result.unwrap_err();
    let reason = status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default();
    (status.code(), reason, status.message().to_owned())
}

//! A service of the test's own, and what tests say to it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use jiff::{SignedDuration, Timestamp};
use otklik_chassis::{
    clock::SimulatedClock,
    config::Config,
    run::{self, Running},
    testing::{self, TestDatabase},
};
use otklik_intake::Intake;
use otklik_proto::{
    intake::v1::{
        Author, ChannelKind, GetMessageRequest, GetSourceRequest, ItemKey, Message, SubmitMessageRequest,
        SubmitMessageResponse, WithdrawMessageRequest, WithdrawMessageResponse, WithdrawReason, get_message_request,
        intake_service_client::IntakeServiceClient, withdraw_message_request,
    },
    ledger::v1::{Entry, StreamEntriesRequest, ledger_service_client::LedgerServiceClient},
    time::from_micros,
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, transport::Channel};
use tonic_types::StatusExt;

/// A source of the shipped pack with comments and private messages.
pub const PAGE: &str = "vk-primorye-gov";

/// A running service with a client.
pub struct Service {
    pub client: IntakeServiceClient<Channel>,
    pub clock: SimulatedClock,
    running: Running,
}

/// Runs `test` against a fresh service on each database that can be had.
pub async fn on_each<F: Future<Output = ()>>(test: impl Fn(Service, Arc<TestDatabase>) -> F) {
    for database in testing::databases().await {
        let database = Arc::new(database);
        // The folder must outlive the test, whatever the test does with its handle.
        Box::pin(test(Service::start(&database).await, database.clone())).await;
    }
}

/// The moment at which the clocks of tests stand at first.
pub fn start_of_time() -> Timestamp {
    "2020-11-19T00:00:00Z".parse().unwrap()
}

impl Service {
    pub async fn start(database: &TestDatabase) -> Self {
        let mut config = Config::defaults("intake", 0);
        config.database_url = database.url.clone();
        config.data_dir = database.path().to_owned();
        let clock = SimulatedClock::new(start_of_time());
        let running =
            run::start::<Intake>(config, Arc::new(clock.clone()), CancellationToken::new()).await.expect("a start");
        let client = IntakeServiceClient::connect(running.uri().to_owned()).await.expect("a connection");
        Self { client, clock, running }
    }

    pub async fn stop(self) {
        drop(self.client);
        self.running.shut_down();
        self.running.stopped().await.expect("an orderly end");
    }

    /// An account of the administration at [`PAGE`].
    pub async fn own_author(&self) -> String {
        let request = GetSourceRequest { source_id: PAGE.into() };
        let source = self.client.clone().get_source(request).await.expect("a source").into_inner().source.unwrap();
        source.own_author_external_ids.into_iter().next().expect("an own author")
    }

    /// Moves the clock on.
    pub fn pass(&self, time: SignedDuration) {
        use otklik_chassis::clock::Time;
        self.clock.advance_to(self.clock.now() + time);
    }

    pub async fn submit(&self, request: SubmitMessageRequest) -> SubmitMessageResponse {
        self.client.clone().submit_message(request).await.expect("a submission").into_inner()
    }

    pub async fn refused(&self, request: SubmitMessageRequest) -> Status {
        self.client.clone().submit_message(request).await.expect_err("a refusal")
    }

    pub async fn withdraw(&self, external_id: &str, source_revision: u64) -> WithdrawMessageResponse {
        let item = ItemKey { source_id: PAGE.into(), external_id: external_id.into() };
        let request = WithdrawMessageRequest {
            target: Some(withdraw_message_request::Target::Item(item)),
            source_revision,
            reason: WithdrawReason::DeletedByAuthor.into(),
        };
        self.client.clone().withdraw_message(request).await.expect("a withdrawal").into_inner()
    }

    pub async fn message(&self, external_id: &str) -> Option<Message> {
        let item = ItemKey { source_id: PAGE.into(), external_id: external_id.into() };
        let request = GetMessageRequest { target: Some(get_message_request::Target::Item(item)) };
        match self.client.clone().get_message(request).await {
            Ok(response) => response.into_inner().message,
            Err(status) if status.code() == tonic::Code::NotFound => None,
            Err(status) => panic!("{status}"),
        }
    }

    /// All entries of the ledger so far.
    pub async fn entries(&self) -> Vec<Entry> {
        let mut ledger = LedgerServiceClient::connect(self.running.uri().to_owned()).await.expect("a connection");
        let mut stream = ledger.stream_entries(StreamEntriesRequest::default()).await.expect("a ledger").into_inner();
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let batch = stream.message().await.expect("entries").expect("a stream without end");
            entries.extend(batch.entries);
            let head = batch.heads.iter().map(|head| head.seq).max().unwrap_or(0);
            if entries.last().and_then(|entry| entry.position.as_ref()).map_or(0, |at| at.seq) >= head {
                return entries;
            }
        }
    }

    /// The short names of the types of entries that concern a message, in order.
    pub async fn life_of(&self, message_id: &str) -> Vec<String> {
        use prost::Message;
        let entries = self.entries().await;
        let of_it = entries.into_iter().filter(|entry| {
            let header = otklik_proto::ledger::v1::EntryHeader::decode(entry.header.clone()).expect("a header");
            header.subject_ids.iter().any(|id| id == message_id)
        });
        of_it.map(|entry| entry.r#type.trim_start_matches("otklik.intake.v1.").to_owned()).collect()
    }
}

/// A comment of an author of its own.
pub fn comment(external_id: &str, source_revision: u64, text: &str) -> SubmitMessageRequest {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let author = NEXT.fetch_add(1, Ordering::Relaxed);
    comment_by(&format!("id{author}"), external_id, source_revision, text)
}

/// A comment.
pub fn comment_by(author: &str, external_id: &str, source_revision: u64, text: &str) -> SubmitMessageRequest {
    SubmitMessageRequest {
        source_id: PAGE.into(),
        external_id: external_id.into(),
        source_revision,
        text: text.into(),
        author: Some(Author { external_id: author.into(), display_name: "Мария Неизвестная".into() }),
        channel_kind: ChannelKind::Comment.into(),
        published_time: Some(from_micros(start_of_time().as_microsecond() - 60_000_000)),
        ..Default::default()
    }
}

/// The fields that a status complains of.
pub fn fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let violations = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
    violations.into_iter().map(|violation| violation.field).collect()
}

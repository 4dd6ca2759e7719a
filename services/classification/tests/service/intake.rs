//! A stand-in for intake that keeps its contract: a real ledger, and texts by id and version.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex},
};

use async_trait::async_trait;
use otklik_chassis::{
    clock::SystemClock,
    config::Config,
    foundation::Foundation,
    id::new_id,
    lane::{Apply, Caller, Effect, Lane, Outcome, Tx},
    ledger::Draft,
    run::{self, Context, Parts, Running, Service},
    sized,
    storage::Failure,
    testing::{self, TestDatabase},
};
use otklik_proto::{
    intake::v1::{
        intake_service_server::{IntakeService, IntakeServiceServer},
        *,
    },
    ledger::v1::Position,
    time::from_micros,
};
use sea_orm_migration::{MigrationTrait, MigratorTrait};
use serde::{Deserialize, Serialize};
use tokio_stream::Empty;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, service::Routes};
use uuid::Uuid;

/// What the stand-in holds, and a hand on its lane.
#[derive(Default)]
pub struct Held {
    texts: Mutex<HashMap<(Uuid, u32), MessageText>>,
    rejected: Mutex<HashMap<Uuid, u32>>,
    lane: Mutex<Option<Lane<Writer>>>,
}

/// By the key in the settings: `build` can be handed nothing else.
static HELD: LazyLock<Mutex<HashMap<Uuid, Arc<Held>>>> = LazyLock::new(Mutex::default);

pub struct NoTables;

impl MigratorTrait for NoTables {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        Vec::new()
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    key: Uuid,
}

pub struct Writer;

#[async_trait]
impl Apply for Writer {
    type Command = Vec<Draft>;
    type Reply = ();

    async fn apply(&self, _: &Tx<'_>, commands: &[&Vec<Draft>]) -> Result<Vec<Outcome<()>>, Failure> {
        Ok(commands.iter().map(|drafts| Ok(Effect::new((), "", (*drafts).clone()))).collect())
    }
}

struct StandIn;

#[async_trait]
impl Service for StandIn {
    const NAME: &'static str = "intake";
    const DEFAULT_PORT: u16 = 0;
    type Settings = Settings;
    type Migrator = NoTables;

    async fn build(context: Context<Settings>) -> anyhow::Result<Parts> {
        let foundation = Foundation::lay(&context, Self::NAME, Writer).await?;
        let held = HELD.lock().unwrap()[&context.config.settings.key].clone();
        *held.lane.lock().unwrap() = Some(foundation.lane.clone());
        let routes =
            Routes::new(sized!(IntakeServiceServer::new(Api { held }))).add_service(foundation.ledger_api(&context));
        Ok(Parts { routes })
    }
}

struct Api {
    held: Arc<Held>,
}

#[tonic::async_trait]
impl IntakeService for Api {
    type SubmitMessagesStream = Empty<Result<SubmitMessagesResponse, Status>>;

    async fn batch_get_messages(
        &self,
        request: Request<BatchGetMessagesRequest>,
    ) -> Result<Response<BatchGetMessagesResponse>, Status> {
        let texts = self.held.texts.lock().unwrap();
        let find = |reference: MessageReference| {
            let key = (reference.message_id.parse().unwrap(), reference.version);
            let missing = MessageText { status: TextStatus::NotFound.into(), ..Default::default() };
            texts.get(&key).cloned().unwrap_or(missing)
        };
        let messages = request.into_inner().references.into_iter().map(find).collect();
        Ok(Response::new(BatchGetMessagesResponse { messages }))
    }

    async fn get_message(&self, request: Request<GetMessageRequest>) -> Result<Response<GetMessageResponse>, Status> {
        let Some(get_message_request::Target::MessageId(message_id)) = request.into_inner().target else {
            return Err(Status::invalid_argument("only by id"));
        };
        let rejected = self.held.rejected.lock().unwrap().get(&message_id.parse().unwrap()).copied();
        let state = if rejected.is_some() { MessageState::Rejected } else { MessageState::Received };
        let version = rejected.unwrap_or(1);
        let message = Message { message_id, version, state: state.into(), ..Default::default() };
        Ok(Response::new(GetMessageResponse { message: Some(message) }))
    }

    async fn submit_message(
        &self,
        _: Request<SubmitMessageRequest>,
    ) -> Result<Response<SubmitMessageResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn submit_messages(
        &self,
        _: Request<Streaming<SubmitMessagesRequest>>,
    ) -> Result<Response<Self::SubmitMessagesStream>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn withdraw_message(
        &self,
        _: Request<WithdrawMessageRequest>,
    ) -> Result<Response<WithdrawMessageResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn list_messages(&self, _: Request<ListMessagesRequest>) -> Result<Response<ListMessagesResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn erase_author(&self, _: Request<EraseAuthorRequest>) -> Result<Response<EraseAuthorResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn get_source(&self, _: Request<GetSourceRequest>) -> Result<Response<GetSourceResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn list_sources(&self, _: Request<ListSourcesRequest>) -> Result<Response<ListSourcesResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn register_source(
        &self,
        _: Request<RegisterSourceRequest>,
    ) -> Result<Response<RegisterSourceResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// A running stand-in.
pub struct Intake {
    held: Arc<Held>,
    pub running: Running,
    _database: TestDatabase,
}

impl Intake {
    pub async fn start() -> Self {
        let (database, held, key) = (testing::sqlite(), Arc::<Held>::default(), Uuid::new_v4());
        HELD.lock().unwrap().insert(key, held.clone());
        let mut config = Config::<Settings>::defaults("intake", 0);
        config.data_dir = database.path().to_owned();
        config.settings.key = key;
        let running = run::start::<StandIn>(config, Arc::new(SystemClock), CancellationToken::new()).await.unwrap();
        Self { held, running, _database: database }
    }

    /// Appends entries in one commit; where the last of them stands.
    pub async fn append(&self, entries: Vec<Draft>) -> Position {
        let lane = self.held.lane.lock().unwrap().clone().unwrap();
        lane.call(entries, Caller::service("intake")).await.unwrap().position.unwrap()
    }

    /// A new message of a source with this text, as `BatchGetMessages` has it.
    pub fn message(&self, text: &str) -> Uuid {
        let id = new_id("2020-11-19T00:00:00Z".parse().unwrap());
        self.text(id, 1, TextStatus::Text, text);
        id
    }

    pub fn text(&self, id: Uuid, version: u32, status: TextStatus, text: &str) {
        let status = status.into();
        let text = MessageText { message_id: id.to_string(), version, status, text: text.into(), ..Default::default() };
        self.held.texts.lock().unwrap().insert((id, version), text);
    }

    /// Has `GetMessage` say that the message was rejected at this version.
    pub fn reject(&self, id: Uuid, version: u32) {
        self.held.rejected.lock().unwrap().insert(id, version);
    }
}

fn origin(source: &str) -> Option<MessageOrigin> {
    let place_hint_id = "artyom".to_owned();
    Some(MessageOrigin { source_id: source.to_owned(), place_hint_id, ..Default::default() })
}

pub fn received(id: Uuid, source: &str) -> Draft {
    let event = MessageReceived {
        message_id: id.to_string(),
        version: 1,
        origin: origin(source),
        published_time: Some(from_micros(1_605_700_000_000_000)),
        received_time: Some(from_micros(1_605_700_001_000_000)),
        ..Default::default()
    };
    Draft::new("message", id, &event).concerning([id])
}

pub fn revised(id: Uuid, version: u32, source: &str) -> Draft {
    let event = MessageRevised { message_id: id.to_string(), version, origin: origin(source), ..Default::default() };
    Draft::new("message", id, &event).concerning([id])
}

pub fn rejected(id: Uuid) -> Draft {
    let reason = RejectionReason::OwnPost.into();
    Draft::new("message", id, &MessageRejected { message_id: id.to_string(), version: 1, reason })
}

pub fn withdrawn(id: Uuid, version: u32) -> Draft {
    let event = MessageWithdrawn { message_id: id.to_string(), version, source_revision: 9 };
    Draft::new("message", id, &event)
}

pub fn erased(id: Uuid) -> Draft {
    let event = MessageErased { message_id: id.to_string(), version: 1, author_key: "00".to_owned() };
    Draft::new("message", id, &event)
}

//! The service under test, and a client of it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use otklik_chassis::{
    client::{self, Channel},
    clock::SystemClock,
    config::{Client, Config},
    run::{self, Running},
    seen::{AFTER, after},
    testing::{self, TestDatabase},
};
use otklik_classification::{Classification as Service, Settings};
use otklik_proto::{
    EventType,
    classification::v1::{
        Classification, GetClassificationRequest, classification_service_client::ClassificationServiceClient,
    },
    ledger::v1::{
        Entry, EntryHeader, GetHeadsRequest, Position, StreamEntriesRequest, ledger_service_client::LedgerServiceClient,
    },
};
use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};
use uuid::Uuid;

use crate::intake::Intake;

/// How long anything may take here.
const PATIENCE: Duration = Duration::from_secs(20);

/// A service and what it stands on.
pub struct House {
    pub intake: Intake,
    pub client: ClassificationServiceClient<Channel>,
    ledger: LedgerServiceClient<Channel>,
    running: Running,
    database: TestDatabase,
}

impl House {
    /// One for each kind of database.
    pub async fn all() -> Vec<Self> {
        let mut houses = Vec::new();
        for database in testing::databases().await {
            let intake = Intake::start().await;
            let (running, channel) = start(&database, &intake).await;
            houses.push(Self {
                client: ClassificationServiceClient::new(channel.clone()),
                ledger: LedgerServiceClient::new(channel),
                intake,
                running,
                database,
            });
        }
        houses
    }

    /// Stops the service and starts it anew over the same database.
    pub async fn restart(self) -> Self {
        self.running.shut_down();
        self.running.stopped().await.unwrap();
        let (running, channel) = start(&self.database, &self.intake).await;
        Self {
            client: ClassificationServiceClient::new(channel.clone()),
            ledger: LedgerServiceClient::new(channel),
            intake: self.intake,
            running,
            database: self.database,
        }
    }

    /// The classification of a message once the service has seen intake's ledger up to `seen`.
    pub async fn get(&mut self, message: Uuid, seen: &Position) -> Result<Classification, Status> {
        let mut request = Request::new(GetClassificationRequest { message_id: message.to_string() });
        request.metadata_mut().insert(AFTER, after("intake", seen).parse().unwrap());
        request.set_timeout(PATIENCE);
        Ok(self.client.get_classification(request).await?.into_inner().classification.unwrap())
    }

    /// All entries of the service's ledger.
    pub async fn entries(&mut self) -> Vec<(EntryHeader, Entry)> {
        let heads = self.ledger.get_heads(GetHeadsRequest {}).await.unwrap().into_inner().heads;
        let expected: u64 = heads.iter().map(|head| head.seq).sum();
        let mut stream = self.ledger.stream_entries(StreamEntriesRequest::default()).await.unwrap().into_inner();
        let mut entries = Vec::new();
        while (entries.len() as u64) < expected {
            let response = tokio::time::timeout(PATIENCE, stream.message()).await.unwrap().unwrap().unwrap();
            entries.extend(response.entries);
        }
        entries.into_iter().map(|entry| (EntryHeader::decode(entry.header.clone()).unwrap(), entry)).collect()
    }

    /// The events of one type in the ledger.
    pub async fn events<E: EventType>(&mut self) -> Vec<(EntryHeader, E)> {
        let entries = self.entries().await;
        let of_type = entries.into_iter().filter(|(_, entry)| entry.r#type == E::TYPE);
        of_type.map(|(header, entry)| (header, E::decode(entry.payload).unwrap())).collect()
    }

    pub fn name(&self) -> &'static str {
        self.database.name
    }
}

async fn start(database: &TestDatabase, intake: &Intake) -> (Running, Channel) {
    let mut config = Config::<Settings>::defaults("classification", 0);
    config.data_dir = PathBuf::from(database.path());
    config.database_url.clone_from(&database.url);
    config.peers.insert("intake".to_owned(), intake.running.uri().to_owned());
    config.server.lame_duck = Duration::ZERO;
    let clock = Arc::new(SystemClock);
    let running = run::start::<Service>(config, clock, CancellationToken::new()).await.unwrap();
    let channel = client::connect(running.uri(), &Client::default()).unwrap();
    (running, channel)
}

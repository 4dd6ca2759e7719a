//! Ledgers as any reader of the contract sees them.

use std::{collections::BTreeMap, time::Duration};

use futures::StreamExt;
use otklik_proto::{
    EventType,
    ledger::v1::ledger_service_client::LedgerServiceClient,
    ledger::v1::{Entry, EntryHeader, GetHeadsRequest, GetHeadsResponse, Position, StreamEntriesRequest},
};
use prost::Message;
use tonic::transport::Channel;

/// The longest message that a reader takes; batches of entries are large.
const MESSAGE_LIMIT: usize = 64 << 20;

/// The ledger of one service.
pub struct Ledger {
    service: &'static str,
    entries: Vec<Entry>,
}

/// How far a service's ledger reaches, and how far it has read the others.
pub async fn heads(channel: Channel) -> Result<GetHeadsResponse, tonic::Status> {
    let mut request = tonic::Request::new(GetHeadsRequest {});
    request.set_timeout(Duration::from_secs(5));
    Ok(LedgerServiceClient::new(channel).get_heads(request).await?.into_inner())
}

/// Numbers of the last entries by partition, without partitions that are empty.
pub fn numbers(positions: &[Position]) -> BTreeMap<u32, u64> {
    positions.iter().filter(|position| position.seq > 0).map(|position| (position.partition, position.seq)).collect()
}

impl Ledger {
    /// Reads a ledger from its beginning to the head that it has now.
    pub async fn read(service: &'static str, channel: Channel) -> Self {
        let goal = numbers(&heads(channel.clone()).await.expect("the service answers").heads);
        let mut client = LedgerServiceClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT);
        let mut stream =
            client.stream_entries(StreamEntriesRequest::default()).await.expect("a ledger can be read").into_inner();
        let (mut entries, mut reached) = (Vec::new(), BTreeMap::new());
        while reached != goal {
            let response = stream.next().await.expect("the stream goes on").expect("the ledger can be read");
            entries.extend(response.entries);
            reached.extend(numbers(&response.scanned));
        }
        let ledger = Self { service, entries };
        ledger.check_chain();
        ledger
    }

    /// Every entry follows the one before it, none is missing, and none has the id of another.
    fn check_chain(&self) {
        let mut last: BTreeMap<u32, (u64, Vec<u8>)> = BTreeMap::new();
        let mut ids = std::collections::BTreeSet::new();
        for entry in &self.entries {
            let position = entry.position.as_ref().expect("an entry has a position");
            let (seq, hash) = last.entry(position.partition).or_insert_with(|| (0, vec![0; 32]));
            assert_eq!(position.seq, *seq + 1, "{}: entries are without gaps", self.service);
            assert_eq!(entry.previous_hash, *hash, "{}: entry {} follows the one before", self.service, position.seq);
            (*seq, *hash) = (position.seq, position.hash.to_vec());
            let header = EntryHeader::decode(entry.header.clone()).expect("a header can be read");
            assert!(ids.insert(header.entry_id), "{}: entry {} is there twice", self.service, position.seq);
        }
    }

    /// The events of one type, in order.
    pub fn events<E: EventType>(&self) -> Vec<E> {
        let chosen = self.entries.iter().filter(|entry| entry.r#type == E::TYPE);
        chosen.map(|entry| E::decode(entry.payload.clone()).expect("an event can be read")).collect()
    }
}

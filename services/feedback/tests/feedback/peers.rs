//! The others, played by the test: assignment and intake with a ledger each, and a channel that does as it is told.

use std::{
    collections::{BTreeMap, HashMap},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::{Stream, stream};
use otklik_proto::{
    assignment::v1::{self as assignment, assignment_service_server::AssignmentService},
    channel::v1::{
        DeliverRequest, DeliverResponse, Delivery, DeliveryOutcome, DeliveryResult,
        channel_adapter_service_server::ChannelAdapterService,
    },
    intake::v1::{self as intake, intake_service_server::IntakeService},
    ledger::v1::{
        Entry, EntryHeader, GetHeadsRequest, GetHeadsResponse, ListParkedRequest, ListParkedResponse, Position,
        RetryParkedRequest, RetryParkedResponse, StreamEntriesRequest, StreamEntriesResponse,
        ledger_service_server::LedgerService,
    },
};
use prost::{Message, Name};
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming, async_trait};
use uuid::Uuid;

type Answer<T> = Result<Response<T>, Status>;
type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

/// Methods that the test does not play, in the form that `async_trait` gives them: it does not look into macros.
macro_rules! unplayed {
    ($package:ident: $($method:ident: $request:ident -> $response:ident;)*) => {
        $(fn $method<'life0, 'async_trait>(
            &'life0 self,
            _: Request<$package::$request>,
        ) -> Pin<Box<dyn Future<Output = Answer<$package::$response>> + Send + 'async_trait>>
        where
            'life0: 'async_trait,
            Self: 'async_trait,
        {
            Box::pin(async { Err(Status::unimplemented("not played")) })
        })*
    };
}

/// A ledger of one partition.
#[derive(Clone)]
pub struct Ledger {
    service: &'static str,
    incarnation: Uuid,
    entries: Arc<watch::Sender<Vec<Entry>>>,
}

impl Ledger {
    pub fn new(service: &'static str) -> Self {
        Self { service, incarnation: Uuid::new_v4(), entries: Arc::new(watch::Sender::new(Vec::new())) }
    }

    /// Appends an entry; returns its place for `otklik-after`.
    pub fn append<M: Message + Name>(&self, kind: &str, aggregate: Uuid, event: &M) -> String {
        let header = EntryHeader {
            entry_id: Uuid::now_v7().to_string(),
            aggregate_kind: kind.into(),
            aggregate_id: aggregate.to_string(),
            ..Default::default()
        };
        let mut seq = 0;
        self.entries.send_modify(|entries| {
            seq = entries.len() as u64 + 1;
            entries.push(Entry {
                position: Some(self.position(seq)),
                header: header.encode_to_vec().into(),
                r#type: M::full_name(),
                payload: event.encode_to_vec().into(),
                previous_hash: vec![0; 32].into(),
            });
        });
        format!("{}/{}/0/{seq}", self.service, self.incarnation)
    }

    fn position(&self, seq: u64) -> Position {
        let hash = if seq == 0 { Vec::new() } else { vec![7; 32] };
        Position { incarnation: self.incarnation.to_string(), partition: 0, seq, hash: hash.into() }
    }
}

#[async_trait]
impl LedgerService for Ledger {
    type StreamEntriesStream = Streamed<StreamEntriesResponse>;

    async fn stream_entries(&self, request: Request<StreamEntriesRequest>) -> Answer<Self::StreamEntriesStream> {
        let request = request.into_inner();
        let after = request.after.first().map_or(0, |position| position.seq);
        let (ledger, skipped) = (self.clone(), request.skipped_types);
        let changes = self.entries.subscribe();
        let stream = stream::unfold((after, changes), move |(after, mut changes)| {
            let (ledger, skipped) = (ledger.clone(), skipped.clone());
            async move {
                let head = changes.wait_for(|entries| entries.len() as u64 > after).await.ok()?.len() as u64;
                let entries = changes.borrow()[after as usize..head as usize]
                    .iter()
                    .filter(|entry| !skipped.contains(&entry.r#type))
                    .cloned()
                    .collect();
                let position = ledger.position(head);
                let response =
                    StreamEntriesResponse { entries, heads: vec![position.clone()], scanned: vec![position] };
                Some((Ok(response), (head, changes)))
            }
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn get_heads(&self, _: Request<GetHeadsRequest>) -> Answer<GetHeadsResponse> {
        Err(Status::unimplemented("not played"))
    }

    async fn list_parked(&self, _: Request<ListParkedRequest>) -> Answer<ListParkedResponse> {
        Err(Status::unimplemented("not played"))
    }

    async fn retry_parked(&self, _: Request<RetryParkedRequest>) -> Answer<RetryParkedResponse> {
        Err(Status::unimplemented("not played"))
    }
}

/// The assignment service: cases as the test says they are.
#[derive(Clone, Default)]
pub struct Cases {
    pub known: Arc<Mutex<BTreeMap<String, assignment::Case>>>,
    pub down: Arc<AtomicBool>,
    /// The `otklik-after` values that came.
    pub after: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl AssignmentService for Cases {
    type WatchCasesStream = Streamed<assignment::WatchCasesResponse>;

    async fn batch_get_cases(
        &self,
        request: Request<assignment::BatchGetCasesRequest>,
    ) -> Answer<assignment::BatchGetCasesResponse> {
        if self.down.load(Ordering::SeqCst) {
            return Err(Status::unavailable("down"));
        }
        let after = request.metadata().get_all("otklik-after").iter().map(|value| value.to_str().unwrap().to_owned());
        locked(&self.after).extend(after);
        let known = locked(&self.known);
        let cases = request.into_inner().case_ids.iter().filter_map(|id| known.get(id).cloned()).collect();
        Ok(Response::new(assignment::BatchGetCasesResponse { cases }))
    }

    async fn get_case(&self, request: Request<assignment::GetCaseRequest>) -> Answer<assignment::GetCaseResponse> {
        let case = locked(&self.known).get(&request.get_ref().case_id).cloned();
        Ok(Response::new(assignment::GetCaseResponse { case }))
    }

    async fn watch_cases(&self, _: Request<assignment::WatchCasesRequest>) -> Answer<Self::WatchCasesStream> {
        Err(Status::unimplemented("not played"))
    }

    unplayed! { assignment:
        list_cases: ListCasesRequest -> ListCasesResponse;
        accept_case: AcceptCaseRequest -> AcceptCaseResponse;
        return_case: ReturnCaseRequest -> ReturnCaseResponse;
        reassign_case: ReassignCaseRequest -> ReassignCaseResponse;
        start_work: StartWorkRequest -> StartWorkResponse;
        suspend_case: SuspendCaseRequest -> SuspendCaseResponse;
        resume_case: ResumeCaseRequest -> ResumeCaseResponse;
        cancel_case: CancelCaseRequest -> CancelCaseResponse;
        list_executors: ListExecutorsRequest -> ListExecutorsResponse;
    }
}

/// Intake: every message is there unless the test says otherwise.
#[derive(Clone, Default)]
pub struct Messages {
    pub status: Arc<Mutex<HashMap<String, intake::TextStatus>>>,
}

#[async_trait]
impl IntakeService for Messages {
    type SubmitMessagesStream = Streamed<intake::SubmitMessagesResponse>;

    async fn batch_get_messages(
        &self,
        request: Request<intake::BatchGetMessagesRequest>,
    ) -> Answer<intake::BatchGetMessagesResponse> {
        let statuses = locked(&self.status);
        let text = |reference: intake::MessageReference| {
            let status = statuses.get(&reference.message_id).copied().unwrap_or(intake::TextStatus::Text);
            intake::MessageText {
                version: 1,
                status: status.into(),
                route: Some(intake::ReplyRoute {
                    source_id: "vk".into(),
                    external_id: format!("item-{}", reference.message_id),
                    channel_kind: intake::ChannelKind::Comment.into(),
                }),
                message_id: reference.message_id,
                ..Default::default()
            }
        };
        let messages = request.into_inner().references.into_iter().map(text).collect();
        Ok(Response::new(intake::BatchGetMessagesResponse { messages }))
    }

    async fn submit_messages(
        &self,
        _: Request<Streaming<intake::SubmitMessagesRequest>>,
    ) -> Answer<Self::SubmitMessagesStream> {
        Err(Status::unimplemented("not played"))
    }

    unplayed! { intake:
        submit_message: SubmitMessageRequest -> SubmitMessageResponse;
        withdraw_message: WithdrawMessageRequest -> WithdrawMessageResponse;
        get_message: GetMessageRequest -> GetMessageResponse;
        list_messages: ListMessagesRequest -> ListMessagesResponse;
        erase_author: EraseAuthorRequest -> EraseAuthorResponse;
        get_source: GetSourceRequest -> GetSourceResponse;
        list_sources: ListSourcesRequest -> ListSourcesResponse;
        register_source: RegisterSourceRequest -> RegisterSourceResponse;
    }
}

/// What the channel does with the n-th attempt (from 1) at a delivery.
pub type Mood = Box<dyn Fn(&Delivery, u32) -> (DeliveryOutcome, &'static str) + Send>;

/// A channel that does as it is told.
#[derive(Clone)]
pub struct Channel {
    pub mood: Arc<Mutex<Mood>>,
    pub down: Arc<AtomicBool>,
    /// Every delivery that was sent, as often as it was.
    pub sent: Arc<watch::Sender<Vec<Delivery>>>,
    /// How often a call failed because the channel was down.
    pub failures: Arc<watch::Sender<u32>>,
}

impl Default for Channel {
    fn default() -> Self {
        Self {
            mood: Arc::new(Mutex::new(Box::new(|_, _| (DeliveryOutcome::Delivered, "")))),
            down: Arc::default(),
            sent: Arc::default(),
            failures: Arc::default(),
        }
    }
}

impl Channel {
    pub fn set(&self, mood: impl Fn(&Delivery, u32) -> (DeliveryOutcome, &'static str) + Send + 'static) {
        *locked(&self.mood) = Box::new(mood);
    }
}

#[async_trait]
impl ChannelAdapterService for Channel {
    async fn deliver(&self, request: Request<DeliverRequest>) -> Answer<DeliverResponse> {
        if self.down.load(Ordering::SeqCst) {
            self.failures.send_modify(|failures| *failures += 1);
            return Err(Status::unavailable("down"));
        }
        let mood = locked(&self.mood);
        let mut results = Vec::new();
        for delivery in request.into_inner().deliveries {
            let mut attempt = 0;
            self.sent.send_modify(|sent| {
                sent.push(delivery.clone());
                attempt = sent.iter().filter(|earlier| earlier.delivery_id == delivery.delivery_id).count() as u32;
            });
            let (outcome, reason) = mood(&delivery, attempt);
            results.push(DeliveryResult {
                delivery_id: delivery.delivery_id,
                outcome: outcome.into(),
                reason: reason.into(),
                ..Default::default()
            });
        }
        Ok(Response::new(DeliverResponse { results }))
    }
}

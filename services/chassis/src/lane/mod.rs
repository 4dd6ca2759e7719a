//! The writer lane: one per process, for calls and consumption alike.
//!
//! It collects what waits and commits it together (group commit), at once when idle, without a timer.
//! Lock order inside the transaction: cursors by compare-and-set, business rows by key, head rows last.
//! No RPC is made inside a transaction.

mod caller;
mod commit;
mod cursor;
mod requests;

use std::{collections::HashSet, sync::Arc, time::Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use otklik_proto::ledger::v1::{Entry, Position};
use sea_orm::{DatabaseTransaction, DbBackend, Statement, Value};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::{
    clock::Clock,
    error::Error,
    ledger::{Draft, Ledger},
    run::Tasks,
    storage::{Failure, Storage},
};
pub use caller::Caller;
pub(crate) use caller::{RequestKey, service_actor};
pub(crate) use cursor::{Cursor, load_cursors};
pub(crate) use requests::forget_old as forget_old_requests;

/// What a service does with a set of commands: the one place where it writes.
#[async_trait]
pub trait Apply: Send + Sync + 'static {
    /// A change that a call, an entry of another service or the clock asks for.
    type Command: Send + Sync + 'static;
    /// What a call is told.
    type Reply: Send + 'static;

    /// Applies `commands` in order, as one set, and says of each what came of it: an [`Effect`] or a
    /// refusal. Refusals are decided before anything of that command is written, so one bad command
    /// never fails its neighbours. May be run again from the beginning after a conflict.
    ///
    /// # Errors
    /// Those of the database; then nothing of the set is kept.
    async fn apply(&self, tx: &Tx<'_>, commands: &[&Self::Command]) -> Result<Vec<Outcome<Self::Reply>>, Failure>;
}

/// What came of one command.
pub type Outcome<R> = Result<Effect<R>, Error>;

/// A command that was applied.
#[derive(Debug)]
pub struct Effect<R> {
    /// What the call is told.
    pub reply: R,
    /// What happened, for the ledger, in order.
    pub entries: Vec<Draft>,
    /// The resource a repeat of the call is answered from: its id, never its content.
    pub resource: String,
}

impl<R> Effect<R> {
    /// An effect with a reply and entries.
    pub fn new(reply: R, resource: impl ToString, entries: Vec<Draft>) -> Self {
        Self { reply, entries, resource: resource.to_string() }
    }
}

/// The transaction a set of commands is applied in.
#[derive(Debug, Clone, Copy)]
pub struct Tx<'a> {
    /// The open transaction.
    pub db: &'a DatabaseTransaction,
    /// The domain time of the whole set.
    pub now: Timestamp,
    /// Which database it is.
    pub backend: DbBackend,
}

impl Tx<'_> {
    /// A statement with placeholders `$1`, `$2`… for this database.
    pub fn statement<I: IntoIterator<Item = Value>>(&self, sql: &str, values: I) -> Statement {
        Statement::from_sql_and_values(self.backend, sql, values)
    }

    /// ` FOR UPDATE` where rows must be locked by name; SQLite's write transaction is alone anyway.
    pub fn for_update(&self) -> &'static str {
        if self.backend == DbBackend::Sqlite { "" } else { " FOR UPDATE" }
    }
}

/// What a call is told when its command has been committed.
#[derive(Debug)]
pub struct Done<R> {
    /// The reply; `None` when the request id had been used before: answer from `resource`.
    pub reply: Option<R>,
    /// The resource's id.
    pub resource: String,
    /// Position of the last entry that the command made; `None` when it changed nothing.
    pub position: Option<Position>,
}

/// One entry of another service, turned into a command outside the transaction.
pub(crate) struct Consumed<C> {
    pub entry: Entry,
    pub entry_id: String,
    pub subjects: Vec<Uuid>,
    pub command: Result<C, Error>,
}

/// A run of entries of one partition of one upstream, and the cursor's step over them.
pub(crate) struct Run<C> {
    /// The consuming service: the actor of what the entries cause.
    pub reader: &'static str,
    pub upstream: String,
    pub from: Cursor,
    pub to: Cursor,
    pub consumed: Vec<Consumed<C>>,
    /// A parked entry tried again: it moves no cursor and leaves the parking place when it succeeds.
    pub parked: bool,
}

/// What became of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stepped {
    /// The cursor stands at `to`; so many entries were parked.
    Advanced { parked: usize },
    /// Another replica was first: read the cursor again.
    Moved,
}

enum Item<A: Apply> {
    Call { command: A::Command, caller: Caller, reply: oneshot::Sender<Result<Done<A::Reply>, Error>> },
    Run { run: Run<A::Command>, reply: oneshot::Sender<Result<Stepped, Error>> },
}

impl<A: Apply> Item<A> {
    fn weight(&self) -> usize {
        match self {
            Self::Call { .. } => 1,
            Self::Run { run, .. } => run.consumed.len().max(1),
        }
    }

    fn request(&self) -> Option<&RequestKey> {
        match self {
            Self::Call { caller, .. } => caller.request.as_ref(),
            Self::Run { .. } => None,
        }
    }

    /// Work whose deadline has passed, or whose caller has gone, is not begun.
    fn is_stale(&self) -> bool {
        match self {
            Self::Call { caller, reply, .. } => {
                reply.is_closed() || caller.deadline.is_some_and(|d| d <= Instant::now())
            }
            Self::Run { reply, .. } => reply.is_closed(),
        }
    }

    fn refuse(self, error: Error) {
        // A caller that has gone needs no answer.
        match self {
            Self::Call { reply, .. } => drop(reply.send(Err(error))),
            Self::Run { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

/// Commands that may wait for the lane; past that callers wait to enter.
const QUEUE: usize = 4096;
/// Commands committed together at the most.
const MOST_COMMANDS: usize = 1024;

/// The entrance to a service's writer lane. Cheap to clone; the lane ends when its tasks are told to stop.
pub struct Lane<A: Apply> {
    sender: mpsc::Sender<Item<A>>,
    storage: Storage,
    ledger: Ledger,
}

impl<A: Apply> Clone for Lane<A> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), storage: self.storage.clone(), ledger: self.ledger.clone() }
    }
}

impl<A: Apply> Lane<A> {
    /// Starts the lane of a service as one of its tasks.
    pub fn start(service: A, storage: Storage, ledger: Ledger, clock: Clock, tasks: &Tasks) -> Self {
        let (sender, queue) = mpsc::channel(QUEUE);
        let lane = Self { sender, storage: storage.clone(), ledger: ledger.clone() };
        let worker = Worker { service: Arc::new(service), storage, ledger, clock };
        let stop = tasks.token();
        tasks.spawn("writer-lane", async move {
            worker.work(queue, stop).await;
            Ok(())
        });
        lane
    }

    /// The service's ledger.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The service's database.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Has `command` committed and returns once it is.
    ///
    /// # Errors
    /// The domain's refusal; [`Error::RequestIdReused`]; [`Error::DeadlineExceeded`];
    /// [`Error::Unavailable`] when the database is away or the service stops.
    pub async fn call(&self, command: A::Command, caller: Caller) -> Result<Done<A::Reply>, Error> {
        let (reply, answer) = oneshot::channel();
        self.enter(Item::Call { command, caller, reply }).await?;
        answer.await.map_err(|_| stopping())?
    }

    pub(crate) async fn step(&self, run: Run<A::Command>) -> Result<Stepped, Error> {
        let (reply, answer) = oneshot::channel();
        self.enter(Item::Run { run, reply }).await?;
        answer.await.map_err(|_| stopping())?
    }

    async fn enter(&self, item: Item<A>) -> Result<(), Error> {
        self.sender.send(item).await.map_err(|_| stopping())
    }
}

fn stopping() -> Error {
    Error::unavailable("the service is stopping")
}

struct Worker<A: Apply> {
    service: Arc<A>,
    storage: Storage,
    ledger: Ledger,
    clock: Clock,
}

impl<A: Apply> Worker<A> {
    async fn work(self, mut queue: mpsc::Receiver<Item<A>>, stop: tokio_util::sync::CancellationToken) {
        let mut waiting: Vec<Item<A>> = Vec::new();
        loop {
            if waiting.is_empty() {
                let next = tokio::select! {
                    biased;
                    next = queue.recv() => next,
                    // What was accepted before the stop has been received by now: nobody is left to ask.
                    () = stop.cancelled() => None,
                };
                let Some(item) = next else { return };
                waiting.push(item);
            }
            let mut weight: usize = waiting.iter().map(Item::weight).sum();
            while weight < MOST_COMMANDS {
                let Ok(item) = queue.try_recv() else { break };
                weight += item.weight();
                waiting.push(item);
            }
            let (batch, later) = take_batch(waiting);
            waiting = later;
            self.commit(batch).await;
        }
    }
}

/// Splits off what can be committed together: each request id once, so that a retry joins the call in
/// flight by waiting for the next batch and finding its answer stored.
fn take_batch<A: Apply>(waiting: Vec<Item<A>>) -> (Vec<Item<A>>, Vec<Item<A>>) {
    let mut keys: HashSet<(String, &'static str, String)> = HashSet::new();
    let mut batch = Vec::with_capacity(waiting.len());
    let mut later = Vec::new();
    for item in waiting {
        if item.is_stale() {
            item.refuse(Error::DeadlineExceeded);
            continue;
        }
        let fresh = item.request().is_none_or(|k| keys.insert((k.caller.clone(), k.method, k.id.clone())));
        if fresh { batch.push(item) } else { later.push(item) }
    }
    (batch, later)
}

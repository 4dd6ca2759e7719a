//! One batch, one transaction; and what to do when it does not go through.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    time::Duration,
};

use otklik_proto::ledger::v1::Actor;
use uuid::Uuid;

use super::{
    Apply, Caller, Consumed, Cursor, Done, Item, Run, Stepped, Tx, Worker, cursor,
    requests::{self, Earlier},
    service_actor,
};
use crate::{
    consumer::parking::{self, Parked},
    error::Error,
    ledger::Draft,
    storage::Failure,
};

/// How often a batch that ran into another transaction is run again before its callers are told.
const MOST_CONFLICTS: u32 = 20;

/// What of an item takes part in an attempt.
enum Part<'a, A: Apply> {
    Call(&'a A::Command, &'a Caller),
    Run(Segment<'a, A::Command>),
}

/// Some consecutive entries of a run, and the cursor's step over them.
struct Segment<'a, C> {
    run: &'a Run<C>,
    range: Range<usize>,
    from: Cursor,
    to: Cursor,
    /// The database refuses what these entries ask for: park them all.
    refused: Option<Error>,
}

enum Answer<R> {
    Call(Result<Done<R>, Error>),
    Run(Stepped),
}

/// Consumed entries that the domain refused, by part and index in the run.
type Refusals = HashMap<(usize, usize), Error>;

enum Attempt<R> {
    Committed(Vec<Answer<R>>),
    Refused(Refusals),
}

impl<A: Apply> Worker<A> {
    /// Commits a batch and answers everybody in it.
    pub(super) async fn commit(&self, batch: Vec<Item<A>>) {
        if batch.is_empty() {
            return;
        }
        let parts: Vec<Part<'_, A>> = batch.iter().map(whole).collect();
        match self.insist(&parts).await {
            Ok(answers) => {
                drop(parts);
                for (item, answer) in batch.into_iter().zip(answers) {
                    deliver(item, Ok(answer));
                }
            }
            Err(Failure::Refused(_)) => {
                drop(parts);
                for item in batch {
                    let answer = self.alone(&item).await;
                    deliver(item, answer);
                }
            }
            Err(failure) => {
                drop(parts);
                let error = Error::from(failure);
                for item in batch {
                    item.refuse(error.clone());
                }
            }
        }
    }

    /// An item whose batch the database refused, by itself: a call gets its own error, of a run the
    /// entry that is refused is parked and the others go on.
    async fn alone(&self, item: &Item<A>) -> Result<Answer<A::Reply>, Error> {
        let failure = match self.insist(&[whole(item)]).await {
            Ok(mut answers) => return Ok(answers.remove(0)),
            Err(failure) => failure,
        };
        let (Failure::Refused(_), Item::Run { run, .. }) = (&failure, item) else { return Err(failure.into()) };
        let mut parked = 0;
        let mut from = run.from.clone();
        for index in 0..run.consumed.len() {
            let to = if index + 1 == run.consumed.len() { run.to.clone() } else { cursor_at(run, index) };
            let mut segment = Segment { run, range: index..index + 1, from, to: to.clone(), refused: None };
            let answer = match self.insist(&[Part::Run(copy(&segment))]).await {
                Err(Failure::Refused(why)) => {
                    segment.refused = Some(Error::internal(Failure::Refused(why)));
                    self.insist(&[Part::Run(segment)]).await?
                }
                other => other?,
            };
            match answer.into_iter().next() {
                Some(Answer::Run(Stepped::Advanced { parked: n })) => parked += n,
                _ => return Ok(Answer::Run(Stepped::Moved)),
            }
            from = to;
        }
        Ok(Answer::Run(Stepped::Advanced { parked }))
    }

    /// Attempts until the parts are committed: again at once after a conflict, again without what the
    /// domain refused.
    async fn insist(&self, parts: &[Part<'_, A>]) -> Result<Vec<Answer<A::Reply>>, Failure> {
        let mut refusals = Refusals::new();
        let mut conflicts = 0;
        loop {
            match self.attempt(parts, &refusals).await {
                Ok(Attempt::Committed(answers)) => {
                    self.storage.set_healthy(true);
                    return Ok(answers);
                }
                Ok(Attempt::Refused(more)) => refusals.extend(more),
                Err(Failure::Conflict(_)) if conflicts < MOST_CONFLICTS => {
                    conflicts += 1;
                    let jitter = Duration::from_micros(rand::random_range(0..2_000u64 << conflicts.min(6)));
                    tokio::time::sleep(jitter).await;
                }
                Err(failure) => {
                    if matches!(failure, Failure::Outage(_)) {
                        self.storage.set_healthy(false);
                    }
                    return Err(failure);
                }
            }
        }
    }

    async fn attempt(&self, parts: &[Part<'_, A>], refusals: &Refusals) -> Result<Attempt<A::Reply>, Failure> {
        let db = self.storage.begin().await?;
        let tx = Tx { db: &db, now: self.clock.now(), backend: self.storage.backend() };
        let moved = advance_cursors(&tx, parts).await?;
        let calls: Vec<_> = parts.iter().enumerate().filter_map(request_of).collect();
        let earlier = requests::find(&tx, &calls).await?;

        let plan = plan(&tx, parts, &moved, &earlier, refusals).await?;
        let commands: Vec<&A::Command> = plan.todo.iter().map(|t| t.command).collect();
        let outcomes = if commands.is_empty() { Vec::new() } else { self.service.apply(&tx, &commands).await? };
        if outcomes.len() != commands.len() {
            return Err(Failure::Refused(format!("{} commands had {} outcomes", commands.len(), outcomes.len())));
        }

        let mut drafts: Vec<Draft> = Vec::new();
        let mut answers: HashMap<usize, Result<Done<A::Reply>, Error>> = HashMap::new();
        let mut last_draft: HashMap<usize, usize> = HashMap::new();
        let mut refused = Refusals::new();
        for (todo, outcome) in plan.todo.iter().zip(outcomes) {
            match (outcome, todo.entry) {
                (Ok(effect), _) => {
                    for mut draft in effect.entries {
                        draft.stamp(tx.now, &todo.actor, todo.cause, todo.traceparent);
                        drafts.push(draft);
                        last_draft.insert(todo.part, drafts.len() - 1);
                    }
                    let done = Done { reply: Some(effect.reply), resource: effect.resource, position: None };
                    answers.insert(todo.part, Ok(done));
                }
                (Err(error), Some(index)) => drop(refused.insert((todo.part, index), error)),
                (Err(error), None) => drop(answers.insert(todo.part, Err(error))),
            }
        }
        if !refused.is_empty() {
            db.rollback().await?;
            return Ok(Attempt::Refused(refused));
        }

        parking::store(&tx, &plan.parked).await?;
        parking::release(&tx, &plan.released).await?;
        let entries = self.ledger.append(&db, &drafts).await?;
        let mut made = Vec::new();
        for (part, answer) in &mut answers {
            let Ok(done) = answer else { continue };
            done.position = last_draft.get(part).and_then(|i| entries[*i].position.clone());
            if let Part::Call(_, Caller { request: Some(key), .. }) = &parts[*part] {
                let (partition, seq) = done.position.as_ref().map_or((0, 0), |p| (p.partition, p.seq));
                let row = Earlier { body_hash: key.body_hash.clone(), resource: done.resource.clone(), partition, seq };
                made.push((key, row));
            }
        }
        requests::store(&tx, made).await?;
        if plan.writes || !entries.is_empty() || !commands.is_empty() {
            db.commit().await?;
        } else {
            db.rollback().await?;
        }
        self.ledger.publish(&entries);

        let mut all = Vec::with_capacity(parts.len());
        for (index, part) in parts.iter().enumerate() {
            all.push(match part {
                Part::Run(_) if moved.contains(&index) => Answer::Run(Stepped::Moved),
                Part::Run(_) => {
                    let parked = plan.parked.iter().filter(|p| p.part == index).count();
                    Answer::Run(Stepped::Advanced { parked })
                }
                Part::Call(_, caller) => Answer::Call(match (answers.remove(&index), earlier.get(&index)) {
                    (Some(answer), _) => answer,
                    (None, Some(earlier)) => self.repeat(caller, earlier).await,
                    (None, None) => Err(Error::internal(anyhow::anyhow!("a command was lost by the lane"))),
                }),
            });
        }
        Ok(Attempt::Committed(all))
    }

    /// The answer to a request id that has been used before.
    async fn repeat(&self, caller: &Caller, earlier: &Earlier) -> Result<Done<A::Reply>, Error> {
        let key = caller.request.as_ref();
        if key.is_none_or(|k| k.body_hash != earlier.body_hash) {
            return Err(Error::RequestIdReused { request_id: key.map(|k| k.id.clone()).unwrap_or_default() });
        }
        let position = match earlier.seq {
            0 => None,
            seq => {
                let hash = self.ledger.hash_at(earlier.partition, seq).await?.unwrap_or_default();
                Some(self.ledger.position(earlier.partition, seq, hash.to_vec()))
            }
        };
        Ok(Done { reply: None, resource: earlier.resource.clone(), position })
    }
}

/// A command that is going to be applied.
struct Todo<'a, C> {
    part: usize,
    /// Index in its run; `None` for a call.
    entry: Option<usize>,
    command: &'a C,
    actor: Actor,
    cause: &'a str,
    traceparent: &'a str,
}

struct Plan<'a, C> {
    todo: Vec<Todo<'a, C>>,
    parked: Vec<Parked<'a>>,
    released: Vec<(&'a str, u32, u64)>,
    /// A cursor moves even if nothing else happens.
    writes: bool,
}

/// Decides what is applied, what is parked and what waits behind something parked.
async fn plan<'a, A: Apply>(
    tx: &Tx<'_>,
    parts: &'a [Part<'a, A>],
    moved: &HashSet<usize>,
    earlier: &HashMap<usize, Earlier>,
    refusals: &Refusals,
) -> Result<Plan<'a, A::Command>, Failure> {
    let mut plan = Plan { todo: Vec::new(), parked: Vec::new(), released: Vec::new(), writes: false };
    let mut blocked: HashMap<&str, HashSet<Uuid>> = HashMap::new();
    for (part, content) in parts.iter().enumerate() {
        match content {
            Part::Call(command, caller) if !earlier.contains_key(&part) => plan.todo.push(Todo {
                part,
                entry: None,
                command: *command,
                actor: caller.actor.clone(),
                cause: "",
                traceparent: &caller.traceparent,
            }),
            Part::Call(..) => {}
            Part::Run(_) if moved.contains(&part) => {}
            Part::Run(segment) => {
                plan.writes = true;
                let upstream = segment.run.upstream.as_str();
                if !blocked.contains_key(upstream) {
                    blocked.insert(upstream, parking::blocked(tx, upstream).await?);
                }
                let Some(blocked) = blocked.get_mut(upstream) else { continue };
                for index in segment.range.clone() {
                    let consumed = &segment.run.consumed[index];
                    let refusal = segment.refused.as_ref().or_else(|| refusals.get(&(part, index)));
                    plan_entry(&mut plan, blocked, part, index, segment.run, consumed, refusal);
                }
            }
        }
    }
    Ok(plan)
}

fn plan_entry<'a, C>(
    plan: &mut Plan<'a, C>,
    blocked: &mut HashSet<Uuid>,
    part: usize,
    index: usize,
    run: &'a Run<C>,
    consumed: &'a Consumed<C>,
    refusal: Option<&Error>,
) {
    let upstream = run.upstream.as_str();
    // A parked entry that is tried again does not wait behind itself.
    let behind = !run.parked && consumed.subjects.iter().any(|id| blocked.contains(id));
    let refusal = refusal.or(consumed.command.as_ref().err());
    if !behind
        && refusal.is_none()
        && let Ok(command) = &consumed.command
    {
        if run.parked
            && let Some(p) = &consumed.entry.position
        {
            plan.released.push((upstream, p.partition, p.seq));
        }
        plan.todo.push(Todo {
            part,
            entry: Some(index),
            command,
            actor: service_actor(run.reader),
            cause: &consumed.entry_id,
            traceparent: "",
        });
        return;
    }
    let error = if behind { None } else { refusal.cloned() };
    if let Some(error) = &error {
        tracing::error!(upstream, entry = consumed.entry_id, %error, "an entry can't be applied and is parked");
    }
    blocked.extend(&consumed.subjects);
    plan.parked.push(Parked { part, upstream, entry: &consumed.entry, subjects: &consumed.subjects, error });
}

async fn advance_cursors<A: Apply>(tx: &Tx<'_>, parts: &[Part<'_, A>]) -> Result<HashSet<usize>, Failure> {
    let mut runs: Vec<(usize, &Segment<'_, A::Command>)> = parts
        .iter()
        .enumerate()
        .filter_map(|(i, part)| match part {
            Part::Run(segment) if !segment.run.parked => Some((i, segment)),
            _ => None,
        })
        .collect();
    // The same order in every replica, or they deadlock.
    runs.sort_by(|(_, a), (_, b)| (&a.run.upstream, a.to.partition).cmp(&(&b.run.upstream, b.to.partition)));
    let mut moved = HashSet::new();
    for (index, segment) in runs {
        if !cursor::advance(tx, &segment.run.upstream, &segment.from, &segment.to).await? {
            moved.insert(index);
        }
    }
    Ok(moved)
}

fn whole<A: Apply>(item: &Item<A>) -> Part<'_, A> {
    match item {
        Item::Call { command, caller, .. } => Part::Call(command, caller),
        Item::Run { run, .. } => Part::Run(Segment {
            run,
            range: 0..run.consumed.len(),
            from: run.from.clone(),
            to: run.to.clone(),
            refused: None,
        }),
    }
}

fn copy<'a, C>(segment: &Segment<'a, C>) -> Segment<'a, C> {
    Segment {
        run: segment.run,
        range: segment.range.clone(),
        from: segment.from.clone(),
        to: segment.to.clone(),
        refused: segment.refused.clone(),
    }
}

fn cursor_at<C>(run: &Run<C>, index: usize) -> Cursor {
    let position = run.consumed[index].entry.position.as_ref();
    Cursor {
        incarnation: run.to.incarnation,
        partition: run.to.partition,
        seq: position.map_or(0, |p| p.seq),
        hash: position.map(|p| p.hash.to_vec()).unwrap_or_default(),
    }
}

fn request_of<'a, A: Apply>((index, part): (usize, &Part<'a, A>)) -> Option<(usize, &'a super::RequestKey)> {
    match part {
        Part::Call(_, caller) => caller.request.as_ref().map(|key| (index, key)),
        Part::Run(_) => None,
    }
}

fn deliver<A: Apply>(item: Item<A>, answer: Result<Answer<A::Reply>, Error>) {
    // A caller that has gone needs no answer; what it asked for has been committed.
    match (item, answer) {
        (Item::Call { reply, .. }, Ok(Answer::Call(answer))) => drop(reply.send(answer)),
        (Item::Run { reply, .. }, Ok(Answer::Run(stepped))) => drop(reply.send(Ok(stepped))),
        (item, Err(error)) => item.refuse(error),
        (item, Ok(_)) => item.refuse(Error::internal(anyhow::anyhow!("the lane mixed up its answers"))),
    }
}

//! The lane: group commit, request ids, refusals and parking, on both databases.

use std::sync::Arc;

use async_trait::async_trait;
use otklik_chassis::{
    clock::SystemClock,
    error::Error,
    id::new_id,
    lane::{Apply, Caller, Effect, Lane, Outcome, Tx},
    ledger::{self, Draft, Ledger},
    run::Tasks,
    storage::{Failure, rows},
    testing::{self, TestDatabase},
};
use otklik_proto::intake::v1::MessageReceived;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::replica::Tables;

struct Numbers;

/// Writes a number; odd ones are refused, and 1000 is what the database refuses.
#[async_trait]
impl Apply for Numbers {
    type Command = i64;
    type Reply = i64;

    async fn apply(&self, tx: &Tx<'_>, commands: &[&i64]) -> Result<Vec<Outcome<i64>>, Failure> {
        let mut outcomes = Vec::new();
        let mut written = Vec::new();
        for number in commands {
            if **number % 2 == 1 {
                outcomes.push(Err(Error::Precondition {
                    reason: "ODD",
                    subject: format!("number/{number}"),
                    description: format!("{number} is odd; even numbers are allowed"),
                }));
                continue;
            }
            let id = new_id(tx.now);
            // A NULL where none may be.
            let version: sea_orm::Value =
                if **number == 1000 { sea_orm::Value::BigInt(None) } else { (**number).into() };
            written.push([0i64.into(), (**number).into(), id.into(), version]);
            let payload = MessageReceived { message_id: id.to_string(), ..Default::default() };
            outcomes.push(Ok(Effect::new(**number, number, vec![Draft::new("message", id, &payload)])));
        }
        let tail = "ON CONFLICT DO NOTHING";
        rows::insert(tx.db, "consumed", ["partition", "seq", "aggregate", "version"], written, tail).await?;
        Ok(outcomes)
    }
}

async fn lane(database: &TestDatabase, tasks: &Tasks) -> Lane<Numbers> {
    let storage = database.open("lane").await;
    storage.migrate::<Tables>().await.unwrap();
    let ledger = Ledger::open("channel", storage.clone(), 1).await.unwrap();
    Lane::start(Numbers, storage, ledger, Arc::new(SystemClock), tasks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_call_does_not_fail_its_neighbours() {
    for database in testing::databases().await {
        let tasks = Tasks::new("test");
        let lane = lane(&database, &tasks).await;
        let mut calls = JoinSet::new();
        for n in [2, 3, 4, 1000, 5, 6, 8, 7, 10] {
            let lane = lane.clone();
            calls.spawn(async move { (n, lane.call(n, Caller::service("test")).await) });
        }
        for (n, answer) in calls.join_all().await {
            match answer {
                Ok(done) => assert!(n % 2 == 0 && n != 1000 && done.position.is_some()),
                Err(Error::Precondition { .. }) => assert_eq!(n % 2, 1),
                Err(Error::Internal(_)) => assert_eq!(n, 1000),
                Err(other) => panic!("{}: {n}: {other}", database.name),
            }
        }
        let verified = ledger::verify(lane.storage()).await.unwrap();
        assert_eq!(verified[0].seq, 5, "{}", database.name);
        assert_eq!(verified[0].broken, None);
        tasks.token().cancel();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_name_the_entry_that_was_written() {
    for database in testing::databases().await {
        let tasks = Tasks::new("test");
        let lane = lane(&database, &tasks).await;
        let done = lane.call(2, Caller::service("test")).await.unwrap();
        let position = done.position.unwrap();
        lane.ledger().check(&position).await.unwrap();
        let entries = lane.ledger().read(0, 0, 10).await.unwrap();
        assert_eq!(entries[0].position.as_ref().unwrap(), &position);
        assert_ne!(Uuid::nil(), lane.ledger().incarnation());
        tasks.token().cancel();
    }
}

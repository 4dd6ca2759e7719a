//! Replicas that write at the same moment: transactions that overlap, on PostgreSQL. (SQLite has one writer.)

use std::{sync::Arc, time::Duration};

use otklik_assignment::{
    domain::{
        case::{Classified, Question, Subject},
        pack::Pack,
    },
    store::{
        Migrator,
        query::{self, Filter},
        writer::{Command, Writer},
    },
    timers::Alarm,
};
use otklik_chassis::{
    id::new_id,
    lane::{Apply as _, Tx},
    storage::Storage,
};
use otklik_proto::assignment::v1::CaseState;
use uuid::Uuid;

use crate::world::{START, origin, power_outage, question_id};

/// Applies one command in a transaction of its own and commits when `release` says so.
async fn apply(storage: Storage, command: Command, release: impl Future<Output = ()>) {
    let writer = Writer::new(Arc::new(Pack::load(None).unwrap()), Arc::new(Alarm::default()));
    let db = storage.begin().await.unwrap();
    let tx = Tx { db: &db, now: START.parse().unwrap(), backend: storage.backend() };
    for outcome in writer.apply(&tx, &[&command]).await.unwrap() {
        outcome.unwrap();
    }
    release.await;
    db.commit().await.unwrap();
}

fn classified(message_id: Uuid) -> Command {
    Command::Classified(Box::new(Classified {
        message_id,
        message_version: 1,
        origin: origin(),
        published_us: None,
        received_us: None,
        questions: vec![Question { id: question_id(message_id, 1), subject: Subject::new(power_outage(), "") }],
    }))
}

#[tokio::test]
async fn overlapping_transactions_miss_no_withdrawal_and_give_no_number_twice() {
    let Some(database) = otklik_chassis::testing::postgres().await else { return };
    let storage = database.open("assignment").await;
    storage.migrate::<Migrator>().await.unwrap();
    for withdrawn_first in [true, false] {
        let message_id = new_id(START.parse().unwrap());
        let withdrawn = Command::Withdrawn { message_id, at_us: 1 };
        let (first, second) =
            if withdrawn_first { (withdrawn, classified(message_id)) } else { (classified(message_id), withdrawn) };
        let (applied, has_applied) = tokio::sync::oneshot::channel();
        let second = async {
            has_applied.await.unwrap();
            apply(storage.clone(), second, async {}).await;
        };
        tokio::pin!(second);
        // The first one holds its transaction open until the second has done what it can without it.
        let patience = Duration::from_millis(300);
        let first = apply(storage.clone(), first, async {
            applied.send(()).unwrap();
            let _ = tokio::time::timeout(patience, &mut second).await.map(|()| panic!("the second did not wait"));
        });
        first.await;
        second.await;
        let filter = Filter { message_id: Some(message_id), ..Filter::default() };
        let found = query::list(&storage, &filter, None, 10).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].case.state, CaseState::Cancelled, "withdrawn first: {withdrawn_first}");
    }
    let (one, other) = (new_id(START.parse().unwrap()), new_id(START.parse().unwrap()));
    tokio::join!(
        apply(storage.clone(), classified(one), tokio::task::yield_now()),
        apply(storage.clone(), classified(other), tokio::task::yield_now()),
    );
    let mut numbers: Vec<_> = query::list(&storage, &Filter::default(), None, 10)
        .await
        .unwrap()
        .iter()
        .map(|found| found.case.number)
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 4);
}

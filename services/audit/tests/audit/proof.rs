//! Verification: what was altered after it was copied is found and named.

use otklik_chassis::testing::{self, TestDatabase};
use otklik_proto::audit::v1::{
    GetStatisticsRequest, LedgerVerification, StatisticsDimension, VerificationFailure, VerifyLedgersRequest,
};
use sea_orm::{ConnectionTrait, Value};
use tonic::Code;

use crate::{
    peers::Ledger,
    world::{Auditor, ICE, World},
};

async fn verify(audit: &mut Auditor, services: &[&str]) -> (bool, Vec<LedgerVerification>) {
    let request = VerifyLedgersRequest { services: services.iter().map(ToString::to_string).collect() };
    let response = audit.client.verify_ledgers(request).await.unwrap().into_inner();
    (response.intact, response.verifications)
}

/// Alters what audit has stored, behind its back.
async fn tamper(database: &TestDatabase, sql: &str, values: Vec<Value>) {
    let storage = database.open("audit").await;
    let tx = storage.begin().await.unwrap();
    let changed = tx.execute_raw(storage.statement(sql, values)).await.unwrap().rows_affected();
    tx.commit().await.unwrap();
    storage.close().await;
    assert_eq!(changed, 1, "{sql}");
}

async fn body(database: &TestDatabase, service: &str) -> (i64, Vec<u8>) {
    let storage = database.open("audit").await;
    let sql = "SELECT number, body FROM segments WHERE service = $1 AND first_seq = 1";
    let row = storage.reader().query_one_raw(storage.statement(sql, [service.into()])).await.unwrap().unwrap();
    let found = (row.try_get_by_index(0).unwrap(), row.try_get_by_index(1).unwrap());
    storage.close().await;
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_copies_verify_and_agree_with_the_services() {
    for database in testing::databases().await {
        let mut world = World::new().await;
        for minutes in 0..40 {
            world.close(world.answer(world.assign(ICE, minutes), 100 + minutes), 200 + minutes);
        }
        let mut audit = world.audit(&database, "").await;
        audit.see(&world).await;
        let (intact, verifications) = verify(&mut audit, &[]).await;
        assert!(intact, "{verifications:?}");
        for verification in &verifications {
            let ledger = &world.ledgers[verification.service.as_str()];
            assert_eq!(verification.verified_seq, ledger.len() as u64);
            assert_eq!(verification.head_seq, Some(ledger.len() as u64));
            assert_eq!(verification.incarnation, ledger.incarnation.to_string());
            assert_eq!(verification.detail, "");
        }
        assert_eq!(verifications.len(), 4);

        world.peers.remove("classification");
        let (intact, verifications) = verify(&mut audit, &["classification", "intake"]).await;
        assert!(intact);
        let services: Vec<&str> = verifications.iter().map(|v| v.service.as_str()).collect();
        assert_eq!(services, ["intake", "classification"]);
        assert_eq!(verifications[1].head_seq, None);
        assert!(verifications[1].detail.contains("could not be asked"), "{}", verifications[1].detail);

        let request = VerifyLedgersRequest { services: vec!["weather".into()] };
        assert_eq!(audit.client.verify_ledgers(request).await.unwrap_err().code(), Code::InvalidArgument);
        audit.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tampered_entry_is_named() {
    for database in testing::databases().await {
        let world = World::new().await;
        let told: Vec<_> = (0..5).map(|minutes| world.assign(ICE, minutes)).collect();
        let mut audit = world.audit(&database, "").await;
        audit.see(&world).await;

        // The third reception is made out to be of another source.
        let (number, mut bytes) = body(&database, "intake").await;
        let places: Vec<usize> = bytes
            .windows(ICE.source.len())
            .enumerate()
            .filter(|(_, w)| *w == ICE.source.as_bytes())
            .map(|(i, _)| i)
            .collect();
        bytes[places[2]] ^= 1;
        tamper(&database, "UPDATE segments SET body = $1 WHERE number = $2", vec![bytes.into(), number.into()]).await;

        let (intact, verifications) = verify(&mut audit, &[]).await;
        assert!(!intact);
        let broken: Vec<_> = verifications.iter().filter(|verification| !verification.intact).collect();
        assert_eq!(broken.len(), 1, "{}", database.name);
        assert_eq!((broken[0].service.as_str(), broken[0].partition), ("intake", 0));
        assert_eq!((broken[0].failed_seq, broken[0].verified_seq), (3, 2));
        assert_eq!(broken[0].failure(), VerificationFailure::HashMismatch);
        let life = audit.of_message(told[2].message).await;
        assert!(!life.verified);
        assert!(life.problems.iter().any(|problem| problem.service == "intake"));
        assert!(audit.of_message(told[1].message).await.verified);
        audit.stop().await;
    }
}

#[tokio::test]
async fn what_is_missing_or_unlinked_is_named() {
    let world = World::new().await;
    for minutes in 0..40 {
        world.assign(ICE, minutes);
    }
    let database = testing::sqlite();
    let mut audit = world.audit(&database, "").await;
    audit.see(&world).await;
    tamper(&database, "DELETE FROM segments WHERE service = 'intake' AND first_seq = 1", vec![]).await;
    let hash = vec![7u8; 32];
    tamper(
        &database,
        "UPDATE segments SET previous_hash = $1 WHERE service = 'classification' AND first_seq = 33",
        vec![hash.into()],
    )
    .await;
    // The end of a copy goes with its numbers; what had been consumed still tells.
    tamper(
        &database,
        "DELETE FROM segments WHERE number = (SELECT number FROM segments WHERE service = 'assignment' ORDER BY first_seq DESC LIMIT 1)",
        vec![],
    )
    .await;
    let (intact, verifications) = verify(&mut audit, &[]).await;
    assert!(!intact);
    let of = |service: &str| verifications.iter().find(|v| v.service == service).unwrap();
    assert_eq!((of("intake").failure(), of("intake").failed_seq), (VerificationFailure::Gap, 1));
    assert_eq!(
        (of("classification").failure(), of("classification").failed_seq),
        (VerificationFailure::ChainBroken, 33)
    );
    let assignment = of("assignment");
    assert_eq!(assignment.failure(), VerificationFailure::Gap);
    assert_eq!(assignment.failed_seq, assignment.verified_seq + 1);
    assert!(of("feedback").intact);
    audit.stop().await;
}

#[tokio::test]
async fn a_service_with_another_ledger_is_found_out() {
    let mut world = World::new().await;
    world.assign(ICE, 0);
    let database = testing::sqlite();
    let mut audit = world.audit(&database, "").await;
    audit.see(&world).await;
    audit.stop().await;

    // Restored from a backup: the same incarnation, other entries; and made anew.
    let mut restored = Ledger::new("intake");
    restored.incarnation = world.ledgers["intake"].incarnation;
    world.peers.insert("intake", restored.serve());
    world.ledgers.insert("intake", restored);
    world.receive(ICE, 1);
    world.receive(ICE, 2);
    let anew = Ledger::new("assignment");
    world.peers.insert("assignment", anew.serve());

    let mut audit = world.audit(&database, "").await;
    let (intact, verifications) = verify(&mut audit, &["intake", "assignment"]).await;
    assert!(!intact);
    for verification in verifications {
        assert_eq!(verification.failure(), VerificationFailure::Forked, "{verification:?}");
    }
    audit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_a_database_without_losing_or_doubling_anything() {
    let Some(database) = testing::postgres().await else { return };
    let world = World::new().await;
    let mut first = world.audit(&database, "").await;
    let mut second = world.audit(&database, "").await;
    let mut told = Vec::new();
    for minutes in 0..200 {
        told.push(world.close(world.answer(world.assign(ICE, minutes), 100 + minutes), 200 + minutes));
        if minutes % 20 == 0 {
            // So that both come to copy.
            tokio::task::yield_now().await;
            first.see(&world).await;
        }
    }
    first.see(&world).await;
    let request = GetStatisticsRequest { dimension: StatisticsDimension::State.into(), ..Default::default() };
    for audit in [&mut first, &mut second] {
        let (intact, verifications) = verify(audit, &[]).await;
        assert!(intact, "{verifications:?}");
        assert!(verifications.iter().all(|v| v.verified_seq == world.ledgers[v.service.as_str()].len() as u64));
        let figures = audit.client.get_statistics(request.clone()).await.unwrap().into_inner();
        assert_eq!((figures.message_count, figures.case_count), (200, 200));
        assert_eq!(
            figures.state_counts.iter().map(|s| (s.state.as_str(), s.count)).collect::<Vec<_>>(),
            [("RATED", 200)]
        );
        for one in &told[..10] {
            assert_eq!(audit.of_message(one.message).await.steps.len(), 13);
        }
    }
    first.stop().await;
    second.stop().await;
}

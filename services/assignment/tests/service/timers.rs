//! What the clock itself does, once, whoever looks.

use otklik_proto::{
    EventType as _,
    assignment::v1::{CaseClosed, CaseState, CloseKind},
};
use prost::Message as _;

use crate::{on_each_database, world::World};

on_each_database! {
    async fn a_rating_window_ends_in_silence_once(world: World) {
        if world.database.name == "postgres" {
            world.join().await;
        }
        let mut cases = Vec::new();
        for _ in 0..20 {
            cases.push(world.resolved_case().await.case_id);
        }
        world.pass(7 * 24 - 1);
        assert_eq!(world.get(&cases[0]).await.state(), CaseState::Resolved);
        world.pass(2);
        let closed = |entries: &[(otklik_proto::ledger::v1::EntryHeader, otklik_proto::ledger::v1::Entry)]| {
            entries.iter().filter(|(_, entry)| entry.r#type == CaseClosed::TYPE).count()
        };
        let entries = world.entries_until(|entries| closed(entries) >= cases.len()).await;
        for case_id in &cases {
            let case = world.get(case_id).await;
            assert_eq!((case.state(), case.reopen_count), (CaseState::ClosedUnrated, 0));
        }
        let (header, entry) = entries.last().unwrap();
        assert_eq!(CaseClosed::decode(entry.payload.clone()).unwrap().kind(), CloseKind::Unrated);
        assert_eq!(header.actor.as_ref().unwrap().subject, "service:assignment");
        world.restart().await;
        world.pass(24);
        // One more case brings the entries up to date: had a window ended twice, it would show before.
        let last = world.resolved_case().await;
        let all = world.entries_until(|entries| entries.iter().filter(|(h, _)| h.aggregate_id == last.case_id).count() >= 5).await;
        assert_eq!(closed(&all), cases.len());
    }

    async fn a_window_that_ended_while_the_service_was_down_is_caught_up(world: World) {
        let case = world.resolved_case().await;
        world.stop().await;
        world.pass(30 * 24);
        world.restart().await;
        assert_eq!(world.history(&case.case_id, 6).await[5], "CaseClosed");
        assert_eq!(world.get(&case.case_id).await.state(), CaseState::ClosedUnrated);
    }
}

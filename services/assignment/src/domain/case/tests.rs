use std::sync::LazyLock;

use otklik_proto::{
    assignment::v1::{CancelReason, CaseAction, ReopenReason, ReturnReason},
    feedback::v1::AnswerKind,
    intake::v1::MessageOrigin,
};
use proptest::prelude::*;

use super::*;
use crate::domain::{calendar::HOUR_US, state::TRANSITIONS};

static PACK: LazyLock<Pack> = LazyLock::new(|| Pack::load(None).unwrap());

/// Thursday, 19 November 2020, 10:00 in Vladivostok.
const START_US: i64 = 1_605_744_000_000_000;

fn subject(topic: &str, urgency: Urgency) -> Subject {
    Subject {
        topic: topic.into(),
        topic_group: topic.split('.').next().unwrap().into(),
        kind: QuestionKind::Complaint,
        urgency,
        place_ids: vec!["vladivostok".into()],
    }
}

fn message(regime: Regime) -> Classified {
    Classified {
        message_id: Uuid::from_u128(1),
        message_version: 1,
        origin: MessageOrigin { regime: regime.into(), source_kind: SourceKind::Page.into(), ..Default::default() },
        published_us: Some(START_US - HOUR_US),
        received_us: Some(START_US),
        questions: Vec::new(),
    }
}

fn open(regime: Regime) -> (Case, Vec<Member>) {
    let question =
        Question { id: Uuid::from_u128(2), subject: subject("housing-utilities.power-outage", Urgency::Normal) };
    let setting = Setting { pack: &PACK, now_us: START_US };
    let (case, member, drafts) =
        Case::open(Uuid::from_u128(3), Number::default().next(2020), &message(regime), &question, setting);
    assert_eq!(drafts.len(), 2);
    let second = Member { message_id: Uuid::from_u128(4), question_id: Uuid::from_u128(5), ..member.clone() };
    (case, vec![member, second])
}

/// Anything that can happen to a case.
#[derive(Clone, Debug)]
enum Event {
    Act(Action),
    Fact(FactKind),
    Reclassified(&'static str, Urgency),
    Withdrawn(usize),
    Tick,
}

fn event() -> impl Strategy<Value = Event> {
    let answer_id = Uuid::from_u128(9);
    let published = |kind, outcome| Event::Fact(FactKind::Published { answer_id, kind, outcome });
    let rated = |member: u128, is_satisfied| {
        Event::Fact(FactKind::Rated { message_id: Uuid::from_u128(member), answer_id: None, is_satisfied })
    };
    prop::sample::select(vec![
        Event::Act(Action::Accept),
        Event::Act(Action::StartWork),
        Event::Act(Action::Return { reason: ReturnReason::Unclear, suggested_executor_id: String::new() }),
        Event::Act(Action::Reassign { reason: ReassignReason::Overload, executor_id: "grids-primorye".into() }),
        Event::Act(Action::Suspend { reason: SuspendReason::WaitingSeason, until_us: None }),
        Event::Act(Action::Resume),
        Event::Act(Action::Cancel { reason: CancelReason::Mistake }),
        Event::Fact(FactKind::Drafted { answer_id }),
        Event::Fact(FactKind::SentBack { answer_id }),
        Event::Fact(FactKind::Approved { answer_id }),
        published(AnswerKind::FirstResponse, Outcome::Unspecified),
        published(AnswerKind::Interim, Outcome::Unspecified),
        published(AnswerKind::Final, Outcome::Done),
        rated(1, true),
        rated(4, true),
        rated(1, false),
        Event::Fact(FactKind::ReopenRequested { message_id: None, reason: ReopenReason::NotDone }),
        Event::Reclassified("roads.general", Urgency::High),
        Event::Reclassified("housing-utilities.power-outage", Urgency::Normal),
        Event::Withdrawn(0),
        Event::Withdrawn(1),
        Event::Tick,
    ])
}

fn happen(case: &mut Case, members: &mut [Member], event: &Event, now_us: i64) -> usize {
    let setting = Setting { pack: &PACK, now_us };
    match event {
        Event::Act(action) => case.act(action, members, setting).map_or(0, |_| 1),
        Event::Fact(kind) => {
            let fact = Fact { case_id: case.id, kind: kind.clone(), at_us: now_us, entry_type: "test" };
            case.absorb(&fact, members, setting).len()
        }
        Event::Reclassified(topic, urgency) => {
            let question = Question { id: Uuid::from_u128(2), subject: subject(topic, *urgency) };
            case.reclassify(&message(case.regime), &question, members, setting).len()
        }
        Event::Withdrawn(index) => {
            members[*index].withdrawn_us = Some(now_us);
            case.withdraw(members, setting).len()
        }
        Event::Tick => case.tick(members, setting).len(),
    }
}

/// States that a case rests in after one change: each step of the table, and those that it only passes through.
fn leads(from: CaseState, to: CaseState) -> bool {
    let passes = |state| matches!(state, CaseState::AnswerPublished | CaseState::Reopened);
    from == to
        || TRANSITIONS.iter().any(|(a, _, b)| {
            *a == from && (*b == to || passes(*b) && TRANSITIONS.iter().any(|(c, _, d)| c == b && *d == to))
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_rules_hold(events in prop::collection::vec((event(), 0i64..200), 1..60), statutory in any::<bool>()) {
        let regime = if statutory { Regime::StatutoryAppeal } else { Regime::OpenSourceMessage };
        let (mut case, mut members) = open(regime);
        let mut now_us = START_US;
        for (event, hours) in events {
            now_us += hours * HOUR_US;
            let before = case.clone();
            let entries = happen(&mut case, &mut members, &event, now_us);
            prop_assert!(leads(before.state, case.state), "{:?} led from {:?} to {:?}", event, before.state, case.state);
            prop_assert!(!matches!(case.state, CaseState::Opened | CaseState::AnswerPublished | CaseState::Reopened));
            if matches!(event, Event::Act(_)) && entries == 0 {
                prop_assert_eq!(&case, &before, "what is refused changes nothing");
            }
            prop_assert_eq!(case.suspension.is_some(), case.state == CaseState::Suspended);
            prop_assert_eq!(case.rating_end_us.is_some(), case.state == CaseState::Resolved);
            prop_assert_eq!(case.outcome != Outcome::Unspecified, matches!(case.state, CaseState::Resolved | CaseState::ClosedConfirmed | CaseState::ClosedUnrated));
            prop_assert!(case.reopen_count >= before.reopen_count);
            prop_assert!(!case.executor_id.is_empty());
            for (old, new) in [(&before.clocks.first_response, &case.clocks.first_response), (&before.clocks.resolution, &case.clocks.resolution)] {
                let (old, new) = (old.as_ref().unwrap(), new.as_ref().unwrap());
                let reopened = case.reopen_count > before.reopen_count;
                prop_assert!(reopened || old.met_us.is_none() || old == new, "what was met stays as it was");
                prop_assert!(reopened || new.start_us >= old.start_us);
            }
            if statutory {
                prop_assert_eq!(case.clocks.pause, crate::domain::calendar::Pause::default(), "a statutory clock never pauses");
            }
            prop_assert_eq!(happen(&mut case.clone(), &mut members, &Event::Tick, now_us), usize::from(case.timer_us().is_some_and(|due| due <= now_us)));
        }
    }

    #[test]
    fn a_wait_before_the_deadline_is_never_charged(wait_hours in 1i64..700, accepted_after in 0i64..8) {
        let (mut case, members) = open(Regime::OpenSourceMessage);
        let mut now_us = START_US + accepted_after * HOUR_US;
        let act = |case: &mut Case, action, now_us| case.act(&action, &members, Setting { pack: &PACK, now_us }).unwrap();
        act(&mut case, Action::Accept, now_us);
        let table = PACK.timetable(&case.executor_id).unwrap();
        let left = table.pause(now_us, case.clocks.resolution.as_ref().unwrap().due_us).working_us;
        act(&mut case, Action::Suspend { reason: SuspendReason::WaitingContractor, until_us: None }, now_us);
        now_us += wait_hours * HOUR_US;
        act(&mut case, Action::Resume, now_us);
        let left_after = table.pause(now_us, case.clocks.resolution.as_ref().unwrap().due_us).working_us;
        prop_assert_eq!(left, left_after);
    }
}

#[test]
fn the_same_facts_give_the_same_deadlines() {
    let (one, _) = open(Regime::PortalMessage);
    let (other, _) = open(Regime::PortalMessage);
    assert_eq!(one.clocks, other.clocks);
    assert_eq!(one.clocks.resolution.unwrap().terms.policies, PACK.versions.policies);
}

#[test]
fn everything_allowed_can_be_done() {
    for action in state::allowed_actions(CaseState::Assigned) {
        let (mut case, members) = open(Regime::OpenSourceMessage);
        let asked = match action {
            CaseAction::Accept => Action::Accept,
            CaseAction::Return => {
                Action::Return { reason: ReturnReason::WrongTopic, suggested_executor_id: String::new() }
            }
            CaseAction::Reassign => {
                Action::Reassign { reason: ReassignReason::Escalation, executor_id: "gas-primorye".into() }
            }
            CaseAction::Cancel => Action::Cancel { reason: CancelReason::NoMatter },
            other => panic!("{other:?} is not for an assigned case"),
        };
        case.act(&asked, &members, Setting { pack: &PACK, now_us: START_US }).unwrap();
    }
}

#[test]
fn numbers_begin_anew_each_year_and_never_repeat() {
    let first = Number::default().next(2020);
    assert_eq!(first.to_string(), "2020-000001");
    assert_eq!(first.next(2020).to_string(), "2020-000002");
    assert_eq!(first.next(2021).to_string(), "2021-000001");
    assert_eq!(first.next(2021).next(2020).to_string(), "2021-000002", "the clock was set back");
}

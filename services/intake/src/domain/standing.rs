//! Where an item stands, and what a submission, a withdrawal or an erasure makes of it.
//!
//! The highest revision wins, whatever the order of arrival; a withdrawal covers all revisions up to its own, and one
//! without a revision covers all there will ever be. So every order of the same deliveries ends in the same state.
//! An erased message stays erased.

use otklik_proto::intake::v1::{Disposition, MessageState, RejectionReason, WithdrawDisposition};

/// The greatest revision that an item can have; the one above stands for "every revision".
pub const GREATEST_REVISION: u64 = i64::MAX as u64 - 1;

/// Up to which revision an item is withdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Withdrawn(u64);

impl Withdrawn {
    /// A withdrawal of the given revision; 0 withdraws whatever is known or comes.
    #[must_use]
    pub fn at(revision: u64) -> Self {
        Self(if revision == 0 { GREATEST_REVISION + 1 } else { revision })
    }

    /// From its stored number.
    #[must_use]
    pub fn from_stored(bound: u64) -> Self {
        Self(bound)
    }

    /// The number to store.
    #[must_use]
    pub fn bound(self) -> u64 {
        self.0
    }

    /// Whether an item of this revision is withdrawn.
    #[must_use]
    pub fn covers(self, revision: u64) -> bool {
        revision <= self.0
    }
}

/// Where an item of a source stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The message's state; [`MessageState::Unspecified`] while there is only a tombstone.
    pub state: MessageState,
    /// Why it was rejected; unspecified unless it was.
    pub rejection: RejectionReason,
    /// Its latest version, 0 while there is only a tombstone.
    pub version: u32,
    /// The highest revision known, 0 while there is only a tombstone.
    pub revision: u64,
    /// The withdrawal known, if any.
    pub withdrawn: Option<Withdrawn>,
}

impl Standing {
    fn tombstone(withdrawn: Withdrawn) -> Self {
        Self {
            state: MessageState::Unspecified,
            rejection: RejectionReason::Unspecified,
            version: 0,
            revision: 0,
            withdrawn: Some(withdrawn),
        }
    }

    fn read(version: u32, revision: u64, rejection: RejectionReason) -> Self {
        let state = match rejection {
            RejectionReason::Unspecified => MessageState::Received,
            _ => MessageState::Rejected,
        };
        Self { state, rejection, version, revision, withdrawn: None }
    }

    /// Whether a message is known, and not only awaited by a tombstone.
    #[must_use]
    pub fn is_message(&self) -> bool {
        self.version > 0
    }
}

/// What a submission of `revision` makes of an item that stands at `known`; `rejection` is what was found wrong with
/// the text, if anything. The standing is `None` when nothing changes.
#[must_use]
pub fn submit(known: Option<&Standing>, revision: u64, rejection: RejectionReason) -> (Disposition, Option<Standing>) {
    let Some(known) = known else {
        return (Disposition::New, Some(Standing::read(1, revision, rejection)));
    };
    let withdrawn = known.withdrawn.is_some_and(|withdrawn| withdrawn.covers(revision));
    if !known.is_message() {
        return if withdrawn {
            let met = Standing { state: MessageState::Withdrawn, version: 1, revision, ..*known };
            (Disposition::Tombstoned, Some(met))
        } else {
            (Disposition::New, Some(Standing::read(1, revision, rejection)))
        };
    }
    if revision == known.revision {
        (Disposition::Repeat, None)
    } else if revision < known.revision || withdrawn || known.state == MessageState::Erased {
        (Disposition::StaleRepeat, None)
    } else {
        (Disposition::Revised, Some(Standing::read(known.version + 1, revision, rejection)))
    }
}

/// What a withdrawal makes of an item that stands at `known`. The standing is `None` when nothing changes; a repeat
/// may still widen the revisions that are covered.
#[must_use]
pub fn withdraw(known: Option<&Standing>, withdrawal: Withdrawn) -> (WithdrawDisposition, Option<Standing>) {
    let Some(known) = known else {
        return (WithdrawDisposition::Tombstoned, Some(Standing::tombstone(withdrawal)));
    };
    let wider = || {
        let is_wider = known.withdrawn.is_none_or(|withdrawn| withdrawal > withdrawn);
        is_wider.then_some(Standing { withdrawn: Some(withdrawal), ..*known })
    };
    match known.state {
        MessageState::Unspecified => (WithdrawDisposition::Tombstoned, wider()),
        MessageState::Erased => (WithdrawDisposition::Repeat, None),
        MessageState::Withdrawn => (WithdrawDisposition::Repeat, wider()),
        MessageState::Received | MessageState::Rejected if !withdrawal.covers(known.revision) => {
            (WithdrawDisposition::Stale, None)
        }
        MessageState::Received | MessageState::Rejected => {
            let gone = Standing {
                state: MessageState::Withdrawn,
                rejection: RejectionReason::Unspecified,
                withdrawn: Some(withdrawal),
                ..*known
            };
            (WithdrawDisposition::Withdrawn, Some(gone))
        }
    }
}

/// What the erasure of its author makes of an item; `None` when there is nothing to erase.
#[must_use]
pub fn erase(known: &Standing) -> Option<Standing> {
    let is_there = known.is_message() && known.state != MessageState::Erased;
    is_there.then_some(Standing { state: MessageState::Erased, rejection: RejectionReason::Unspecified, ..*known })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SOUND: RejectionReason = RejectionReason::Unspecified;

    fn apply(known: &mut Option<Standing>, next: Option<Standing>) {
        if next.is_some() {
            *known = next;
        }
    }

    fn submitted(known: &mut Option<Standing>, revision: u64) -> Disposition {
        let (disposition, next) = submit(known.as_ref(), revision, SOUND);
        apply(known, next);
        disposition
    }

    fn withdrawn(known: &mut Option<Standing>, revision: u64) -> WithdrawDisposition {
        let (disposition, next) = withdraw(known.as_ref(), Withdrawn::at(revision));
        apply(known, next);
        disposition
    }

    #[test]
    fn an_item_and_its_edits() {
        let mut item = None;
        assert_eq!(submitted(&mut item, 2), Disposition::New);
        assert_eq!(submitted(&mut item, 2), Disposition::Repeat);
        assert_eq!(submitted(&mut item, 1), Disposition::StaleRepeat);
        assert_eq!(submitted(&mut item, 5), Disposition::Revised);
        let known = item.unwrap();
        assert_eq!((known.version, known.revision, known.state), (2, 5, MessageState::Received));
    }

    #[test]
    fn a_tombstone_awaits_its_original() {
        let mut item = None;
        assert_eq!(withdrawn(&mut item, 3), WithdrawDisposition::Tombstoned);
        assert_eq!(withdrawn(&mut item, 3), WithdrawDisposition::Tombstoned);
        assert_eq!(submitted(&mut item, 1), Disposition::Tombstoned);
        assert_eq!(item.unwrap().state, MessageState::Withdrawn);
        assert_eq!(submitted(&mut item, 1), Disposition::Repeat);
        assert_eq!(submitted(&mut item, 3), Disposition::StaleRepeat);
        assert_eq!(submitted(&mut item, 4), Disposition::Revised, "published again after the deletion");
        assert_eq!(withdrawn(&mut item, 3), WithdrawDisposition::Stale);
    }

    #[test]
    fn a_withdrawal_without_a_revision_is_final() {
        let mut item = None;
        submitted(&mut item, 7);
        assert_eq!(withdrawn(&mut item, 0), WithdrawDisposition::Withdrawn);
        assert_eq!(submitted(&mut item, GREATEST_REVISION), Disposition::StaleRepeat);
        assert_eq!(withdrawn(&mut item, 0), WithdrawDisposition::Repeat);
    }

    #[test]
    fn what_is_erased_stays_erased() {
        let mut item = None;
        submitted(&mut item, 1);
        let erased = erase(&item.unwrap());
        apply(&mut item, erased);
        assert_eq!(erase(&item.unwrap()), None);
        assert_eq!(submitted(&mut item, 2), Disposition::StaleRepeat);
        assert_eq!(withdrawn(&mut item, 0), WithdrawDisposition::Repeat);
        assert_eq!(item.unwrap().state, MessageState::Erased);
    }

    #[test]
    fn a_rejected_message_can_be_edited_into_a_sound_one() {
        let (_, first) = submit(None, 0, RejectionReason::Empty);
        assert_eq!(first.unwrap().state, MessageState::Rejected);
        let (disposition, second) = submit(first.as_ref(), 1, SOUND);
        assert_eq!((disposition, second.unwrap().state), (Disposition::Revised, MessageState::Received));
    }

    #[derive(Debug, Clone, Copy)]
    enum Delivery {
        Submission(u64),
        Withdrawal(u64),
    }

    fn deliveries() -> impl Strategy<Value = Vec<Delivery>> {
        let one = prop_oneof![
            3 => (0..6_u64).prop_map(Delivery::Submission),
            1 => (0..6_u64).prop_map(Delivery::Withdrawal),
        ];
        prop::collection::vec(one, 1..10)
    }

    fn deliver(all: &[Delivery]) -> Option<Standing> {
        let mut item = None;
        for delivery in all {
            match delivery {
                Delivery::Submission(revision) => drop(submitted(&mut item, *revision)),
                Delivery::Withdrawal(revision) => drop(withdrawn(&mut item, *revision)),
            }
        }
        item
    }

    proptest! {
        #[test]
        fn every_order_of_deliveries_ends_in_the_same_state(
            (one, other) in deliveries().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle()))
        ) {
            let (one, other) = (deliver(&one).unwrap(), deliver(&other).unwrap());
            prop_assert_eq!(one.state, other.state);
            if one.state == MessageState::Received {
                prop_assert_eq!(one.revision, other.revision);
            }
        }

        #[test]
        fn what_was_delivered_before_changes_nothing(all in deliveries()) {
            let once = deliver(&all).unwrap();
            let twice = deliver(&[all.clone(), all].concat()).unwrap();
            prop_assert_eq!(once, twice);
        }

        #[test]
        fn versions_count_the_changes(all in deliveries()) {
            let mut item = None;
            let mut versions = 0;
            for delivery in all {
                match delivery {
                    Delivery::Submission(revision) => {
                        let disposition = submitted(&mut item, revision);
                        if matches!(disposition, Disposition::New | Disposition::Revised | Disposition::Tombstoned) {
                            versions += 1;
                        }
                    }
                    Delivery::Withdrawal(revision) => drop(withdrawn(&mut item, revision)),
                }
                prop_assert_eq!(item.map_or(0, |known| known.version), versions);
            }
        }
    }
}

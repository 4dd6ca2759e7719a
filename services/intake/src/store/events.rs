//! What goes into the ledger: identifiers, codes, times and commitments, never text or names.

use jiff::Timestamp;
use otklik_chassis::ledger::Draft;
use otklik_proto::{
    intake::v1::{
        EraseReason, MessageErased, MessageOrigin, MessageReceived, MessageRejected, MessageRevised, MessageWithdrawn,
        SourceRegistered, WithdrawReason,
    },
    time::from_micros,
};

use super::rows::MessageRow;
use crate::domain::{keys, source::Source, submission::Submission};

/// Where a message comes from.
pub(crate) fn origin(row: &MessageRow, source: &Source) -> MessageOrigin {
    MessageOrigin {
        source_id: row.source_id.clone(),
        source_kind: source.kind.into(),
        channel_kind: row.channel.into(),
        regime: source.regime.into(),
        author_key: row.author.to_hex(),
        place_hint_id: source.default_place.clone(),
    }
}

/// The entry of a version that was taken in, the first or an edit.
pub(super) fn taken_in(row: &MessageRow, source: &Source, submission: &Submission, now: Timestamp) -> Draft {
    let message_id = row.message_id.to_string();
    let version = row.standing.version;
    let origin = Some(origin(row, source));
    let external_id = row.external_id.clone();
    let published_time = Some(from_micros(submission.published.as_microsecond()));
    let received_time = Some(from_micros(now.as_microsecond()));
    let text_commitment = submission.commitment.clone();
    let text_length = u32::try_from(submission.text.len()).unwrap_or(u32::MAX);
    let source_revision = submission.revision;
    let draft = if version == 1 {
        let event = MessageReceived {
            message_id,
            version,
            origin,
            external_id,
            source_revision,
            published_time,
            received_time,
            text_commitment,
            text_length,
        };
        Draft::new("message", row.message_id, &event)
    } else {
        let event = MessageRevised {
            message_id,
            version,
            origin,
            external_id,
            source_revision,
            published_time,
            received_time,
            text_commitment,
            text_length,
        };
        Draft::new("message", row.message_id, &event)
    };
    draft.concerning([row.message_id]).dated(Some(submission.published), Some(now))
}

/// The entry of a message that is not passed on, decided under the registration of its source.
pub(super) fn rejected(row: &MessageRow, source: &Source) -> Draft {
    let event = MessageRejected {
        message_id: row.message_id.to_string(),
        version: row.standing.version,
        reason: row.standing.rejection.into(),
    };
    of_message(row, Draft::new("message", row.message_id, &event))
        .because(row.standing.rejection.as_str_name())
        .under("sources", &source.version())
}

/// The entry of a withdrawal of `source_revision`, 0 when it named none.
pub(super) fn withdrawn(row: &MessageRow, source_revision: u64, reason: WithdrawReason) -> Draft {
    let event =
        MessageWithdrawn { message_id: row.message_id.to_string(), version: row.standing.version, source_revision };
    of_message(row, Draft::new("message", row.message_id, &event)).because(reason.as_str_name())
}

/// The entry of an erasure.
pub(super) fn erased(row: &MessageRow, reason: EraseReason) -> Draft {
    let event = MessageErased {
        message_id: row.message_id.to_string(),
        version: row.standing.version,
        author_key: row.author.to_hex(),
    };
    of_message(row, Draft::new("message", row.message_id, &event)).because(reason.as_str_name())
}

/// The entry of a registration.
pub(super) fn registered(source: &Source) -> Draft {
    let event = SourceRegistered {
        source_id: source.id.clone(),
        kind: source.kind.into(),
        regime: source.regime.into(),
        default_place_id: source.default_place.clone(),
    };
    Draft::new("source", keys::source_aggregate(&source.id), &event).under("sources", &source.version())
}

fn of_message(row: &MessageRow, draft: Draft) -> Draft {
    let time = |micros| Timestamp::from_microsecond(micros).ok();
    draft.concerning([row.message_id]).dated(time(row.published_us), time(row.received_us))
}

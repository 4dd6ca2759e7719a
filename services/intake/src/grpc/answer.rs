//! Answers, as the contract has them.

use std::sync::Arc;

use jiff::Timestamp;
use otklik_proto::{
    intake::v1::{
        Location, Message, MessageText, MessageVersion, ReplyRoute, Source, SourceHealth, SubmitMessageResponse,
        WithdrawMessageResponse,
    },
    ledger::v1::Position,
    time::from_micros,
};

use crate::store::{MessageView, Route, SourceView, Submitted, TextView, VersionRow, Withdrew};

pub(super) fn submitted(submitted: &Submitted, position: Option<Position>) -> SubmitMessageResponse {
    SubmitMessageResponse {
        message_id: submitted.message_id.to_string(),
        version: submitted.version,
        disposition: submitted.disposition.into(),
        state: submitted.state.into(),
        rejection_reason: submitted.rejection.into(),
        position,
    }
}

pub(super) fn withdrew(withdrew: &Withdrew, position: Option<Position>) -> WithdrawMessageResponse {
    WithdrawMessageResponse {
        message_id: withdrew.message_id.map(|id| id.to_string()).unwrap_or_default(),
        disposition: withdrew.disposition.into(),
        state: withdrew.state.into(),
        position,
    }
}

pub(super) fn message(view: MessageView) -> Message {
    let MessageView { row, origin, versions } = view;
    let latest = versions.last().map(|version| version.details.clone()).unwrap_or_default();
    Message {
        message_id: row.message_id.to_string(),
        origin: Some(origin),
        external_id: row.external_id,
        state: row.standing.state.into(),
        rejection_reason: row.standing.rejection.into(),
        version: row.standing.version,
        versions: versions.into_iter().map(version).collect(),
        in_reply_to_external_id: latest.in_reply_to,
        thread_external_id: latest.thread,
        url: latest.url,
        location: latest.location.map(|(latitude, longitude)| Location { latitude, longitude }),
        published_time: Some(from_micros(row.published_us)),
        received_time: Some(from_micros(row.received_us)),
        update_time: Some(from_micros(row.updated_us)),
    }
}

fn version(row: VersionRow) -> MessageVersion {
    MessageVersion {
        version: row.version,
        source_revision: row.revision,
        text: row.text.unwrap_or_default(),
        attachment_urls: row.details.attachments,
        published_time: Some(from_micros(row.published_us)),
        received_time: Some(from_micros(row.received_us)),
    }
}

pub(super) fn text(message_id: String, view: TextView) -> MessageText {
    MessageText {
        message_id,
        version: view.version,
        status: view.status.into(),
        text: view.text,
        route: view.route.map(route),
        published_time: view.published_us.map(from_micros),
    }
}

fn route(route: Route) -> ReplyRoute {
    ReplyRoute { source_id: route.source_id, external_id: route.external_id, channel_kind: route.channel.into() }
}

/// A source as it does at `now`.
pub(super) fn source(view: SourceView, now: Timestamp) -> Source {
    let received = view.received_us.and_then(|micros| Timestamp::from_microsecond(micros).ok());
    let health = SourceHealth {
        status: view.source.status(received, now).into(),
        last_received_time: view.received_us.map(from_micros),
        last_published_time: view.published_us.map(from_micros),
        message_count: view.message_count,
    };
    let source = Arc::unwrap_or_clone(view.source);
    Source {
        source_id: source.id,
        kind: source.kind.into(),
        title: source.title,
        default_place_id: source.default_place,
        regime: source.regime.into(),
        own_author_external_ids: source.own_authors,
        health: Some(health),
        create_time: Some(from_micros(view.created_us)),
        update_time: Some(from_micros(view.updated_us)),
    }
}

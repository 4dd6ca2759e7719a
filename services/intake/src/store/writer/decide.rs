//! What each command does to the working set.

use std::sync::Arc;

use otklik_chassis::{
    error::Error,
    id,
    lane::{Effect, Outcome},
};
use otklik_proto::intake::v1::{ChannelKind, Disposition, EraseReason, MessageState, WithdrawReason};

use super::{
    ERASED_AT_ONCE, Erasure, Reply, Submitted, Withdrawal, WithdrawalTarget, Withdrew, by_item,
    load::{Content, Item, NewVersion, WorkingSet},
    no_source,
};
use crate::{
    domain::{
        keys::{self, AuthorKey, ItemKey, KEY_LENGTH},
        source::{Source, USUAL_SILENCE_HOURS},
        standing::{self, GREATEST_REVISION, Standing, Withdrawn},
        submission::{Submission, judge},
    },
    store::{
        events,
        rows::{MessageRow, SourceRow, json},
    },
};

impl WorkingSet<'_> {
    pub(super) fn submit(&mut self, submission: &Submission) -> Outcome<Reply> {
        let Some(source) = self.sources.get(&submission.source_id).map(|row| row.source.clone()) else {
            return Err(no_source(&submission.source_id));
        };
        if let Some(problem) = source.channel_problem(submission.channel) {
            return Err(Error::invalid("channel_kind", problem));
        }
        let rejection = judge(&source, &submission.author.external_id, &submission.text);
        let known = self.items.get(&submission.item).map(|item| &item.row.standing);
        let (disposition, next) = standing::submit(known, submission.revision, rejection);
        let mut entries = Vec::new();
        if let Some(next) = next {
            let mut row = self.row_of(submission, next, disposition);
            let details = Some(&submission.details).filter(|details| !details.is_empty()).map(json).transpose()?;
            let content = Content { text: submission.text.clone(), salt: submission.salt, details };
            let version = NewVersion {
                revision: submission.revision,
                published_us: submission.published.as_microsecond(),
                content: Some(content).filter(|_| disposition != Disposition::Tombstoned),
            };
            self.versions.insert((row.message_id, next.version), version);
            let received = events::taken_in(&row, &source, submission, self.now);
            row.entry_seq = self.enter(&mut entries, row.message_id, received);
            if disposition == Disposition::Tombstoned {
                let revision = next.withdrawn.map_or(0, named_revision);
                let withdrawn = events::withdrawn(&row, revision, row.withdraw_reason);
                row.entry_seq = self.enter(&mut entries, row.message_id, withdrawn);
            } else {
                if next.state == MessageState::Rejected {
                    let rejected = events::rejected(&row, &source);
                    row.entry_seq = self.enter(&mut entries, row.message_id, rejected);
                }
                if row.author == submission.author.key {
                    self.note_author(submission);
                }
            }
            self.note_activity(submission, disposition);
            self.put(row);
        }
        let Some(item) = self.items.get(&submission.item) else {
            return Err(Error::internal(anyhow::anyhow!("a submission left no item behind")));
        };
        let submitted = Submitted {
            message_id: item.row.message_id,
            version: item.row.standing.version,
            disposition,
            state: item.row.standing.state,
            rejection: item.row.standing.rejection,
            entry_seq: item.row.entry_seq,
        };
        Ok(by_item(Reply::Submitted(submitted), entries))
    }

    /// The row of an item after a submission: a new one, the known one changed, or a tombstone that becomes a message.
    fn row_of(&self, submission: &Submission, standing: Standing, disposition: Disposition) -> MessageRow {
        let now_us = self.now.as_microsecond();
        let known = self.items.get(&submission.item).map(|item| &item.row);
        match known {
            Some(known) if known.standing.is_message() => MessageRow {
                standing,
                withdraw_reason: WithdrawReason::Unspecified,
                updated_us: now_us,
                ..known.clone()
            },
            _ => MessageRow {
                message_id: id::new_id(self.now),
                item: submission.item,
                author: submission.author.key,
                source_id: submission.source_id.clone(),
                external_id: submission.external_id.clone(),
                channel: submission.channel,
                standing,
                withdraw_reason: known
                    .filter(|_| disposition == Disposition::Tombstoned)
                    .map_or(WithdrawReason::Unspecified, |tombstone| tombstone.withdraw_reason),
                published_us: submission.published.as_microsecond(),
                received_us: now_us,
                updated_us: now_us,
                entry_seq: 0,
            },
        }
    }

    fn note_author(&mut self, submission: &Submission) {
        let author = &submission.author;
        if self.names.get(&author.key) != Some(&author.name) {
            self.names.insert(author.key, author.name.clone());
            self.changed_authors.insert(author.key, (submission.source_id.clone(), author.clone()));
        }
    }

    fn note_activity(&mut self, submission: &Submission, disposition: Disposition) {
        let activity = self.activity.entry(submission.source_id.clone()).or_default();
        activity.messages += i64::from(disposition != Disposition::Revised);
        activity.published_us = activity.published_us.max(submission.published.as_microsecond());
    }

    pub(super) fn withdraw(&mut self, withdrawal: &Withdrawal) -> Outcome<Reply> {
        let item = match &withdrawal.target {
            WithdrawalTarget::Item { source_id, external_id } => {
                if !self.sources.contains_key(source_id) {
                    return Err(no_source(source_id));
                }
                ItemKey::of(source_id, external_id)
            }
            WithdrawalTarget::Message(message_id) => {
                let known = self.by_id.get(message_id).copied();
                known.ok_or_else(|| Error::not_found("message", message_id))?
            }
        };
        let known = self.items.get(&item).map(|item| &item.row.standing);
        let (disposition, next) = standing::withdraw(known, Withdrawn::at(withdrawal.revision));
        let mut entries = Vec::new();
        if let Some(next) = next {
            let known = self.items.get(&item).map(|item| item.row.clone());
            let goes = known.as_ref().is_some_and(|known| known.standing.state != next.state);
            let Some(mut row) = known.or_else(|| self.tombstone(item, &withdrawal.target, next)) else {
                return Err(Error::internal(anyhow::anyhow!("a message was withdrawn without its item")));
            };
            row.standing = next;
            row.withdraw_reason = withdrawal.reason;
            row.updated_us = self.now.as_microsecond();
            if goes {
                self.clear(&row);
                let withdrawn = events::withdrawn(&row, withdrawal.revision, withdrawal.reason);
                row.entry_seq = self.enter(&mut entries, row.message_id, withdrawn);
            }
            self.put(row);
        }
        let Some(Item { row, .. }) = self.items.get(&item) else {
            return Err(Error::internal(anyhow::anyhow!("a withdrawal left no item behind")));
        };
        let withdrew = Withdrew {
            message_id: row.standing.is_message().then_some(row.message_id),
            disposition,
            state: row.standing.state,
            entry_seq: row.entry_seq,
        };
        Ok(by_item(Reply::Withdrew(withdrew), entries))
    }

    fn tombstone(&self, item: ItemKey, target: &WithdrawalTarget, standing: Standing) -> Option<MessageRow> {
        let WithdrawalTarget::Item { source_id, external_id } = target else { return None };
        let now_us = self.now.as_microsecond();
        Some(MessageRow {
            message_id: id::new_id(self.now),
            item,
            author: AuthorKey([0; KEY_LENGTH]),
            source_id: source_id.clone(),
            external_id: external_id.clone(),
            channel: ChannelKind::Unspecified,
            standing,
            withdraw_reason: WithdrawReason::Unspecified,
            published_us: now_us,
            received_us: now_us,
            updated_us: now_us,
            entry_seq: 0,
        })
    }

    pub(super) fn begin_erasure(&mut self, author: AuthorKey, reason: EraseReason) -> Outcome<Reply> {
        let mut authored = self.authored.get(&author).copied().unwrap_or_default();
        for Item { row, is_stored, .. } in self.items.values() {
            if !is_stored && row.author == author && row.standing.is_message() {
                authored.all += 1;
                authored.left += 1;
            }
        }
        let was_known = self.names.remove(&author).is_some();
        if !was_known && authored.all == 0 {
            return Err(Error::not_found("author", author.to_hex()));
        }
        self.changed_authors.remove(&author);
        self.gone_authors.insert(author);
        let erasure = Erasure { author, until_us: self.now.as_microsecond(), reason };
        self.begun.push(erasure);
        let resource = format!("{} {} {}", author.to_hex(), erasure.until_us, authored.left);
        Ok(Effect::new(Reply::ErasureBegun(erasure, authored.left), resource, Vec::new()))
    }

    pub(super) fn erase(&mut self, erasure: &Erasure) -> Effect<Reply> {
        let turn = self.turns.get(&erasure.author).cloned().unwrap_or_default();
        let mut entries = Vec::with_capacity(turn.len());
        for item in &turn {
            let Some(mut row) = self.items.get(item).map(|item| item.row.clone()) else { continue };
            let Some(next) = standing::erase(&row.standing) else { continue };
            row.standing = next;
            row.updated_us = self.now.as_microsecond();
            self.clear(&row);
            let erased = events::erased(&row, erasure.reason);
            row.entry_seq = self.enter(&mut entries, row.message_id, erased);
            self.put(row);
        }
        let is_complete = turn.len() < ERASED_AT_ONCE;
        if is_complete {
            self.complete.push(*erasure);
        }
        by_item(Reply::Erased(is_complete), entries)
    }

    pub(super) fn register(&mut self, source: &Source) -> Effect<Reply> {
        let known = self.sources.get(&source.id);
        let source = Source {
            channel_kinds: known.map(|known| known.source.channel_kinds.clone()).unwrap_or_default(),
            expected_silence_hours: known.map_or(USUAL_SILENCE_HOURS, |known| known.source.expected_silence_hours),
            ..source.clone()
        };
        let pack_version = known.map(|known| known.pack_version.clone()).unwrap_or_default();
        let mut entries = Vec::new();
        let resource = source.id.clone();
        let draft = events::registered(&source);
        self.enter(&mut entries, keys::source_aggregate(&source.id), draft);
        self.put_source(source, pack_version);
        Effect::new(Reply::Registered, resource, entries)
    }

    pub(super) fn take_over(&mut self, sources: &[Source]) -> Effect<Reply> {
        let mut entries = Vec::new();
        for source in sources {
            let version = source.version();
            let known = self.sources.get(&source.id);
            if known.is_some_and(|known| known.pack_version == version) {
                continue;
            }
            if known.is_none_or(|known| *known.source != *source) {
                let draft = events::registered(source);
                self.enter(&mut entries, keys::source_aggregate(&source.id), draft);
            }
            self.put_source(source.clone(), version);
        }
        Effect::new(Reply::Registered, "", entries)
    }

    fn put_source(&mut self, source: Source, pack_version: String) {
        let now_us = self.now.as_microsecond();
        let id = source.id.clone();
        let created_us = self.sources.get(&id).map_or(now_us, |known| known.created_us);
        self.sources
            .insert(id.clone(), SourceRow { source: Arc::new(source), pack_version, created_us, updated_us: now_us });
        self.changed_sources.insert(id);
    }

    /// Puts a changed row in its place.
    fn put(&mut self, row: MessageRow) {
        let known = self.items.get(&row.item);
        if let Some(known) = known {
            self.by_id.remove(&known.row.message_id);
        }
        let is_stored = known.is_some_and(|known| known.is_stored);
        self.by_id.insert(row.message_id, row.item);
        self.items.insert(row.item, Item { row, is_stored, is_changed: true });
    }

    /// Lets the texts of a message go, those stored and those of this set.
    fn clear(&mut self, row: &MessageRow) {
        self.cleared.insert(row.message_id);
        for (_, version) in self.versions.range_mut((row.message_id, 0)..=(row.message_id, u32::MAX)) {
            version.content = None;
        }
    }
}

/// The revision that a withdrawal named; 0 when it named none.
fn named_revision(withdrawn: Withdrawn) -> u64 {
    if withdrawn.bound() > GREATEST_REVISION { 0 } else { withdrawn.bound() }
}

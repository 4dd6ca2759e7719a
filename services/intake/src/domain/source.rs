//! Sources: where messages come from, and whether they still do.

use jiff::{SignedDuration, Timestamp};
use otklik_proto::intake::v1::{ChannelKind, Regime, SourceHealthStatus, SourceKind};
use ring::digest::{Context, SHA256};

/// Longest code of a source or place in bytes.
pub const LONGEST_CODE: usize = 64;
/// Longest title of a source in characters.
pub const LONGEST_TITLE: usize = 256;
/// Most accounts of the administration that a source can list.
pub const MOST_OWN_AUTHORS: usize = 1000;
/// Hours without a message that are taken for usual where nobody has said otherwise.
pub const USUAL_SILENCE_HOURS: u32 = 24;

/// A registered source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its code, for example `vk-primorye-gov`.
    pub id: String,
    /// What it is.
    pub kind: SourceKind,
    /// Title for people.
    pub title: String,
    /// Place assumed for messages that name none; may be empty.
    pub default_place: String,
    /// Decides the clocks of cases from this source.
    pub regime: Regime,
    /// Authors that are the administration itself.
    pub own_authors: Vec<String>,
    /// Channels that messages may come through; empty means any.
    pub channel_kinds: Vec<ChannelKind>,
    /// Hours without a message after which the source counts as silent.
    pub expected_silence_hours: u32,
}

impl Source {
    /// Content hash of the registration: 16 hexadecimal digits. Decisions made under it record it.
    #[must_use]
    pub fn version(&self) -> String {
        let mut context = Context::new(&SHA256);
        let mut add = |part: &[u8]| {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        };
        add(self.id.as_bytes());
        add(&(self.kind as i32).to_be_bytes());
        add(self.title.as_bytes());
        add(self.default_place.as_bytes());
        add(&(self.regime as i32).to_be_bytes());
        add(&self.expected_silence_hours.to_be_bytes());
        for kind in &self.channel_kinds {
            add(&(*kind as i32).to_be_bytes());
        }
        for author in &self.own_authors {
            add(author.as_bytes());
        }
        context.finish().as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// What is wrong with a message of this source that came through `channel`; `None` when nothing is.
    #[must_use]
    pub fn channel_problem(&self, channel: ChannelKind) -> Option<String> {
        if self.channel_kinds.is_empty() || self.channel_kinds.contains(&channel) {
            return None;
        }
        let known: Vec<&str> = self.channel_kinds.iter().map(ChannelKind::as_str_name).collect();
        Some(format!("does not come from source {}, which has {}", self.id, known.join(", ")))
    }

    /// Whether the author is the administration itself.
    #[must_use]
    pub fn is_own_author(&self, author_external_id: &str) -> bool {
        self.own_authors.iter().any(|own| own == author_external_id)
    }

    /// How the source does at `now`, when a message last came at `last_received`.
    #[must_use]
    pub fn status(&self, last_received: Option<Timestamp>, now: Timestamp) -> SourceHealthStatus {
        match last_received {
            None => SourceHealthStatus::New,
            Some(last) => {
                let usual = SignedDuration::from_hours(i64::from(self.expected_silence_hours));
                if now.duration_since(last) > usual { SourceHealthStatus::Silent } else { SourceHealthStatus::Active }
            }
        }
    }
}

/// Whether `code` is a code: lower-case Latin letters, digits and hyphens, at most [`LONGEST_CODE`] bytes.
#[must_use]
pub fn is_code(code: &str) -> bool {
    !code.is_empty()
        && code.len() <= LONGEST_CODE
        && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Whether `code` is a code of a place: as [`is_code`], with levels joined by dots.
#[must_use]
pub fn is_place_code(code: &str) -> bool {
    code.len() <= LONGEST_CODE && code.split('.').all(is_code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        Source {
            id: "vk".into(),
            kind: SourceKind::Page,
            title: "Страница".into(),
            default_place: String::new(),
            regime: Regime::OpenSourceMessage,
            own_authors: vec!["-1".into()],
            channel_kinds: vec![ChannelKind::Comment],
            expected_silence_hours: 12,
        }
    }

    #[test]
    fn codes() {
        for code in ["vk", "vk-primorye-gov", "tg2"] {
            assert!(is_code(code), "{code}");
        }
        for code in ["", "VK", "вк", "a b", "a.b", &"a".repeat(65)] {
            assert!(!is_code(code), "{code}");
        }
        assert!(is_place_code("vladivostok.lenin-street"));
        assert!(!is_place_code("vladivostok..x"));
    }

    #[test]
    fn every_field_counts_in_the_version() {
        let version = source().version();
        assert_eq!(version.len(), 16);
        let others = [
            Source { kind: SourceKind::Group, ..source() },
            Source { title: "Группа".into(), ..source() },
            Source { default_place: "x".into(), ..source() },
            Source { own_authors: vec![], ..source() },
            Source { channel_kinds: vec![], ..source() },
            Source { expected_silence_hours: 13, ..source() },
        ];
        for other in others {
            assert_ne!(other.version(), version, "{other:?}");
        }
    }

    #[test]
    fn a_source_falls_silent_only_after_its_usual_pause() {
        let last: Timestamp = "2020-11-19T00:00:00Z".parse().unwrap();
        let hours = |n| last + SignedDuration::from_hours(n);
        assert_eq!(source().status(None, last), SourceHealthStatus::New);
        assert_eq!(source().status(Some(last), hours(12)), SourceHealthStatus::Active);
        assert_eq!(source().status(Some(last), hours(13)), SourceHealthStatus::Silent);
        assert_eq!(source().status(Some(hours(1)), last), SourceHealthStatus::Active, "a clock that lags behind");
    }

    #[test]
    fn a_channel_that_a_source_does_not_have() {
        assert_eq!(source().channel_problem(ChannelKind::Comment), None);
        assert!(source().channel_problem(ChannelKind::Email).unwrap().contains("CHANNEL_KIND_COMMENT"));
        assert_eq!(Source { channel_kinds: vec![], ..source() }.channel_problem(ChannelKind::Email), None);
    }
}

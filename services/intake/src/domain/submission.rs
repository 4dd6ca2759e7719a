//! Submissions: what a message must be like to be taken in, and what is taken in but not passed on.

use jiff::Timestamp;
use otklik_proto::intake::v1::{ChannelKind, RejectionReason};
use serde::{Deserialize, Serialize};

use super::{
    keys::{AuthorKey, ItemKey, SALT_LENGTH},
    source::Source,
};

/// Longest text in bytes of UTF-8: some five pages, more than any network or portal lets a citizen write.
pub const LONGEST_TEXT: usize = 32_768;
/// Longest external id, of an item, an author or a thread, in bytes.
pub const LONGEST_EXTERNAL_ID: usize = 256;
/// Longest name that an author shows, in bytes.
pub const LONGEST_NAME: usize = 512;
/// Longest address on the web in bytes.
pub const LONGEST_URL: usize = 2_048;
/// Most attachments of a message.
pub const MOST_ATTACHMENTS: usize = 20;

/// A message that may be taken in: every field has been checked, every key computed.
#[derive(Clone, PartialEq)]
pub struct Submission {
    /// The item's key.
    pub item: ItemKey,
    /// Code of the source.
    pub source_id: String,
    /// Identifier of the item at its source.
    pub external_id: String,
    /// Revision at the source.
    pub revision: u64,
    /// The text.
    pub text: String,
    /// Salt of the commitment.
    pub salt: [u8; SALT_LENGTH],
    /// Commitment to the text.
    pub commitment: Vec<u8>,
    /// Who wrote it.
    pub author: Author,
    /// The channel it came through.
    pub channel: ChannelKind,
    /// When this version was published.
    pub published: Timestamp,
    /// What else the source says.
    pub details: Details,
}

/// Prints nothing that a citizen wrote.
impl std::fmt::Debug for Submission {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Submission")
            .field("source_id", &self.source_id)
            .field("external_id", &self.external_id)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

/// An author as its source knows it: personal data.
#[derive(Clone, PartialEq, Eq)]
pub struct Author {
    /// The pseudonymous key.
    pub key: AuthorKey,
    /// Identifier at the source.
    pub external_id: String,
    /// Name the author shows.
    pub name: String,
}

/// What a source may say of an item beside its text. It is kept with the text and goes with it.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Details {
    /// Item of the same source that it replies to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub in_reply_to: String,
    /// Thread at the source.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub thread: String,
    /// Address of the item on the web.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// Addresses of attachments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<String>,
    /// Where the author says it is: degrees of latitude and longitude, WGS 84.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<(f64, f64)>,
}

impl Details {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Why a submission is taken in and not passed on; unspecified when it is.
///
/// An own post is one whose author is the administration itself; empty is what holds no letter and no digit.
#[must_use]
pub fn judge(source: &Source, author_external_id: &str, text: &str) -> RejectionReason {
    if source.is_own_author(author_external_id) {
        RejectionReason::OwnPost
    } else if !text.chars().any(char::is_alphanumeric) {
        RejectionReason::Empty
    } else {
        RejectionReason::Unspecified
    }
}

#[cfg(test)]
mod tests {
    use otklik_proto::intake::v1::{Regime, SourceKind};

    use super::*;

    #[test]
    fn what_is_not_passed_on() {
        let source = Source {
            id: "vk".into(),
            kind: SourceKind::Page,
            title: String::new(),
            default_place: String::new(),
            regime: Regime::OpenSourceMessage,
            own_authors: vec!["-1".into()],
            channel_kinds: vec![],
            expected_silence_hours: 12,
        };
        assert_eq!(judge(&source, "7", "Нет света"), RejectionReason::Unspecified);
        assert_eq!(judge(&source, "7", " …!? \u{1f44d}"), RejectionReason::Empty);
        assert_eq!(judge(&source, "7", "103"), RejectionReason::Unspecified);
        assert_eq!(judge(&source, "-1", "Внимание!"), RejectionReason::OwnPost);
        assert_eq!(judge(&source, "-1", "…"), RejectionReason::OwnPost);
    }

    #[test]
    fn a_debug_print_holds_no_text_and_no_name() {
        let submission = Submission {
            item: ItemKey::of("vk", "1"),
            source_id: "vk".into(),
            external_id: "1".into(),
            revision: 0,
            text: "тайна".into(),
            salt: [0; SALT_LENGTH],
            commitment: vec![],
            author: Author { key: AuthorKey([0; 16]), external_id: "id7".into(), name: "Иванова".into() },
            channel: ChannelKind::Comment,
            published: Timestamp::UNIX_EPOCH,
            details: Details::default(),
        };
        let printed = format!("{submission:?}");
        assert!(!printed.contains("тайна") && !printed.contains("Иванова") && !printed.contains("id7"), "{printed}");
    }
}

//! One line of an import: what a source said, in the form of the contract.

use jiff::Timestamp;
use otklik_proto::{
    intake::v1::{
        Author, ChannelKind, ItemKey, SubmitMessageRequest, WithdrawMessageRequest, WithdrawReason,
        withdraw_message_request::Target,
    },
    time::from_micros,
};
use serde::Deserialize;

/// A line as it stands in an NDJSON file; the CSV form has the columns of [`CSV_COLUMNS`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// What the line asks for; a line without it submits.
    #[serde(default)]
    pub op: Op,
    /// The source's id, as in the region pack.
    pub source_id: String,
    /// The item's id at its source.
    #[serde(default)]
    pub external_id: String,
    /// The item's revision at its source; grows with every edit.
    #[serde(default = "first_revision")]
    pub source_revision: u64,
    /// `COMMENT`, `PRIVATE_MESSAGE`, `PORTAL_MESSAGE`, `OPEN_SOURCE_POST` or `EMAIL`.
    #[serde(default)]
    pub channel: String,
    /// When the author published it (RFC 3339, or as jiff prints a zoned time).
    pub published_time: String,
    /// When it reached the importer, where that was later: used by simulations only.
    #[serde(default)]
    pub received_time: Option<String>,
    /// Who wrote it.
    #[serde(default)]
    pub author: Option<LineAuthor>,
    /// Whom an `erase` concerns.
    #[serde(default)]
    pub author_external_id: String,
    /// What was written.
    #[serde(default)]
    pub text: String,
    /// The item it answers.
    #[serde(default)]
    pub in_reply_to: String,
    /// Where it can be seen.
    #[serde(default)]
    pub url: String,
    /// What a sample says about its own line: for demonstrations and measurements, never imported.
    #[serde(default)]
    pub sample: Option<crate::demo::script::Hints>,
}

fn first_revision() -> u64 {
    1
}

/// The columns of the CSV form; the first row names those that are present.
pub const CSV_COLUMNS: [&str; 11] = [
    "source_id",
    "external_id",
    "source_revision",
    "channel",
    "published_time",
    "author_external_id",
    "author_display_name",
    "text",
    "in_reply_to",
    "url",
    "op",
];

/// The author in a line.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineAuthor {
    /// Its id at the source.
    pub external_id: String,
    /// Its name there.
    #[serde(default)]
    pub display_name: String,
}

/// What a line asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// Take the message in: new, an edit or a repeat.
    #[default]
    Submit,
    /// The source has withdrawn it.
    Withdraw,
    /// Erase its author's personal data.
    Erase,
}

impl Line {
    /// The submission that the line stands for.
    ///
    /// # Errors
    /// What is wrong with the line, in words.
    pub fn submission(&self) -> Result<SubmitMessageRequest, String> {
        let channel = match self.channel.as_str() {
            "" => ChannelKind::Comment,
            name => ChannelKind::from_str_name(&format!("CHANNEL_KIND_{name}")).ok_or_else(|| {
                format!("channel {name:?} is none of COMMENT, PRIVATE_MESSAGE, PORTAL_MESSAGE, OPEN_SOURCE_POST, EMAIL")
            })?,
        };
        let author = self.author.clone().ok_or("author is missing")?;
        Ok(SubmitMessageRequest {
            source_id: self.source_id.clone(),
            external_id: self.external_id.clone(),
            source_revision: self.source_revision,
            text: self.text.clone(),
            author: Some(Author { external_id: author.external_id, display_name: author.display_name }),
            channel_kind: channel.into(),
            published_time: Some(from_micros(self.published()?.as_microsecond())),
            in_reply_to_external_id: self.in_reply_to.clone(),
            url: self.url.clone(),
            ..Default::default()
        })
    }

    /// The withdrawal that the line stands for.
    pub fn withdrawal(&self) -> WithdrawMessageRequest {
        WithdrawMessageRequest {
            target: Some(Target::Item(ItemKey {
                source_id: self.source_id.clone(),
                external_id: self.external_id.clone(),
            })),
            source_revision: self.source_revision,
            reason: WithdrawReason::DeletedByAuthor.into(),
        }
    }

    /// When the author published.
    ///
    /// # Errors
    /// When the time can't be read.
    pub fn published(&self) -> Result<Timestamp, String> {
        self.published_time
            .parse()
            .map_err(|e| format!("published_time {:?} is no RFC 3339 time: {e}", self.published_time))
    }

    /// When the line reached the importer: its received time, or the published one.
    ///
    /// # Errors
    /// When a time can't be read.
    pub fn arrival(&self) -> Result<Timestamp, String> {
        match &self.received_time {
            None => self.published(),
            Some(time) => time.parse().map_err(|e| format!("received_time {time:?} is no RFC 3339 time: {e}")),
        }
    }
}

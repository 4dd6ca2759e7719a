//! The codes of topics. What words recognise them is classification's business, and checked there.

use std::{collections::HashMap, sync::Arc};

use otklik_chassis::region::{Problems, parse};
use serde::Deserialize;
use toml::Spanned;

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    group: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    code: Spanned<String>,
    #[serde(default)]
    topic: Vec<Topic>,
}

#[derive(Deserialize)]
struct Topic {
    code: Spanned<String>,
}

/// The codes that exist, numbered. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Taxonomy {
    groups: Arc<HashMap<String, u16>>,
    topics: Arc<HashMap<String, u16>>,
}

impl Taxonomy {
    pub(super) fn read(file: &str, text: &str, problems: &mut Problems) -> Self {
        let Some(parsed) = parse::<File>(file, text, problems) else { return Self::default() };
        let (mut groups, mut topics) = (HashMap::new(), HashMap::new());
        for group in parsed.group {
            let number = u16::try_from(groups.len()).unwrap_or(u16::MAX);
            if groups.insert(group.code.get_ref().clone(), number).is_some() {
                problems.at(
                    file,
                    text,
                    group.code.span(),
                    format!("the group `{}` is there twice", group.code.get_ref()),
                );
            }
            for topic in group.topic {
                let number = u16::try_from(topics.len()).unwrap_or(u16::MAX);
                if topics.insert(topic.code.get_ref().clone(), number).is_some() {
                    problems.at(
                        file,
                        text,
                        topic.code.span(),
                        format!("the topic `{}` is there twice", topic.code.get_ref()),
                    );
                }
            }
        }
        Self { groups: Arc::new(groups), topics: Arc::new(topics) }
    }

    /// The number of a group.
    pub fn group(&self, code: &str) -> Option<u16> {
        self.groups.get(code).copied()
    }

    /// The number of a topic.
    pub fn topic(&self, code: &str) -> Option<u16> {
        self.topics.get(code).copied()
    }

    /// Whether nothing could be read: then nothing is said of codes elsewhere.
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }
}

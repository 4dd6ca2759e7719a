//! Service-level policies: how soon, by regime, topic group and urgency.

use std::collections::HashMap;

use otklik_chassis::region::{Problems, parse};
use otklik_proto::{classification::v1::Urgency, intake::v1::Regime};
use serde::Deserialize;
use toml::Spanned;

use super::{Taxonomy, check_code};
use crate::domain::calendar::{Term, Unit};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    policy: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: Spanned<String>,
    #[serde(rename = "title")]
    _title: String,
    regime: Spanned<String>,
    topic_group: Option<Vec<Spanned<String>>>,
    urgency: Option<Vec<Spanned<String>>>,
    first_response: TermEntry,
    resolution: TermEntry,
    final_after_interim: Option<TermEntry>,
    rating_window: TermEntry,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TermEntry {
    value: Spanned<i64>,
    unit: Spanned<String>,
}

/// The longest term, in its unit: a slip of the finger is not a decade.
const LONGEST: i64 = 1000;

/// A service-level policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Code.
    pub id: String,
    /// From the receipt of the message to the first answer of any kind.
    pub first_response: Term,
    /// From the receipt of the message to the final answer.
    pub resolution: Term,
    /// From an interim answer to the final one.
    pub final_after_interim: Option<Term>,
    /// From the final answer to the end of the rating window.
    pub rating_window: Term,
    topic_groups: Option<Vec<String>>,
    urgencies: Option<Vec<Urgency>>,
}

impl Policy {
    fn covers(&self, topic_group: &str, urgency: Urgency) -> bool {
        self.topic_groups.as_ref().is_none_or(|groups| groups.iter().any(|group| group == topic_group))
            && self.urgencies.as_ref().is_none_or(|urgencies| urgencies.contains(&urgency))
    }

    fn specificity(&self) -> u8 {
        2 * u8::from(self.topic_groups.is_some()) + u8::from(self.urgencies.is_some())
    }
}

/// The policies of a region, by regime, the most specific first.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    by_regime: HashMap<Regime, Vec<Policy>>,
}

impl Policies {
    pub(super) fn read(file: &str, text: &str, taxonomy: &Taxonomy, problems: &mut Problems) -> Self {
        let Some(parsed) = parse::<File>(file, text, problems) else { return Self::default() };
        let mut ids = HashMap::new();
        let mut by_regime: HashMap<Regime, Vec<Policy>> = HashMap::new();
        for entry in parsed.policy {
            check_code(file, text, &entry.id, problems);
            if ids.insert(entry.id.get_ref().clone(), ()).is_some() {
                problems.at(file, text, entry.id.span(), format!("the policy `{}` is there twice", entry.id.get_ref()));
            }
            let regime = Regime::from_str_name(&format!("REGIME_{}", entry.regime.get_ref()));
            let Some(regime) = regime.filter(|regime| *regime != Regime::Unspecified) else {
                let message = format!(
                    "`{}` is no regime; it must be OPEN_SOURCE_MESSAGE, PORTAL_MESSAGE or STATUTORY_APPEAL",
                    entry.regime.get_ref()
                );
                problems.at(file, text, entry.regime.span(), message);
                continue;
            };
            if let Some(policy) = policy(file, text, entry, taxonomy, problems) {
                by_regime.entry(regime).or_default().push(policy);
            }
        }
        for regime in [Regime::OpenSourceMessage, Regime::PortalMessage, Regime::StatutoryAppeal] {
            let policies = by_regime.entry(regime).or_default();
            // Stable: among equally specific ones the earlier in the file stays first.
            policies.sort_by_key(|policy| std::cmp::Reverse(policy.specificity()));
            let unconditional = policies.iter().filter(|policy| policy.specificity() == 0).count();
            if unconditional != 1 {
                let name = regime.as_str_name().trim_start_matches("REGIME_");
                problems.of_file(
                    file,
                    format!("the regime {name} has {unconditional} policies without conditions; it needs exactly one"),
                );
            }
        }
        Self { by_regime }
    }

    /// The policy of a case. A regime that nobody stated is that of open sources.
    pub fn select(&self, regime: Regime, topic_group: &str, urgency: Urgency) -> Option<&Policy> {
        let regime = if regime == Regime::Unspecified { Regime::OpenSourceMessage } else { regime };
        self.by_regime.get(&regime)?.iter().find(|policy| policy.covers(topic_group, urgency))
    }
}

fn policy(file: &str, text: &str, entry: Entry, taxonomy: &Taxonomy, problems: &mut Problems) -> Option<Policy> {
    if let Some(groups) = &entry.topic_group {
        for group in groups {
            if taxonomy.group(group.get_ref()).is_none() && !taxonomy.is_empty() {
                problems.at(file, text, group.span(), format!("there is no topic group `{}`", group.get_ref()));
            }
        }
    }
    let urgencies =
        entry.urgency.map(|list| list.iter().filter_map(|name| urgency(file, text, name, problems)).collect());
    let first_response = term(file, text, &entry.first_response, problems);
    let resolution = term(file, text, &entry.resolution, problems);
    let final_after_interim = entry.final_after_interim.as_ref().map(|entry| term(file, text, entry, problems));
    let rating_window = term(file, text, &entry.rating_window, problems);
    Some(Policy {
        id: entry.id.into_inner(),
        first_response: first_response?,
        resolution: resolution?,
        final_after_interim: final_after_interim.flatten(),
        rating_window: rating_window?,
        topic_groups: entry.topic_group.map(|groups| groups.into_iter().map(Spanned::into_inner).collect()),
        urgencies,
    })
}

fn term(file: &str, text: &str, entry: &TermEntry, problems: &mut Problems) -> Option<Term> {
    let unit = Unit::named(entry.unit.get_ref());
    if unit.is_none() {
        let message = format!(
            "`{}` is no unit; it must be working-hours, working-days, calendar-hours or calendar-days",
            entry.unit.get_ref()
        );
        problems.at(file, text, entry.unit.span(), message);
    }
    let value = *entry.value.get_ref();
    if !(1..=LONGEST).contains(&value) {
        problems.at(file, text, entry.value.span(), format!("must be 1 to {LONGEST}"));
        return None;
    }
    Some(Term { value: u32::try_from(value).ok()?, unit: unit? })
}

/// The urgency of a name; one that is unknown is a problem.
pub(super) fn urgency(file: &str, text: &str, name: &Spanned<String>, problems: &mut Problems) -> Option<Urgency> {
    let found = match name.get_ref().as_str() {
        "normal" => Some(Urgency::Normal),
        "high" => Some(Urgency::High),
        "emergency" => Some(Urgency::Emergency),
        _ => None,
    };
    if found.is_none() {
        problems.at(
            file,
            text,
            name.span(),
            format!("`{}` is no urgency; it must be normal, high or emergency", name.get_ref()),
        );
    }
    found
}

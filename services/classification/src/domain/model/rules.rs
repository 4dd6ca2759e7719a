//! The rule model: evidence is counted by the taxonomy's own words and turned into probabilities.
//!
//! Every different cue of a topic that is found adds its weight to the topic's evidence e, measured in ordinary words
//! (the weight `normal`). The probability of a topic is
//!
//! ```text
//! w(e) / ( w(n) + Σ w(eᵢ) ),   w(e) = exp(e / T) − 1,   T = 1.5, n = 1
//! ```
//!
//! over all topics. No evidence has no weight, so that a dozen topics that share one common word don't drown the one that
//! is meant; n is the evidence for «something else». T is where the shipped sample of messages is likeliest. With the
//! usual weights an ordinary word alone gives 0.50, a strong phrase alone 0.87, and two topics with a strong phrase each
//! 0.47 each.

use super::{Belief, TopicModel};
use crate::domain::{
    cues::{CueBook, CueBookBuilder},
    taxonomy::Taxonomy,
    text::Reading,
    words::VocabularyBuilder,
};

/// Changes whenever the same taxonomy and text may give another answer: with the matching, the splitting into
/// questions, the thresholds, the places.
const VERSION: &str = "rules-1";

/// The temperature T.
const TEMPERATURE: f64 = 1.5;

/// Evidence past which nothing is learnt, in ordinary words.
const MOST_EVIDENCE: f64 = 100.0;

/// Evidence for «something else», in ordinary words.
const SOMETHING_ELSE: f64 = 1.0;

/// Topics by the taxonomy's cues.
#[derive(Debug)]
pub struct RuleModel {
    book: CueBook,
    normal_weight: f64,
}

impl RuleModel {
    /// Compiles the cues of the topics.
    pub fn new(taxonomy: &Taxonomy, vocabulary: &mut VocabularyBuilder) -> Self {
        let mut book = CueBookBuilder::default();
        for (index, topic) in taxonomy.topics.iter().enumerate() {
            for (cue, weight) in &topic.cues {
                book.add(vocabulary, cue, index, *weight);
            }
        }
        Self {
            book: book.build(taxonomy.topics.len(), taxonomy.phrase_gap),
            normal_weight: f64::from(taxonomy.normal_weight),
        }
    }

    /// Grows with the evidence, which is capped where more of it says nothing new (and `exp` would overflow).
    fn weight(evidence: f64) -> f64 {
        (evidence.min(MOST_EVIDENCE) / TEMPERATURE).exp_m1()
    }
}

impl TopicModel for RuleModel {
    fn version(&self) -> &str {
        VERSION
    }

    fn beliefs(&self, reading: &Reading, units: &[usize]) -> Vec<Belief> {
        let evidence = self.book.weigh(reading, units);
        let mut beliefs: Vec<Belief> = evidence
            .iter()
            .enumerate()
            .filter(|(_, evidence)| **evidence > 0.0)
            .map(|(topic, evidence)| Belief {
                topic,
                probability: Self::weight(f64::from(*evidence) / self.normal_weight),
            })
            .collect();
        let total = Self::weight(SOMETHING_ELSE) + beliefs.iter().map(|belief| belief.probability).sum::<f64>();
        for belief in &mut beliefs {
            belief.probability /= total;
        }
        // Of equal topics the earlier of the file comes first.
        beliefs.sort_by(|a, b| b.probability.total_cmp(&a.probability).then(a.topic.cmp(&b.topic)));
        beliefs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{samples, text};

    fn likeliest(text: &str) -> Vec<(String, f64)> {
        let taxonomy = samples::taxonomy();
        let mut vocabulary = VocabularyBuilder::default();
        let model = RuleModel::new(&taxonomy, &mut vocabulary);
        let reading = text::read(text, &vocabulary.build(), &text::Separators::default());
        let all: Vec<usize> = (0..reading.units.len()).collect();
        let beliefs = model.beliefs(&reading, &all);
        let total: f64 = beliefs.iter().map(|b| b.probability).sum();
        assert!(total < 1.0);
        beliefs.into_iter().map(|b| (taxonomy.topics[b.topic].code.clone(), b.probability)).collect()
    }

    #[test]
    fn the_documented_probabilities() {
        let round = |p: f64| (p * 100.0).round() / 100.0;
        let strong = |text: &str| round(likeliest(text)[0].1);
        assert_eq!(strong("лопнула труба"), 0.87);
        assert_eq!(strong("водопровод"), 0.5);
        let both = likeliest("лопнула труба и выбоина");
        assert_eq!((round(both[0].1), round(both[1].1)), (0.47, 0.47));
        assert!(likeliest("добрый день").is_empty());
    }

    #[test]
    fn more_evidence_means_more_confidence_but_never_certainty() {
        let long = likeliest("лопнула труба, нет воды, вода в подвале, водопровод");
        assert!(long[0].1 > 0.9 && long[0].1 < 1.0, "{long:?}");
    }
}

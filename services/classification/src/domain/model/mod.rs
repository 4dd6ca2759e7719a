//! What tells topics: an exchangeable part.

mod rules;

use super::text::Reading;

pub use rules::RuleModel;

/// How probable a topic is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Belief {
    /// The topic, by its index in the taxonomy.
    pub topic: usize,
    /// Calibrated probability, 0 to 1.
    pub probability: f64,
}

/// Tells what parts of a text are about.
pub trait TopicModel: Send + Sync + std::fmt::Debug {
    /// The version, recorded with every decision: the same version, taxonomy and text give the same answer.
    fn version(&self) -> &str;

    /// The topics that the given units of a text speak of, the likeliest first; those without any evidence are left
    /// out. Probabilities sum to at most 1; what is missing is the probability that it is none of the topics.
    fn beliefs(&self, reading: &Reading, units: &[usize]) -> Vec<Belief>;
}

//! The classifier: from a text to its questions.

use super::{
    manner::Manner,
    model::{Belief, RuleModel, TopicModel},
    places::Places,
    question::{Candidate, Decision, Kind, Question},
    questions,
    taxonomy::Taxonomy,
    text::{self, Reading, Separators},
    words::{Vocabulary, VocabularyBuilder},
};

/// Confidence below which a person must look: the likeliest topic is then hardly likelier than all others together.
pub const REVIEW_BELOW: f64 = 0.55;

/// Other topics that are told, at the most.
const MOST_ALTERNATIVES: usize = 3;
/// Probability below which another topic isn't told.
const LEAST_ALTERNATIVE: f64 = 0.05;

/// Classifies texts by a taxonomy, a gazetteer and a model.
#[derive(Debug)]
pub struct Classifier {
    taxonomy: Taxonomy,
    places: Places,
    vocabulary: Vocabulary,
    separators: Separators,
    manner: Manner,
    model: Box<dyn TopicModel>,
}

impl Classifier {
    /// Compiles a taxonomy and its places, with the rule model for topics.
    pub fn new(taxonomy: Taxonomy, places: Places) -> Self {
        let mut vocabulary = VocabularyBuilder::default();
        let model = RuleModel::new(&taxonomy, &mut vocabulary);
        let manner = Manner::new(&taxonomy, &mut vocabulary);
        let mut separators = Separators::default();
        for cue in &taxonomy.separators {
            separators.add(cue);
        }
        Self { vocabulary: vocabulary.build(), separators, manner, model: Box::new(model), taxonomy, places }
    }

    /// The version of the model.
    pub fn model_version(&self) -> &str {
        self.model.version()
    }

    /// The taxonomy.
    pub fn taxonomy(&self) -> &Taxonomy {
        &self.taxonomy
    }

    /// The places.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// The questions of a text by ordinal; none when it holds no words. `place_hint` is the code of the place assumed
    /// when the text names none; empty or unknown for none.
    pub fn classify(&self, text: &str, place_hint: &str) -> Vec<Question> {
        let reading = text::read(text, &self.vocabulary, &self.separators);
        let questions = questions::split(&reading, &*self.model, |topic| self.taxonomy.topics[topic].group);
        let named = self.places.find(&reading);
        questions
            .iter()
            .enumerate()
            .map(|(index, units)| {
                let places = self.places_of(&reading, units, &named, place_hint);
                self.question(&reading, units, index + 1, places)
            })
            .collect()
    }

    fn question(&self, reading: &Reading, units: &[usize], ordinal: usize, places: Vec<String>) -> Question {
        let beliefs = self.model.beliefs(reading, units);
        let (kind, urgency) = self.manner.judge(reading, units);
        let best = beliefs.first().map(|belief| self.candidate(belief));
        let confidence = best.as_ref().map_or(0.0, |best| best.confidence);
        // Advertising speaks of nothing; what sounds like it and yet plainly has a topic is looked at by a person.
        let sure = if kind == Kind::Spam { confidence < REVIEW_BELOW } else { confidence >= REVIEW_BELOW };
        let (topic, group) = best.map(|best| (best.topic, best.group)).unwrap_or_default();
        Question {
            ordinal: u32::try_from(ordinal).unwrap_or(u32::MAX),
            topic,
            group,
            confidence,
            alternatives: beliefs
                .iter()
                .skip(1)
                .take(MOST_ALTERNATIVES)
                .filter(|belief| belief.probability >= LEAST_ALTERNATIVE)
                .map(|belief| self.candidate(belief))
                .collect(),
            kind,
            urgency,
            places,
            span: span(reading, units),
            decision: if sure { Decision::Auto } else { Decision::Review },
        }
    }

    fn candidate(&self, belief: &Belief) -> Candidate {
        let topic = &self.taxonomy.topics[belief.topic];
        Candidate {
            topic: topic.code.clone(),
            group: self.taxonomy.groups[topic.group].code.clone(),
            confidence: belief.probability,
        }
    }

    /// The places that the question names, else those that the message names, else the hint.
    fn places_of(&self, reading: &Reading, units: &[usize], named: &[(usize, usize)], hint: &str) -> Vec<String> {
        let within = |word: &usize| units.iter().any(|unit| reading.units[*unit].words.contains(word));
        let own = self.places.codes(named.iter().filter(|(word, _)| within(word)).map(|(_, place)| *place));
        if !own.is_empty() {
            return own;
        }
        let all = self.places.codes(named.iter().map(|(_, place)| *place));
        if all.is_empty() { self.places.expand([hint]) } else { all }
    }
}

/// Bytes of the text from the first unit to the end of the run that it begins.
fn span(reading: &Reading, units: &[usize]) -> std::ops::Range<u32> {
    let run = units.iter().enumerate().take_while(|(n, unit)| **unit == units[0] + n).count();
    let (Some(first), Some(last)) = (units.first(), units.get(run.saturating_sub(1))) else { return 0..0 };
    let bytes = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    bytes(reading.units[*first].span.start)..bytes(reading.units[*last].span.end)
}

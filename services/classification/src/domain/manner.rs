//! Kind and urgency of a question, by the taxonomy's cues.

use super::{
    cues::{CueBook, CueBookBuilder},
    question::{Kind, Urgency},
    taxonomy::Taxonomy,
    text::Reading,
    words::VocabularyBuilder,
};

// Targets of the cue book.
const EMERGENCY: usize = 0;
const HIGH: usize = 1;
const DEFUSED: usize = 2;
const SPAM: usize = 3;
const THANKS: usize = 4;
const PROPOSAL: usize = 5;
const QUESTION: usize = 6;
const COMPLAINT: usize = 7;
const TARGETS: usize = 8;

/// The compiled cues of kind and urgency.
#[derive(Debug)]
pub struct Manner {
    book: CueBook,
}

impl Manner {
    /// Compiles the cues.
    pub fn new(taxonomy: &Taxonomy, vocabulary: &mut VocabularyBuilder) -> Self {
        let lists = [
            (EMERGENCY, &taxonomy.urgency.emergency),
            (HIGH, &taxonomy.urgency.high),
            (DEFUSED, &taxonomy.urgency.defused_by),
            (SPAM, &taxonomy.kind.spam),
            (THANKS, &taxonomy.kind.thanks),
            (PROPOSAL, &taxonomy.kind.proposal),
            (QUESTION, &taxonomy.kind.question),
            (COMPLAINT, &taxonomy.kind.complaint),
        ];
        let mut book = CueBookBuilder::default();
        for (target, cues) in lists {
            for cue in cues {
                book.add(vocabulary, cue, target, 1.0);
            }
        }
        Self { book: book.build(TARGETS, taxonomy.phrase_gap) }
    }

    /// Kind and urgency of the given units.
    pub fn judge(&self, reading: &Reading, units: &[usize]) -> (Kind, Urgency) {
        let found = self.book.weigh(reading, units);
        let has = |target: usize| found[target] > 0.0;
        let urgency = match () {
            () if has(DEFUSED) => Urgency::Normal,
            () if has(EMERGENCY) => Urgency::Emergency,
            () if has(HIGH) => Urgency::High,
            () => Urgency::Normal,
        };
        // Nobody thanks, proposes or asks with more words of complaint than of that.
        let outweighs = |target: usize| has(target) && found[target] >= found[COMPLAINT];
        let kind = match () {
            () if has(SPAM) => Kind::Spam,
            () if outweighs(THANKS) => Kind::Thanks,
            () if outweighs(PROPOSAL) => Kind::Proposal,
            () if outweighs(QUESTION) => Kind::Question,
            () => Kind::Complaint,
        };
        (kind, urgency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{samples, text};

    fn judged(text: &str) -> (Kind, Urgency) {
        let mut vocabulary = VocabularyBuilder::default();
        let manner = Manner::new(&samples::taxonomy(), &mut vocabulary);
        let reading = text::read(text, &vocabulary.build(), &text::Separators::default());
        let all: Vec<usize> = (0..reading.units.len()).collect();
        manner.judge(&reading, &all)
    }

    #[test]
    fn urgency_is_the_first_that_matches_unless_defused() {
        assert_eq!(judged("Оборванный провод! Нет света").1, Urgency::Emergency);
        assert_eq!(judged("Нет света").1, Urgency::High);
        assert_eq!(judged("Нет света, оборванный провод. Учебная тревога").1, Urgency::Normal);
        assert_eq!(judged("Лужа").1, Urgency::Normal);
    }

    #[test]
    fn kinds_in_their_order() {
        assert_eq!(judged("Лужа во дворе").0, Kind::Complaint);
        assert_eq!(judged("Когда уберут?").0, Kind::Question);
        assert_eq!(judged("Когда уберут? Безобразие, сколько можно").0, Kind::Complaint);
        assert_eq!(judged("Предлагаю поставить бак. Можно?").0, Kind::Proposal);
        assert_eq!(judged("Спасибо за уборку!").0, Kind::Thanks);
        assert_eq!(judged("Спасибо за «уборку», безобразие, сколько можно").0, Kind::Complaint);
        assert_eq!(judged("Заработок без вложений! Спасибо за внимание").0, Kind::Spam);
    }
}

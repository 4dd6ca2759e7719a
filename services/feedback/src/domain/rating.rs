//! What an author says of an answer.

/// The worst and the best score; 0 is none.
pub const SCORES: std::ops::RangeInclusive<u32> = 1..=5;
/// The best score that still is dissatisfaction.
const BEST_DISSATISFIED: u32 = 2;

/// Whether the author counts as satisfied: he says so, and did not give a score of 1 or 2. Whoever says "satisfied" and
/// gives the worst score has more likely mistaken the box than the number, and nobody is hurt by looking again.
#[must_use]
pub fn is_satisfied(score: u32, says_satisfied: bool) -> bool {
    says_satisfied && !(1..=BEST_DISSATISFIED).contains(&score)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_score_is_dissatisfaction_whatever_is_said() {
        for (score, said, satisfied) in [
            (0, true, true),
            (0, false, false),
            (1, true, false),
            (2, true, false),
            (3, true, true),
            (5, true, true),
            (5, false, false),
        ] {
            assert_eq!(is_satisfied(score, said), satisfied, "{score} {said}");
        }
    }
}

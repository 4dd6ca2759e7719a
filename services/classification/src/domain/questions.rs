//! Which units of a text make a question.
//!
//! Most messages raise one question, and a case too many costs an executor's time; so a text is taken apart only where
//! it plainly speaks of another matter:
//! - a unit that a separator begins («также», «второй вопрос») opens a question when it is rather about another group
//!   ([`SEPARATED`]), or surer about another topic of the same group ([`SEPARATED_TOPIC`]);
//! - any other unit opens one when both it and the question before it are firmly about different groups ([`FIRM`]), and
//!   the unit says hardly anything ([`HARDLY`]) of the group before.
//!
//! A unit that comes back to the group of an earlier question belongs to that one; everything else belongs to the
//! question before it, and what stands before the first evidence to the first question.

use super::{
    model::{Belief, TopicModel},
    text::Reading,
};

/// Belief in a group from which a unit behind a separator stands for itself: a separator alone says already that another
/// matter follows.
const SEPARATED: f64 = 0.35;
/// Belief in a topic from which it does so within the same group.
const SEPARATED_TOPIC: f64 = 0.6;
/// Belief in a group from which any unit stands for itself: more than a strong phrase alone (0.87).
const FIRM: f64 = 0.9;
/// Belief in the group before up to which a unit has left it.
const HARDLY: f64 = 0.1;
/// Most questions of a message; what follows belongs to the last.
const MOST_QUESTIONS: usize = 8;

/// The units of each question, in order; the first run of them is what the question's span covers.
pub fn split(reading: &Reading, model: &dyn TopicModel, group_of: impl Fn(usize) -> usize) -> Vec<Vec<usize>> {
    let units = reading.units.len();
    if units <= 1 {
        return if units == 0 { Vec::new() } else { vec![vec![0]] };
    }
    let mut questions: Vec<Draft> = vec![Draft::default()];
    let mut current = 0;
    for unit in 0..units {
        let beliefs = model.beliefs(reading, &[unit]);
        if let Some(said) = Matter::of(&beliefs, &group_of) {
            let separated = reading.units[unit].separated;
            let of_current = questions[current].matter.map_or(0.0, |own| of_group(&beliefs, own.group, &group_of));
            if questions[current].is_left_for(&said, separated, of_current) {
                match questions.iter().position(|question| question.is_about(&said, separated)) {
                    Some(earlier) => current = earlier,
                    None if questions.len() < MOST_QUESTIONS => {
                        questions.push(Draft::default());
                        current = questions.len() - 1;
                    }
                    None => {}
                }
            }
            questions[current].learn(said);
        }
        questions[current].units.push(unit);
    }
    questions.into_iter().map(|question| question.units).collect()
}

/// The belief in a group.
fn of_group(beliefs: &[Belief], group: usize, group_of: &impl Fn(usize) -> usize) -> f64 {
    beliefs.iter().filter(|belief| group_of(belief.topic) == group).map(|belief| belief.probability).sum()
}

/// What a unit is likeliest about.
#[derive(Clone, Copy)]
struct Matter {
    topic: usize,
    topic_belief: f64,
    group: usize,
    group_belief: f64,
}

impl Matter {
    fn of(beliefs: &[Belief], group_of: &impl Fn(usize) -> usize) -> Option<Self> {
        let top = beliefs.first()?;
        let group = group_of(top.topic);
        Some(Self {
            topic: top.topic,
            topic_belief: top.probability,
            group,
            group_belief: of_group(beliefs, group, group_of),
        })
    }
}

/// A question as far as it has been read.
#[derive(Default)]
struct Draft {
    units: Vec<usize>,
    /// The surest of what its units are about.
    matter: Option<Matter>,
}

impl Draft {
    /// Whether a unit speaks of another matter; `of_current` is its belief in this question's group.
    fn is_left_for(&self, said: &Matter, separated: bool, of_current: f64) -> bool {
        let Some(own) = self.matter else { return false };
        if separated && said.group == own.group {
            return said.topic != own.topic && said.topic_belief >= SEPARATED_TOPIC;
        }
        if separated {
            return said.group_belief >= SEPARATED;
        }
        said.group != own.group && said.group_belief >= FIRM && own.group_belief >= FIRM && of_current <= HARDLY
    }

    /// Whether a unit comes back to this question.
    fn is_about(&self, said: &Matter, separated: bool) -> bool {
        self.matter.is_some_and(|own| if separated { said.topic == own.topic } else { said.group == own.group })
    }

    fn learn(&mut self, said: Matter) {
        if self.matter.is_none_or(|own| said.group_belief > own.group_belief) {
            self.matter = Some(said);
        }
    }
}

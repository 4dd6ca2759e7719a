//! Reads lives from the copies.

use std::collections::{BTreeSet, HashSet};

use otklik_chassis::error::Error;
use uuid::Uuid;

use crate::{
    domain::{
        life::{Life, Subject, Surroundings},
        span::MOST_PROJECTED,
        step::Step,
    },
    store::Copies,
};

/// Where lives are read from.
#[derive(Debug, Clone, Copy)]
pub struct Lives<'a> {
    /// The copies.
    pub copies: &'a Copies,
    /// The present, in microseconds.
    pub now_us: i64,
    /// How long nothing may happen before a life counts as stuck, in microseconds.
    pub patience_us: i64,
}

impl Lives<'_> {
    /// The life of a subject; `None` when nothing is stored about it.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn read(&self, subject: Subject) -> Result<Option<Life>, Error> {
        let mut steps = self.copies.steps_of(&[subject.id()]).await?;
        if let Subject::Message(message) = subject {
            self.add_nameless(message, &mut steps).await?;
        }
        let elsewhere = self.causes_elsewhere(&steps).await?;
        let surroundings = Surroundings { elsewhere, now_us: self.now_us, patience_us: self.patience_us };
        Ok(Life::of(subject, steps, &surroundings))
    }

    /// Adds the entries of a message's cases that name no message at all.
    async fn add_nameless(&self, message: Uuid, steps: &mut Vec<Step>) -> Result<(), Error> {
        let cases: BTreeSet<Uuid> = steps
            .iter()
            .filter(|step| step.subjects.messages.contains(&message))
            .flat_map(|step| step.subjects.cases.iter().copied())
            .collect();
        let cases: Vec<Uuid> = cases.into_iter().collect();
        let known: HashSet<_> = steps.iter().map(|step| step.arrival).collect();
        let others = self.copies.steps_of(&cases).await?;
        let nameless = |step: &Step| step.subjects.messages.is_empty() && !known.contains(&step.arrival);
        steps.extend(others.into_iter().filter(nameless));
        Ok(())
    }

    /// Which causes of these steps are stored here though they are no part of this life: a case begins with the
    /// classification of a message.
    async fn causes_elsewhere(&self, steps: &[Step]) -> Result<HashSet<Uuid>, Error> {
        let here: HashSet<Uuid> = steps.iter().map(|step| step.id).collect();
        let orphans: Vec<&Step> =
            steps.iter().filter(|s| s.cause.is_some_and(|cause| !here.contains(&cause))).collect();
        let related: BTreeSet<Uuid> =
            orphans.iter().flat_map(|step| step.subjects.all()).take(MOST_PROJECTED).collect();
        let related: Vec<Uuid> = related.into_iter().collect();
        Ok(self.copies.steps_of(&related).await?.into_iter().map(|step| step.id).collect())
    }
}

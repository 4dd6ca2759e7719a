//! The order of a lifecycle's steps: each after what caused it, each ledger in its own order, and by time beyond that.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use uuid::Uuid;

use super::step::Step;

/// Sorts steps causally and gives each its depth in the tree of causes; 0 is a root: nothing in the list caused it.
///
/// Where the entries contradict themselves (a cycle, which no honest ledger holds), time decides.
#[must_use]
pub fn causal(steps: Vec<Step>) -> Vec<(Step, u32)> {
    let mut by_id: HashMap<Uuid, usize> = HashMap::new();
    for (index, step) in steps.iter().enumerate() {
        by_id.entry(step.id).or_insert(index);
    }
    let cause = |step: &Step| step.cause.and_then(|cause| by_id.get(&cause).copied());

    let mut followers: Vec<Vec<usize>> = vec![Vec::new(); steps.len()];
    let mut waits_for = vec![0usize; steps.len()];
    let mut follow = |before: usize, after: usize| {
        followers[before].push(after);
        waits_for[after] += 1;
    };
    let mut ledgers: HashMap<(&str, Uuid, u32), Vec<usize>> = HashMap::new();
    for (index, step) in steps.iter().enumerate() {
        if let Some(before) = cause(step).filter(|before| *before != index) {
            follow(before, index);
        }
        ledgers.entry((&step.service, step.incarnation, step.partition)).or_default().push(index);
    }
    for ledger in ledgers.values_mut() {
        ledger.sort_by_key(|index| steps[*index].seq);
        for pair in ledger.windows(2) {
            follow(pair[0], pair[1]);
        }
    }

    let rank = |index: usize| {
        let step = &steps[index];
        Reverse((step.recorded_us, service_rank(&step.service), step.partition, step.seq, index))
    };
    let mut ready: BinaryHeap<_> = (0..steps.len()).filter(|index| waits_for[*index] == 0).map(rank).collect();
    let mut done = vec![false; steps.len()];
    let mut order = Vec::with_capacity(steps.len());
    while order.len() < steps.len() {
        let next = match ready.pop() {
            Some(Reverse((.., index))) => Some(index),
            None => (0..steps.len()).filter(|index| !done[*index]).max_by_key(|index| rank(*index)),
        };
        let Some(next) = next else { break };
        if std::mem::replace(&mut done[next], true) {
            continue;
        }
        order.push(next);
        for follower in &followers[next] {
            waits_for[*follower] = waits_for[*follower].saturating_sub(1);
            if waits_for[*follower] == 0 {
                ready.push(rank(*follower));
            }
        }
    }

    let mut depths = vec![0u32; steps.len()];
    let mut placed = vec![false; steps.len()];
    for index in &order {
        if let Some(before) = cause(&steps[*index])
            && placed[before]
        {
            depths[*index] = depths[before] + 1;
        }
        placed[*index] = true;
    }
    let mut steps: Vec<Option<Step>> = steps.into_iter().map(Some).collect();
    order.into_iter().filter_map(|index| Some((steps[index].take()?, depths[index]))).collect()
}

/// Of steps recorded at the same moment, the one of the earlier service comes first.
fn service_rank(service: &str) -> usize {
    super::PRODUCERS.iter().position(|name| *name == service).unwrap_or(super::PRODUCERS.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::step::Subjects, *};

    fn step(service: &str, seq: u64, id: u128, cause: Option<u128>, recorded_us: i64) -> Step {
        Step {
            arrival: (1, 0),
            service: service.into(),
            incarnation: Uuid::nil(),
            partition: 0,
            seq,
            hash: Default::default(),
            intact: true,
            header: Default::default(),
            entry_type: String::new(),
            event: super::super::event::Event::Other,
            payload: Default::default(),
            id: Uuid::from_u128(id),
            cause: cause.map(Uuid::from_u128),
            recorded_us,
            subjects: Subjects::default(),
        }
    }

    fn shape(steps: Vec<Step>) -> Vec<(u128, u32)> {
        causal(steps).into_iter().map(|(step, depth)| (step.id.as_u128(), depth)).collect()
    }

    #[test]
    fn a_cause_comes_first_even_if_its_clock_was_late() {
        let steps = vec![
            step("assignment", 4, 13, Some(12), 50),
            step("classification", 7, 12, Some(11), 60),
            step("intake", 9, 11, None, 100),
            step("assignment", 5, 14, None, 40),
        ];
        // 14 was caused by nothing here, but follows 13 in its own ledger.
        assert_eq!(shape(steps), [(11, 0), (12, 1), (13, 2), (14, 0)]);
    }

    #[test]
    fn unrelated_steps_go_by_time() {
        let steps =
            vec![step("feedback", 1, 3, None, 30), step("assignment", 9, 2, None, 20), step("intake", 5, 1, None, 10)];
        assert_eq!(shape(steps), [(1, 0), (2, 0), (3, 0)]);
    }

    #[test]
    fn a_cause_that_is_not_there_makes_a_root() {
        assert_eq!(shape(vec![step("intake", 1, 1, Some(99), 10)]), [(1, 0)]);
    }

    #[test]
    fn a_cycle_ends() {
        let steps = vec![
            step("intake", 1, 1, Some(2), 10),
            step("assignment", 1, 2, Some(1), 20),
            step("intake", 2, 3, Some(3), 30),
        ];
        let ids: Vec<u128> = shape(steps).into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids.len(), 3);
    }

    proptest! {
        #[test]
        fn the_order_does_not_depend_on_the_arrival(
            times in proptest::collection::vec(0i64..20, 1..30),
            seed in any::<u64>(),
        ) {
            // A random forest over two ledgers; causes have lower numbers, so there is no cycle.
            let mut random = seed;
            let mut next = |most: usize| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (random >> 33) as usize % most
            };
            let mut steps: Vec<Step> = times.iter().enumerate().map(|(index, time)| {
                let cause = (index > 0 && next(3) > 0).then(|| next(index) as u128 + 1);
                let service = ["intake", "assignment"][next(2)];
                step(service, index as u64 + 1, index as u128 + 1, cause, *time)
            }).collect();
            let expected = shape(steps.clone());
            for (index, (id, _)) in expected.iter().enumerate() {
                let step = &steps[*id as usize - 1];
                let before: Vec<u128> = expected[..index].iter().map(|(id, _)| *id).collect();
                if let Some(cause) = step.cause {
                    prop_assert!(before.contains(&cause.as_u128()));
                }
            }
            for index in (1..steps.len()).rev() {
                steps.swap(index, next(index + 1));
            }
            prop_assert_eq!(shape(steps), expected);
        }
    }
}

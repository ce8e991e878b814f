//! Making a failing plan smaller while it still fails.

use super::plan::{Plan, Step};

/// How often a plan is tried at most.
const TRIES: usize = 1_500;

/// A plan with fewer steps, fewer transactions and fewer faults that fails as well. `fails` is asked of each.
pub(crate) fn shrink(plan: &Plan, fails: impl Fn(&Plan) -> bool) -> Plan {
    let mut shrinking = Shrinking { best: plan.clone(), fails, left: TRIES };
    shrinking.calm();
    while shrinking.remove_steps() | shrinking.join_waits() | shrinking.halve_steps() {}
    shrinking.best
}

struct Shrinking<F> {
    best: Plan,
    fails: F,
    left: usize,
}

impl<F: Fn(&Plan) -> bool> Shrinking<F> {
    fn try_out(&mut self, plan: Plan) -> bool {
        let tries = self.left > 0 && (self.fails)(&plan);
        self.left = self.left.saturating_sub(1);
        if tries {
            self.best = plan;
        }
        tries
    }

    /// Without what goes wrong by chance.
    fn calm(&mut self) {
        let calmer: [fn(&mut Plan); 6] = [
            |plan| plan.odds.poison = 0,
            |plan| plan.odds.lost_answer = 0,
            |plan| plan.odds.lost_call = 0,
            |plan| plan.load_parallelism = 1,
            |plan| plan.alters = false,
            |plan| plan.rows = 4,
        ];
        for change in calmer {
            let mut plan = self.best.clone();
            change(&mut plan);
            self.try_out(plan);
        }
    }

    /// Takes out runs of steps, long ones first; true if any went.
    fn remove_steps(&mut self) -> bool {
        let before = self.best.steps.len();
        let mut size = before.next_power_of_two();
        while size > 0 {
            let mut at = 0;
            while at < self.best.steps.len() {
                let mut plan = self.best.clone();
                plan.steps.drain(at..(at + size).min(plan.steps.len()));
                if !self.try_out(plan) {
                    at += size;
                }
            }
            size /= 2;
        }
        self.best.steps.len() < before
    }

    /// Makes one pause of two that follow each other; true if any were.
    fn join_waits(&mut self) -> bool {
        let before = self.best.steps.len();
        let mut at = 0;
        while at + 1 < self.best.steps.len() {
            let mut plan = self.best.clone();
            match (plan.steps[at], plan.steps[at + 1]) {
                (Step::Wait { millis: first }, Step::Wait { millis: second }) => {
                    plan.steps[at] = Step::Wait { millis: first + second };
                    plan.steps.remove(at + 1);
                    if !self.try_out(plan) {
                        at += 1;
                    }
                }
                _ => at += 1,
            }
        }
        self.best.steps.len() < before
    }

    /// Halves what steps do; true if any does less.
    fn halve_steps(&mut self) -> bool {
        let mut any = false;
        for at in 0..self.best.steps.len() {
            while let Some(half) = halved(self.best.steps[at]) {
                let mut plan = self.best.clone();
                plan.steps[at] = half;
                if !self.try_out(plan) {
                    break;
                }
                any = true;
            }
        }
        any
    }
}

fn halved(step: Step) -> Option<Step> {
    match step {
        Step::Write { seed, transactions, most_changes } if transactions > 1 => {
            Some(Step::Write { seed, transactions: transactions / 2, most_changes })
        }
        Step::Progress { seed, steps } if steps > 1 => Some(Step::Progress { seed, steps: steps / 2 }),
        Step::Wait { millis } if millis > 1 => Some(Step::Wait { millis: millis / 2 }),
        _ => None,
    }
}

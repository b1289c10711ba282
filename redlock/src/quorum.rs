//! Counting votes: when a round is won, when it is lost, when it must go on. No I/O, no time.

/// How many of `nodes` must agree: ⌊N/2⌋ + 1.
#[must_use]
pub const fn quorum(nodes: usize) -> usize {
    nodes / 2 + 1
}

/// Where a round stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A quorum may still be had and is not there yet.
    Pending,
    /// A quorum said yes.
    Won,
    /// A quorum can no longer be had.
    Lost,
}

/// The votes of one round, counted over all nodes, whether they answer or not.
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    nodes: usize,
    yes: usize,
    no: usize,
    failed: usize,
}

impl Tally {
    /// Nobody has voted yet.
    #[must_use]
    pub const fn new(nodes: usize) -> Self {
        Self { nodes, yes: 0, no: 0, failed: 0 }
    }

    /// A node agreed.
    pub fn yes(&mut self) {
        self.yes += 1;
    }

    /// A node refused.
    pub fn no(&mut self) {
        self.no += 1;
    }

    /// A node has no answer.
    pub fn failed(&mut self) {
        self.failed += 1;
    }

    /// How many nodes are settled, one way or another.
    #[must_use]
    pub const fn answered(&self) -> usize {
        self.yes + self.no + self.failed
    }

    /// Won as soon as yes ≥ quorum, lost as soon as yes + missing < quorum: a round always ends,
    /// also with half of an even number of nodes down.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        let quorum = quorum(self.nodes);
        let missing = self.nodes - self.answered();
        if self.yes >= quorum {
            Outcome::Won
        } else if self.yes + missing < quorum {
            Outcome::Lost
        } else {
            Outcome::Pending
        }
    }

    /// How many nodes gave which vote.
    #[cfg(feature = "metrics")]
    pub(crate) const fn votes(&self) -> [(&'static str, usize); 4] {
        [("yes", self.yes), ("no", self.no), ("failed", self.failed), ("silent", self.nodes - self.answered())]
    }

    /// So many nodes said no that a quorum of yes is impossible, whatever failed nodes hold.
    #[must_use]
    pub const fn refuted(&self) -> bool {
        self.no > self.nodes - quorum(self.nodes)
    }

    /// So many nodes failed that those left over cannot make a quorum.
    #[must_use]
    pub const fn crippled(&self) -> bool {
        self.failed > self.nodes - quorum(self.nodes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(nodes: usize, yes: usize, no: usize, failed: usize) -> Tally {
        Tally { nodes, yes, no, failed }
    }

    #[test]
    fn quorums() {
        assert_eq!([1, 2, 3, 4, 5].map(quorum), [1, 2, 2, 3, 3]);
    }

    #[test]
    fn half_of_an_even_number_is_an_answer() {
        assert_eq!(tally(4, 2, 0, 2).outcome(), Outcome::Lost);
        assert_eq!(tally(4, 2, 0, 1).outcome(), Outcome::Pending);
    }

    #[test]
    fn a_round_is_lost_before_the_slowest_node_has_answered() {
        assert_eq!(tally(5, 0, 0, 3).outcome(), Outcome::Lost);
        assert_eq!(tally(5, 2, 1, 2).outcome(), Outcome::Lost);
        assert_eq!(tally(5, 2, 0, 2).outcome(), Outcome::Pending);
    }

    #[test]
    fn every_complete_round_is_decided_and_no_decision_is_taken_back() {
        for nodes in 1..=7 {
            for yes in 0..=nodes {
                for no in 0..=nodes - yes {
                    for failed in 0..=nodes - yes - no {
                        check(tally(nodes, yes, no, failed));
                    }
                }
            }
        }
    }

    fn check(tally: Tally) {
        let outcome = tally.outcome();
        if tally.answered() == tally.nodes {
            assert_ne!(outcome, Outcome::Pending, "{tally:?}");
            return;
        }
        let steps: [fn(&mut Tally); 3] = [Tally::yes, Tally::no, Tally::failed];
        for step in steps {
            let mut next = tally;
            step(&mut next);
            assert!(outcome == Outcome::Pending || next.outcome() == outcome, "{tally:?} {next:?}");
        }
    }
}

//! Where the time of a step goes.

use std::path::PathBuf;

/// Where the time of steps went, by operator: of some of a run's steps, behind the first ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// How many steps it is of.
    pub steps: usize,
    /// What a step took, in seconds: the mean.
    pub seconds: f64,
    /// What took the most first. Operators of gnp's domain have a kernel of ours.
    pub operators: Vec<OperatorTime>,
    /// The engine's own record of each node of each step, which its tools show. It is there as long as the engine.
    pub trace: PathBuf,
}

impl Profile {
    /// The seconds of a step in which no operator was computed: from one to the next.
    pub fn between(&self) -> f64 {
        (self.seconds - self.operators.iter().map(|operator| operator.seconds).sum::<f64>()).max(0.0)
    }

    /// How many nodes a step computes: the mean, as not every step takes the same branch.
    pub fn nodes(&self) -> f64 {
        self.operators.iter().map(|operator| operator.nodes).sum()
    }
}

/// What all nodes of one operator take in a step.
#[derive(Clone, Debug, PartialEq)]
pub struct OperatorTime {
    /// `Conv`; `gnp.Elementwise`.
    pub operator: String,
    /// How many there are: the mean.
    pub nodes: f64,
    /// Their time in seconds: the mean.
    pub seconds: f64,
}

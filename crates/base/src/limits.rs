//! How large a rewrite may become.
//!
//! A file of a few hundred bytes can ask for anything: functions that call each other twice, sizes of 2⁴⁰, a kernel of
//! a million elements. What is made from numbers that a file declares, and not from bytes that it has, draws on these
//! limits. No real model comes near them.

use crate::{Error, Result};

/// How many nodes calls of functions may make of a node of the file.
pub const GROWTH: usize = 32;
/// A model of so many nodes is small.
const SMALL: usize = 5_000;

/// What a rewrite may make.
///
/// ```
/// use gnp_base::limits::Limits;
/// let limits = Limits { nodes: 2_000_000, ..Limits::default() };
/// assert!(limits.nodes > Limits::default().nodes);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The nodes of a graph, those of the model among them. Calls of functions moreover may not make more than
    /// [`GROWTH`] nodes of one of the file, except in a small model, unless more nodes are allowed than by default.
    pub nodes: usize,
    /// The bytes of constants that the model computes from numbers alone. What would be larger is left to the engine.
    pub constant_bytes: usize,
    /// How deep functions and bodies of nodes stand in each other.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { nodes: 500_000, constant_bytes: 256 << 20, depth: 100 }
    }
}

impl Limits {
    /// # Errors
    /// Where so many nodes are too many.
    pub fn check_nodes(&self, nodes: usize) -> Result<()> {
        if nodes <= self.nodes {
            return Ok(());
        }
        Err(Error::input(format!("the graph becomes too large: more than {} nodes", self.nodes))
            .help("if the model is one that you trust and is so large, allow it more with --max-nodes"))
    }

    /// The same with the nodes that functions may be inlined to in a file of `nodes`.
    pub fn of_calls(self, nodes: usize) -> Self {
        if self.nodes > Self::default().nodes {
            return self;
        }
        Self { nodes: self.nodes.min(nodes.saturating_mul(GROWTH).max(SMALL)), ..self }
    }

    /// # Errors
    /// Where functions and bodies stand in each other deeper than is allowed.
    pub fn check_depth(&self, depth: usize) -> Result<()> {
        if depth <= self.depth {
            return Ok(());
        }
        Err(Error::input(format!("functions and bodies stand in each other more than {} deep", self.depth))
            .help("the model is damaged or made to harm; if you trust it, allow it more with --max-depth"))
    }
}

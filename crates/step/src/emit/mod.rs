//! What comes out: the edited graph as a model that a runtime trains with.

pub mod artifact;
pub mod evaluation;
pub mod step;
pub mod trained;
pub mod training;

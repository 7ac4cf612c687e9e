//! What comes out: the edited graph as a file that a training runtime takes.

pub mod artifact;

//! What added nodes are for: the passes, as names and metadata tell them.

/// The loss that is put on a forward model.
pub const LOSS: &str = "loss";
/// Casts to half precision and back.
pub const PRECISION: &str = "precision";
/// The objective at θ, where the graph did not have it.
pub const GRADIENT: &str = "gradient";
/// What is computed again for the gradient.
pub const RECOMPUTED: &str = "recomputed";
/// Small parameters of one shape, and their gradients, as one.
pub const STACK: &str = "stack";
/// θ + ε, from θ and ∇L(θ).
pub const PERTURBATION: &str = "perturbation";
/// The objective at θ + ε.
pub const PERTURBED: &str = "perturbed";
/// The mix of both gradients.
pub const MIX: &str = "mix";
/// The parts of a batch, and the sums over them.
pub const PARTS: &str = "parts";
/// What is returned and nothing else depends on.
pub const METRICS: &str = "metrics";
/// From the penalised gradient to the new state.
pub const UPDATE: &str = "update";
/// What infers in an evaluation model.
pub const INFERENCE: &str = "inference";
/// What a training graph keeps from step to step.
pub const STATE: &str = "state";
/// Gradients into the buffers of ONNX Runtime's training API.
pub const ACCUMULATE: &str = "accumulate";

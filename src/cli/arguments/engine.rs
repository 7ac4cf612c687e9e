//! What computes, and how.

use super::bounded::threads;
use super::named::named;
use crate::engine::{CudaGraph, Device, EngineKind, HalfPrecision, Kernels, Layout, OrtOption, Tf32};
use crate::experiment::EngineSettings;
use crate::named::Named as _;
use clap::Args;
use std::num::NonZero;
use std::path::PathBuf;

/// The engine, and how it computes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Engine")]
pub struct EngineArguments {
    /// What to train with
    #[arg(long, value_parser = named::<EngineKind>(), default_value = EngineKind::Auto.name())]
    engine: EngineKind,
    /// Where to compute: cpu, cuda or cuda:N, the Nth device from 0
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// ONNX Runtime library to use, rather than the first that will do of those listed by `gnp-run engines`
    #[arg(long, value_name = "PATH")]
    ort_lib: Option<PathBuf>,
    /// Threads that one operator may use, no more than the machine runs at a time [default: one a core]
    #[arg(long, value_name = "N", value_parser = threads)]
    threads: Option<NonZero<u16>>,
    /// How the graph is arranged while a step is computed: images, products, sums, norms [default: auto]
    #[arg(long, value_parser = named::<Layout>(), value_name = "HOW")]
    layout: Option<Layout>,
    /// What computes the functions that a step model calls
    #[arg(long, value_parser = named::<Kernels>(), default_value = Kernels::default().name())]
    kernels: Kernels,
    /// Whether products of matrices on NVIDIA's cards are of factors rounded to TF32 [default: on]
    #[arg(long, value_parser = named::<Tf32>(), value_name = "SWITCH")]
    tf32: Option<Tf32>,
    /// What computes in half precision, where the step model asks for that (--precision)
    #[arg(long, value_parser = named::<HalfPrecision>(), default_value = HalfPrecision::default().name())]
    half: HalfPrecision,
    /// Whether the work of a step on NVIDIA's cards is recorded once, and then given to the card as a whole
    #[arg(long, value_parser = named::<CudaGraph>(), default_value = CudaGraph::default().name())]
    cuda_graph: CudaGraph,
    /// Set an option of ONNX Runtime's own: of its sessions where the key has a dot, else of the device's execution
    /// provider; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    ort_option: Vec<OrtOption>,
}

impl EngineArguments {
    /// What is asked for.
    pub fn settings(&self) -> EngineSettings {
        EngineSettings {
            engine: self.engine.into(),
            device: self.device,
            ort_lib: self.ort_lib.clone(),
            threads: self.threads,
            layout: self.layout.unwrap_or_default(),
            kernels: self.kernels,
            tf32: self.tf32,
            half: self.half,
            cuda_graph: self.cuda_graph,
            ort_options: self.ort_option.clone(),
        }
    }
}

//! The options of an engine in ONNX Runtime's own form.

use super::api::{Api, c_path, c_string};
use super::provider::append_cuda;
use crate::runtime::Runtime;
#[cfg(feature = "cuda")]
use crate::runtime::system::leads_to_current_folder;
use crate::{Device, EngineOptions, Kernels};
use bytes::Bytes;
use gnp_base::contract::functions;
use gnp_base::{Error, ErrorKind, Result};
use gnp_kernels::ort::{self as kernels, Target};
use gnp_model::onnx::Model;
use gnp_model::onnx::proto::GraphProto;
use ort::sys::{OrtLoggingLevel, OrtSessionOptions, os_char};
use std::collections::BTreeSet;
use std::ffi::{CStr, c_int};
use std::num::NonZero;
use std::path::Path;
use std::ptr;

/// Options in ONNX Runtime's own form.
pub(crate) struct SessionOptions {
    api: &'static Api,
    pointer: *mut OrtSessionOptions,
    /// Where our kernels compute, if they may.
    kernels: Option<Target>,
    /// Why they do not, where they were to.
    lacks: Option<String>,
}

// SAFETY: ONNX Runtime lets any thread use and release it, one at a time.
unsafe impl Send for SessionOptions {}

impl Drop for SessionOptions {
    fn drop(&mut self) {
        // SAFETY: the options are ours, and sessions keep their own copy.
        unsafe { (self.api.base.ReleaseSessionOptions)(self.pointer) }
    }
}

/// What a quantised weight is multiplied with stays float32: by itself ONNX Runtime rounds it to 8 bits.
const FACTORS_STAY: (&CStr, &CStr) = (c"session.qdq_matmulnbits_accuracy_level", c"1");

impl SessionOptions {
    /// # Errors
    /// Where `runtime` cannot compute on the device here, with what is missing, or the provider does not start; where
    /// it refuses one of its own options.
    pub(crate) fn new(api: &'static Api, runtime: &Runtime, options: &EngineOptions) -> Result<Self> {
        Self::with_provider(api, runtime, options, false)
    }

    /// The same for sessions that record what they do on a card as CUDA graphs.
    ///
    /// # Errors
    /// As [`SessionOptions::new`].
    pub(super) fn recording(api: &'static Api, runtime: &Runtime, options: &EngineOptions) -> Result<Self> {
        Self::with_provider(api, runtime, options, true)
    }

    /// For small sessions on the processor, whatever computes the steps.
    pub(super) fn of_processor(api: &'static Api, runtime: &Runtime) -> Result<Self> {
        Self::new(api, runtime, &EngineOptions { threads: NonZero::new(1), ..EngineOptions::default() })
    }

    fn with_provider(api: &'static Api, runtime: &Runtime, options: &EngineOptions, records: bool) -> Result<Self> {
        options.check_tf32()?;
        let base = api.base;
        let mut pointer = ptr::null_mut();
        // SAFETY: the out pointer is valid.
        api.check(unsafe { (base.CreateSessionOptions)(&mut pointer) })?;
        let mut new = Self { api, pointer, kernels: None, lacks: None };
        // SAFETY: the options are valid.
        unsafe {
            api.check((base.SetSessionLogSeverityLevel)(pointer, OrtLoggingLevel::ORT_LOGGING_LEVEL_FATAL as c_int))?;
            api.check((base.SetDeterministicCompute)(pointer, true))?;
            if let Some(threads) = options.threads {
                api.check((base.SetIntraOpNumThreads)(pointer, threads.get().into()))?;
            }
        }
        if options.device == Device::Cpu {
            // A pattern holds all of a pass's memory to the end of the step, that of the first pass through the second,
            // beside what the arena has. Without it the second pass takes what the first one has let go of.
            // SAFETY: the options are valid.
            api.check(unsafe { (base.DisableMemPattern)(pointer) })?;
        }
        // SAFETY: the options and the strings are valid.
        api.check(unsafe { (base.AddSessionConfigEntry)(pointer, FACTORS_STAY.0.as_ptr(), FACTORS_STAY.1.as_ptr()) })?;
        let (of_sessions, of_provider) = options.ort.iter().partition::<Vec<_>, _>(|option| option.is_of_sessions());
        for option in of_sessions {
            let (key, value) = (c_string(&option.key)?, c_string(&option.value)?);
            // SAFETY: the options and the strings are valid.
            api.check(unsafe { (base.AddSessionConfigEntry)(pointer, key.as_ptr(), value.as_ptr()) })
                .map_err(|e| Error::input(format!("--ort-option {option} is refused: {e}")))?;
        }
        match (options.device, of_provider.first()) {
            (Device::Cuda(number), _) => {
                runtime.prepare_cuda(number)?;
                append_cuda(api, pointer, number, options, records).map_err(|e| match e.kind() {
                    ErrorKind::Input => e,
                    _ => Error::engine(format!("cannot use the device {}: {e}", options.device)),
                })?;
            }
            (Device::Cpu, Some(option)) => {
                return Err(Error::input(format!(
                    "--ort-option {option} is of no use: on the processor ONNX Runtime has options of sessions alone"
                ))
                .help("leave it out, or name an option of sessions, such as `session.intra_op.allow_spinning=0`"));
            }
            (Device::Cpu, None) => {}
        }
        match target(options) {
            Ok(kernels) => new.kernels = kernels,
            Err(why) => new.lacks = Some(why),
        }
        Ok(new)
    }

    /// These options for a model whose external data is in `files` in memory, by their names. Who calls keeps the
    /// files.
    pub(super) fn with_files(&self, names: &[Vec<os_char>], files: &[Bytes]) -> Result<Self> {
        let (api, base) = (self.api, self.api.base);
        let mut pointer = ptr::null_mut();
        // SAFETY: the options and the out pointer are valid; the new options are released with what is returned.
        api.check(unsafe { (base.CloneSessionOptions)(self.pointer, &mut pointer) })?;
        let new = Self { api, pointer, kernels: self.kernels, lacks: self.lacks.clone() };
        let names: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
        let buffers: Vec<_> = files.iter().map(|file| file.as_ptr().cast_mut().cast()).collect();
        let lengths: Vec<_> = files.iter().map(Bytes::len).collect();
        if !names.is_empty() {
            // SAFETY: the arrays have one length and live through the call; names are NUL-terminated. ONNX Runtime
            // reads the buffers, and writes into none.
            api.check(unsafe {
                let (names, buffers, lengths) = (names.as_ptr(), buffers.as_ptr(), lengths.as_ptr());
                (base.AddExternalInitializersFromMemory)(pointer, names, buffers, lengths, files.len())
            })?;
        }
        Ok(new)
    }

    /// Has the sessions that are made from now on record what they compute, in a file whose name begins with `prefix`.
    pub(super) fn profile_to(&self, prefix: &Path) -> Result<()> {
        let prefix = c_path(prefix)?;
        // SAFETY: the options are valid, and the path is NUL-terminated.
        self.api.check(unsafe { (self.api.base.EnableProfiling)(self.pointer, prefix.as_ptr()) })
    }

    /// Lets our kernels run in place of the functions that `model` brings along, where there are kernels for them.
    /// Returns how many nodes of its graph they compute.
    pub(super) fn register_kernels(&self, model: &Model) -> Result<usize> {
        let Some(target) = self.kernels else { return Ok(0) };
        let mut names = BTreeSet::new();
        let on_kernels = on_kernels(&model.graph, target, &mut names);
        if names.is_empty() {
            return Ok(0);
        }
        // SAFETY: the options are of this API, whose version is at least the one that kernels are written to.
        unsafe { kernels::register(self.api.base, self.pointer, &[target], names)? };
        Ok(on_kernels)
    }

    /// Whether a kernel of ours may compute the function `name`.
    pub(super) fn has_kernel(&self, name: &str) -> bool {
        self.kernels.is_some_and(|target| kernels::has(target, name))
    }

    /// Why our kernels do not compute, where they were to.
    pub(super) fn lacks(&self) -> Option<&str> {
        self.lacks.as_deref()
    }

    /// Where our kernels compute; none where they do not.
    pub(super) fn kernels(&self) -> Option<Target> {
        self.kernels
    }

    pub(crate) fn pointer(&self) -> *const OrtSessionOptions {
        self.pointer
    }
}

/// Where our kernels compute, if they are to; why they do not, where what they want is not found. A card's provider has
/// to be loaded before, and with it NVIDIA's libraries: the kernels ask for them by their names.
fn target(options: &EngineOptions) -> Result<Option<Target>, String> {
    match (options.kernels, options.device) {
        (Kernels::None, _) => Ok(None),
        (Kernels::Auto, Device::Cpu) => Ok(Some(Target::Cpu)),
        #[cfg(feature = "cuda")]
        (Kernels::Auto, Device::Cuda(_)) => {
            if let Some(variable) = leads_to_current_folder() {
                return Err(format!("{variable} has an entry that is no absolute path"));
            }
            match gnp_kernels::cuda::missing() {
                None => Ok(Some(Target::Cuda { tf32: options.tf32 != Some(crate::Tf32::Off) })),
                Some(library) => Err(format!("{library} is not found")),
            }
        }
        #[cfg(not(feature = "cuda"))]
        (Kernels::Auto, Device::Cuda(_)) => Ok(None),
    }
}

/// How many nodes of a graph, those in bodies of nodes among them, kernels of ours compute; and which, by name.
fn on_kernels<'g>(graph: &'g GraphProto, target: Target, names: &mut BTreeSet<&'g str>) -> usize {
    let mut count = 0;
    for node in &graph.node {
        if node.domain() == functions::DOMAIN
            && (names.contains(node.op_type()) || kernels::has(target, node.op_type()))
        {
            names.insert(node.op_type());
            count += 1;
        }
        count += node.subgraphs().map(|body| on_kernels(body, target, names)).sum::<usize>();
    }
    count
}

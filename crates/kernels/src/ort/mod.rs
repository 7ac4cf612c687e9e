//! The kernels as custom operators of ONNX Runtime, by its C API (from version 18 on).
//!
//! A kind of kernel is a file in `kinds/` and a row of `KINDS`. One that files call is there under the numbered names of
//! its kind ([`functions::numbered`]), any other under its name.

mod attributes;
mod context;
mod kinds;
mod library;
mod operator;
#[cfg(feature = "cuda")]
mod queue;
mod shapes;
mod status;

pub use library::RegisterCustomOps;

use gnp_base::contract::functions;
use gnp_base::{Error, Result};
use kinds::{KINDS, Kind};
use operator::Operator;
use ort_sys::{OrtApi, OrtCustomOpDomain, OrtSessionOptions};
use std::collections::BTreeSet;
use std::ffi::CString;
use std::ptr;
use std::sync::{Mutex, PoisonError};

/// The version of the C API that kernels are written to: the first with all that they call.
pub const API_VERSION: u32 = 18;

/// Where kernels compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// On the processor.
    Cpu,
    /// On NVIDIA's cards.
    #[cfg(feature = "cuda")]
    Cuda {
        /// Whether products may be of factors rounded to TF32, as ONNX Runtime's are unless it is told otherwise.
        tf32: bool,
    },
}

/// Adds kernels to the options of a session, which then runs them in place of the functions of their names. Of `names`,
/// those in the domain [`functions::DOMAIN`] that a model calls, those are taken that there are kernels for. To give
/// more than are called is right, and takes ONNX Runtime some 0.1 ms each.
///
/// # Errors
/// What ONNX Runtime refuses.
///
/// # Safety
/// `api` is the function table of the ONNX Runtime that `options` are of, of version [`API_VERSION`] or later.
pub unsafe fn register<'n>(
    api: &'static OrtApi,
    options: *mut OrtSessionOptions,
    targets: &[Target],
    names: impl IntoIterator<Item = &'n str>,
) -> Result<()> {
    let names: BTreeSet<&str> = names.into_iter().collect();
    let all = targets.iter().flat_map(|target| kernels(*target));
    let wanted = all.filter(|(.., name)| names.contains(&**name)).collect();
    // SAFETY: by this function's contract; the domain and its operators live as long as the process.
    unsafe { status::check(api, (api.AddCustomOpDomain)(options, domain(api, wanted)?)) }
}

/// Whether there is a kernel for the function of this name.
pub fn has(target: Target, name: &str) -> bool {
    let kind = functions::kind_of(name);
    kernels(target).filter(|(known, ..)| known.name == kind).any(|(.., known)| known == name)
}

/// All kernels that compute there, with their names.
fn kernels(target: Target) -> impl Iterator<Item = (&'static Kind, Target, String)> {
    let numbers = |kind: &Kind| 0..if kind.is_function { functions::MOST_OF_A_KIND } else { 1 };
    let kinds = KINDS.iter().filter(move |kind| target == Target::Cpu || kind.is_on_cuda);
    kinds.flat_map(move |kind| numbers(kind).map(move |number| (kind, target, functions::numbered(kind.name, number))))
}

/// A domain that was made: the function table of its ONNX Runtime, its operators, its address.
type Made = (usize, Vec<(Target, String)>, usize);

/// They live as long as the process, as ONNX Runtime keeps pointers to them, and so are made once.
static DOMAINS: Mutex<Vec<Made>> = Mutex::new(Vec::new());

/// The domain with these operators.
///
/// # Safety
/// As [`register`].
unsafe fn domain(api: &'static OrtApi, wanted: Vec<(&'static Kind, Target, String)>) -> Result<*mut OrtCustomOpDomain> {
    let mut domains = DOMAINS.lock().unwrap_or_else(PoisonError::into_inner);
    let table = ptr::from_ref(api) as usize;
    let (kinds, names): (Vec<_>, Vec<_>) =
        wanted.into_iter().map(|(kind, target, name)| (kind, (target, name))).unzip();
    if let Some((.., domain)) = domains.iter().find(|(of, has, _)| *of == table && *has == names) {
        return Ok(*domain as *mut OrtCustomOpDomain);
    }
    let c_string = |name: &str| CString::new(name).map_err(|_| Error::internal("a name holds a NUL"));
    let operator = |(kind, (target, name)): (&'static Kind, &(Target, String))| {
        Ok::<_, Error>(Operator::new(api, kind, *target, c_string(name)?))
    };
    let operators: &'static [Operator] =
        kinds.into_iter().zip(&names).map(operator).collect::<Result<Vec<_>>>()?.leak();
    let (name, mut domain) = (c_string(functions::DOMAIN)?, ptr::null_mut());
    // SAFETY: the name, the out pointer and the operators are valid; the operators live as long as the process.
    unsafe {
        status::check(api, (api.CreateCustomOpDomain)(name.as_ptr(), &mut domain))?;
        for operator in operators {
            status::check(api, (api.CustomOpDomain_Add)(domain, operator.declaration()))?;
        }
    }
    domains.push((table, names, domain as usize));
    Ok(domain)
}

//! The kernels as custom operators of ONNX Runtime, by its C API (from version 18 on).
//!
//! A kind of kernel is a file in `kinds/` and a row of [`KINDS`]. Each is there under the numbered names of its kind
//! ([`functions::numbered`]).

mod attributes;
mod context;
mod kinds;
mod library;
mod operator;
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
    names: impl IntoIterator<Item = &'n str>,
) -> Result<()> {
    let names: BTreeSet<&str> = names.into_iter().collect();
    let wanted = kernels().filter(|(_, name)| names.contains(&**name)).collect();
    // SAFETY: by this function's contract; the domain and its operators live as long as the process.
    unsafe { status::check(api, (api.AddCustomOpDomain)(options, domain(api, wanted)?)) }
}

/// Whether there is a kernel for the function of this name.
pub fn has(name: &str) -> bool {
    kernels().any(|(_, known)| known == name)
}

/// All kernels, with their names.
fn kernels() -> impl Iterator<Item = (&'static Kind, String)> {
    let numbers = 0..functions::MOST_OF_A_KIND;
    numbers.flat_map(|number| KINDS.iter().map(move |kind| (kind, functions::numbered(kind.name, number))))
}

/// A domain that was made: the function table of its ONNX Runtime, the names of its operators, its address.
type Made = (usize, Vec<String>, usize);

/// They live as long as the process, as ONNX Runtime keeps pointers to them, and so are made once.
static DOMAINS: Mutex<Vec<Made>> = Mutex::new(Vec::new());

/// The domain with these operators.
///
/// # Safety
/// As [`register`].
unsafe fn domain(api: &'static OrtApi, wanted: Vec<(&'static Kind, String)>) -> Result<*mut OrtCustomOpDomain> {
    let mut domains = DOMAINS.lock().unwrap_or_else(PoisonError::into_inner);
    let table = ptr::from_ref(api) as usize;
    let (kinds, names): (Vec<_>, Vec<_>) = wanted.into_iter().unzip();
    if let Some((.., domain)) = domains.iter().find(|(of, has, _)| *of == table && *has == names) {
        return Ok(*domain as *mut OrtCustomOpDomain);
    }
    let c_string = |name: &str| CString::new(name).map_err(|_| Error::internal("a name holds a NUL"));
    let operator = |(kind, name): (&'static Kind, &String)| Ok::<_, Error>(Operator::new(api, kind, c_string(name)?));
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

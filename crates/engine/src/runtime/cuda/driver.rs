//! NVIDIA's driver, asked through its own library: whether it is there, and which cards it has.

use super::Lack;
use crate::runtime::system;
use libloading::Library;
use std::ffi::{CStr, c_char, c_int, c_uint};
use std::fmt;
use std::sync::OnceLock;

/// The driver's library.
pub(super) const LIBRARY: &str = if cfg!(windows) { "nvcuda.dll" } else { "libcuda.so.1" };

/// A card of NVIDIA's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// Its name.
    pub name: String,
    /// Its compute capability, (9, 0) for 9.0.
    pub capability: (u32, u32),
}

impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The driver, and what it drives.
#[derive(Debug)]
pub(super) struct Driver {
    /// The CUDA that it serves, as `12.4`.
    pub(super) version: String,
    /// The card of each number. There may be none.
    pub(super) cards: Vec<Card>,
}

impl Driver {
    /// The major version of the CUDA that it serves; it serves those before it, too.
    pub(super) fn major(&self) -> u32 {
        self.version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0)
    }
}

/// The driver. It is loaded and asked once a process, and stays loaded. No card is made use of.
pub(super) fn driver() -> Result<&'static Driver, Lack> {
    static DRIVER: OnceLock<Result<Driver, Lack>> = OnceLock::new();
    DRIVER.get_or_init(ask).as_ref().map_err(Clone::clone)
}

/// The codes of `CUresult` that are no faults of the driver.
const SUCCESS: c_int = 0;
const NO_DEVICE: c_int = 100;
/// The numbers of a card's properties in `CUdevice_attribute`.
const CAPABILITY_MAJOR: c_int = 75;
const CAPABILITY_MINOR: c_int = 76;

fn ask() -> Result<Driver, Lack> {
    let path = system::library(LIBRARY).ok_or(Lack::Driver)?;
    // SAFETY: loading runs the library's initialisers; it is the system's own, by its absolute path.
    let library = unsafe { Library::new(path) }.map_err(|error| {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        Lack::WorkingDriver(source.unwrap_or_else(|| error.to_string()))
    })?;
    // It is not made to be unloaded.
    let library: &'static Library = Box::leak(Box::new(library));
    let api = Api(library);
    // SAFETY: the signatures are those of CUDA's header `cuda.h`; pointers are valid for the calls.
    unsafe {
        let init = api.get::<unsafe extern "system" fn(c_uint) -> c_int>(c"cuInit")?;
        let get_version = api.get::<unsafe extern "system" fn(*mut c_int) -> c_int>(c"cuDriverGetVersion")?;
        let get_count = api.get::<unsafe extern "system" fn(*mut c_int) -> c_int>(c"cuDeviceGetCount")?;
        let get_device = api.get::<unsafe extern "system" fn(*mut c_int, c_int) -> c_int>(c"cuDeviceGet")?;
        let get_name = api.get::<unsafe extern "system" fn(*mut c_char, c_int, c_int) -> c_int>(c"cuDeviceGetName")?;
        let get_attribute =
            api.get::<unsafe extern "system" fn(*mut c_int, c_int, c_int) -> c_int>(c"cuDeviceGetAttribute")?;

        let (mut version, mut count) = (0, 0);
        api.check(get_version(&mut version))?;
        match init(0) {
            NO_DEVICE => {}
            code => {
                api.check(code)?;
                api.check(get_count(&mut count))?;
            }
        }
        let card = |number| {
            let mut device = 0;
            api.check(get_device(&mut device, number))?;
            let mut name = [0 as c_char; 256];
            api.check(get_name(name.as_mut_ptr(), name.len() as c_int, device))?;
            let (mut major, mut minor) = (0, 0);
            api.check(get_attribute(&mut major, CAPABILITY_MAJOR, device))?;
            api.check(get_attribute(&mut minor, CAPABILITY_MINOR, device))?;
            Ok(Card {
                // It is NUL-terminated: the driver cuts it where it is too long.
                name: CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned(),
                capability: (major.unsigned_abs(), minor.unsigned_abs()),
            })
        };
        Ok(Driver {
            version: format!("{}.{}", version / 1000, version % 1000 / 10),
            cards: (0..count).map(card).collect::<Result<_, Lack>>()?,
        })
    }
}

/// The functions of the driver's library.
struct Api(&'static Library);

impl Api {
    /// # Safety
    /// `T` must be the function's own type.
    unsafe fn get<T: Copy>(&self, name: &CStr) -> Result<T, Lack> {
        // SAFETY: by contract.
        let symbol = unsafe { self.0.get::<T>(name) };
        symbol.map(|symbol| *symbol).map_err(|_| Lack::WorkingDriver(format!("nothing of {}", name.to_string_lossy())))
    }

    fn check(&self, code: c_int) -> Result<(), Lack> {
        if code == SUCCESS {
            return Ok(());
        }
        let mut name = std::ptr::null();
        // SAFETY: the signature is that of `cuda.h`; the name is a static, or null for an unknown code.
        let name = unsafe {
            let get_error_name =
                self.get::<unsafe extern "system" fn(c_int, *mut *const c_char) -> c_int>(c"cuGetErrorName")?;
            get_error_name(code, &mut name);
            (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned())
        };
        Err(Lack::WorkingDriver(name.unwrap_or_else(|| format!("error {code}"))))
    }
}

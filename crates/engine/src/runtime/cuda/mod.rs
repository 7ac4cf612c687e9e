//! Whether a build of ONNX Runtime can compute on NVIDIA's cards here and now, and what it takes that it does.
//!
//! ONNX Runtime keeps what computes on a card in a library of its own, the provider, which it loads when a session asks
//! for the device. That library is linked to others of NVIDIA's. What is missing of them is known before, from the
//! files alone; and all of them are loaded before, by their absolute paths, so that none need be on the loader's path.

mod driver;
pub(super) mod libraries;

pub use driver::Card;

use super::{Package, Runtime, cache};
use crate::Device;
use gnp_base::{Error, Result};
use libraries::Libraries;
use std::fmt;
use std::path::{Path, PathBuf};

/// ONNX Runtime's name for what computes on NVIDIA's cards.
const PROVIDER: &str = "CUDAExecutionProvider";

/// Something that a build for NVIDIA's cards needs and that is not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// NVIDIA's driver.
    Driver,
    /// A driver that starts; this is what it says.
    WorkingDriver(String),
    /// A driver for this major version of CUDA; the one that is there serves the other version.
    NewerDriver {
        /// What the build needs.
        needed: u32,
        /// What there is, as `12.4`.
        found: String,
    },
    /// A card: the driver is there, and finds none.
    Card,
    /// This library, by the name that the loader knows it by.
    Library(String),
    /// A library that can be read; this is which, and why not.
    Readable(PathBuf, String),
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Driver => write!(f, "NVIDIA's driver ({})", driver::LIBRARY),
            Self::WorkingDriver(says) => write!(f, "a driver that starts (NVIDIA's says {says})"),
            Self::NewerDriver { needed, found } => {
                write!(f, "a driver for CUDA {needed} (NVIDIA's is for CUDA {found})")
            }
            Self::Card => write!(f, "a card (NVIDIA's driver finds none)"),
            Self::Library(name) => write!(f, "the library {name}"),
            Self::Readable(path, why) => write!(f, "a readable {} ({why})", path.display()),
        }
    }
}

impl Lack {
    /// Whether an installation by gnp brings it.
    fn is_installed(&self) -> bool {
        matches!(self, Self::Library(_) | Self::Readable(..))
    }
}

/// Where a build of ONNX Runtime can compute, beside the processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cuda {
    /// It is not made for NVIDIA's cards.
    NotBuilt,
    /// It is, and these are missing.
    Lacks(Vec<Lack>),
    /// It can compute on these, the card of each number.
    Ready(Vec<Card>),
}

/// What keeps any build for CUDA of this major version from computing here, whatever its libraries.
fn machine_lacks(major: u32) -> Option<Lack> {
    match driver::driver() {
        Err(lack) => Some(lack),
        Ok(driver) if driver.major() < major => {
            Some(Lack::NewerDriver { needed: major, found: driver.version.clone() })
        }
        Ok(driver) if driver.cards.is_empty() => Some(Lack::Card),
        Ok(_) => None,
    }
}

/// The cards that a build whose provider calls `libraries` can compute on; what is missing for that, where it cannot.
fn cards_with(libraries: &Libraries) -> Result<&'static [Card], Vec<Lack>> {
    let lacks: Vec<_> = machine_lacks(libraries.major).into_iter().chain(libraries.lacks.clone()).collect();
    match driver::driver() {
        Ok(driver) if lacks.is_empty() => Ok(&driver.cards),
        _ => Err(lacks),
    }
}

impl Package {
    /// What the machine lacks to compute with this package on NVIDIA's cards, its libraries apart; none where it is not
    /// for them.
    pub fn machine_lacks(self) -> Option<Lack> {
        self.cuda().and_then(|cuda| machine_lacks(cuda.major))
    }
}

impl Runtime {
    /// Whether it is made for NVIDIA's cards.
    pub fn is_for_cuda(&self) -> bool {
        self.providers.iter().any(|provider| provider == PROVIDER)
    }

    /// Whether it computes on NVIDIA's cards here and now. This loads NVIDIA's driver, and nothing else; no card is
    /// made use of.
    pub fn cuda(&self) -> Cuda {
        if !self.is_for_cuda() {
            return Cuda::NotBuilt;
        }
        cards_with(&Libraries::of(&self.library)).map_or_else(Cuda::Lacks, |cards| Cuda::Ready(cards.to_vec()))
    }

    /// Whether it computes on `device` here and now.
    pub(super) fn serves(&self, device: Device) -> bool {
        device == Device::Cpu || matches!(self.cuda(), Cuda::Ready(_))
    }

    /// Has all at hand that ONNX Runtime loads when a session asks for card `number`.
    ///
    /// # Errors
    /// Where the build is not made for it, where something is missing, by name, and where there is no such card.
    pub(crate) fn prepare_cuda(&self, number: u32) -> Result<()> {
        let device = Device::Cuda(number);
        if !self.is_for_cuda() {
            return Err(self.not_built(device));
        }
        let libraries = Libraries::of(&self.library);
        let cards = match cards_with(&libraries) {
            Ok(cards) => cards,
            Err(lacks) => return Err(self.cannot(device, &lacks)),
        };
        if number as usize >= cards.len() {
            let names: Vec<_> = (0..).zip(cards).map(|(n, card)| format!("{} ({card})", Device::Cuda(n))).collect();
            return Err(Error::input(format!("there is no device {device}, only {}", names.join(", "))));
        }
        libraries.load().map_err(|e| e.help(self.installs()))
    }

    /// What is worth knowing before the first step on `device`: that it takes longer than others, and why. Where the
    /// process sets `CUDA_MODULE_LOADING` to `LAZY` before anything of CUDA starts, only the kernels that are used are
    /// compiled; `gnp-run` does, a library cannot.
    pub fn first_step(&self, device: Device) -> Option<String> {
        let (Device::Cuda(number), Ok(driver)) = (device, driver::driver()) else { return None };
        let card = driver.cards.get(number as usize)?;
        let package = Package::ALL.into_iter().find(|&package| {
            cache::library(package).and_then(|library| library.canonicalize().ok()).as_ref() == Some(&self.library)
        })?;
        let compiled_for = package.compiles_beyond()?;
        (card.capability.0 > compiled_for).then(|| {
            format!(
                "this build is older than the {}: the first steps take longer, as the driver compiles their kernels; \
                 it keeps them for other runs on this machine",
                card.name
            )
        })
    }

    fn not_built(&self, device: Device) -> Error {
        Error::engine(format!(
            "this ONNX Runtime cannot compute on `{device}`: it has no {PROVIDER}, only {}",
            self.providers.join(", ")
        ))
        .in_file(&self.library)
        .help(format!("use --device cpu, or name a build for that device with --ort-lib: {}", self.installs()))
    }

    fn cannot(&self, device: Device, lacks: &[Lack]) -> Error {
        let is_installed = lacks.iter().all(Lack::is_installed);
        let machine = (!is_installed).then(|| "install NVIDIA's driver, so that `nvidia-smi` lists a card".to_owned());
        let libraries = lacks.iter().any(Lack::is_installed).then(|| self.installs());
        let ways: Vec<_> = machine.into_iter().chain(libraries).collect();
        let names: Vec<_> = lacks.iter().map(ToString::to_string).collect();
        Error::engine(format!("cannot compute on `{device}` here; missing: {}", names.join(", ")))
            .in_file(&self.library)
            .help(format!("use --device cpu, or mend that: {}", ways.join("; ")))
    }

    /// What brings a build of this kind for NVIDIA's cards.
    fn installs(&self) -> String {
        format!("`{}` gets one, with the libraries that it calls", Package::of(self.kind, true).command())
    }
}

/// The file beside ONNX Runtime's `library` that computes on NVIDIA's cards.
fn provider(library: &Path) -> PathBuf {
    let name = libloading::library_filename("onnxruntime_providers_cuda");
    library.parent().map_or_else(|| PathBuf::from(&name), |folder| folder.join(&name))
}

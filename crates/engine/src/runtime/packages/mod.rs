//! The Python packages that an ONNX Runtime is installed from, and those of NVIDIA's libraries for it: the very files
//! that were tested.

mod nvidia;
mod onnxruntime;

pub(super) use nvidia::{Cuda, PARTS};
pub(super) use onnxruntime::SHIM;

use super::Kind;
use gnp_base::digest::Digest;

/// An ONNX Runtime that can be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Package {
    /// The present release, which runs step models.
    Stock,
    /// The present release for NVIDIA's cards.
    StockCuda,
    /// Microsoft's last training build, which runs artifacts and step models.
    Training,
    /// The training build for NVIDIA's cards.
    TrainingCuda,
}

impl Package {
    pub(super) const ALL: [Self; 4] = [Self::Stock, Self::StockCuda, Self::Training, Self::TrainingCuda];

    /// The one of this kind, for NVIDIA's cards or for processors.
    pub fn of(kind: Kind, cuda: bool) -> Self {
        match (kind, cuda) {
            (Kind::Stock, false) => Self::Stock,
            (Kind::Stock, true) => Self::StockCuda,
            (Kind::Training, false) => Self::Training,
            (Kind::Training, true) => Self::TrainingCuda,
        }
    }

    /// The Python package, as pip names it.
    pub fn requirement(self) -> &'static str {
        self.wheel().requirement
    }

    /// The command that installs it.
    pub fn command(self) -> &'static str {
        match self {
            Self::Stock => "gnp-run engines install onnxruntime",
            Self::StockCuda => "gnp-run engines install onnxruntime --device cuda",
            Self::Training => "gnp-run engines install training",
            Self::TrainingCuda => "gnp-run engines install training --device cuda",
        }
    }

    /// The wheel that it is in.
    pub(super) fn wheel(self) -> &'static Wheel {
        match self {
            Self::Stock => &onnxruntime::STOCK,
            Self::StockCuda => &onnxruntime::STOCK_CUDA,
            Self::Training => &onnxruntime::TRAINING,
            Self::TrainingCuda => &onnxruntime::TRAINING_CUDA,
        }
    }

    /// The CUDA that it is built for.
    pub(super) fn cuda(self) -> Option<&'static Cuda> {
        match self {
            Self::Stock | Self::Training => None,
            Self::StockCuda => Cuda::of(13),
            Self::TrainingCuda => Cuda::of(11),
        }
    }

    /// The newest generation of cards that its kernels are compiled for, as the first number of the compute capability,
    /// where it brings the means to compile them for a newer one.
    pub(super) fn compiles_beyond(self) -> Option<u32> {
        // Its kernels are compiled for 6.0 to 8.6, and are there as PTX besides. The stock build has no PTX.
        (self == Self::TrainingCuda).then_some(8)
    }

    /// What can be done where it cannot be installed.
    #[cfg(feature = "install")]
    pub(super) fn own_build(self) -> &'static str {
        match self {
            Self::Stock | Self::StockCuda => "or name an ONNX Runtime of your own with --ort-lib",
            Self::Training | Self::TrainingCuda => {
                "or build ONNX Runtime with training yourself and name its library with --ort-lib"
            }
        }
    }
}

/// A wheel, and what is taken out of it.
#[derive(Debug)]
#[cfg_attr(not(feature = "install"), expect(dead_code, reason = "it is what an installation asks for"))]
pub(super) struct Wheel {
    /// The package and its version, as pip names them.
    pub(super) requirement: &'static str,
    /// The Python and, where it is one, the platform that it is for, as pip's arguments.
    pub(super) tags: &'static [&'static str],
    /// Its sha256 as PyPI has it, one a platform.
    pub(super) sha256: &'static [&'static str],
    /// Its size in bytes, on Linux on x86-64; others are about as large.
    pub(super) bytes: u64,
    /// The size in bytes of what is taken out of it, likewise.
    pub(super) unpacked: u64,
    pub(super) content: Content,
}

/// What is taken out of a wheel.
#[derive(Debug)]
pub(super) enum Content {
    /// ONNX Runtime's library, and those of its providers.
    OnnxRuntime,
    /// The Python module of a training build, which a library of ours makes one.
    Training(Module),
    /// These of NVIDIA's libraries.
    Nvidia(&'static [&'static str]),
}

/// The module that a training wheel keeps ONNX Runtime in.
#[derive(Debug)]
#[cfg_attr(not(feature = "install"), expect(dead_code, reason = "it is what an installation asks for"))]
pub(super) struct Module {
    /// The file in the wheel, with its sha256.
    pub(super) file: (&'static str, &'static str),
    /// The file's name here: the loader takes two modules of one name for the same.
    pub(super) name: &'static str,
    /// Where the module keeps its `OrtApiBase`, from the address that it is loaded at.
    pub(super) api_base: &'static str,
    /// The libraries of its providers, with their sha256.
    pub(super) providers: &'static [(&'static str, &'static str)],
}

impl Wheel {
    /// The name of the folder that what is taken out of it lies in.
    pub(super) fn folder(&self) -> String {
        self.requirement.replace("==", "-")
    }

    /// What identifies what is in that folder: another release of gnp may install something else there.
    pub(super) fn sources(&self) -> String {
        let mut digest = Digest::default();
        self.sha256.iter().for_each(|sha256| digest.add(sha256));
        match &self.content {
            Content::OnnxRuntime => {}
            Content::Training(module) => {
                [module.name, module.api_base, SHIM].iter().for_each(|part| digest.add(part));
            }
            Content::Nvidia(libraries) => libraries.iter().for_each(|library| digest.add(library)),
        }
        digest.hex()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn wheels() -> impl Iterator<Item = &'static Wheel> {
        Package::ALL.into_iter().flat_map(|package| {
            let nvidia: &[Wheel] = package.cuda().map_or(&[], |cuda| cuda.wheels);
            [package.wheel()].into_iter().chain(nvidia)
        })
    }

    #[test]
    fn each_wheel_is_pinned_and_has_a_folder_of_its_own() {
        let mut folders = HashSet::new();
        for wheel in wheels() {
            assert!(wheel.requirement.contains("=="), "{}", wheel.requirement);
            let is_sha256 = |text: &&str| text.len() == 64 && text.bytes().all(|c| c.is_ascii_hexdigit());
            assert!(!wheel.sha256.is_empty() && wheel.sha256.iter().all(is_sha256), "{}", wheel.requirement);
            assert!(folders.insert(wheel.folder()), "{}", wheel.requirement);
        }
    }

    #[test]
    fn modules_of_training_builds_have_names_of_their_own() {
        let names: Vec<_> = wheels()
            .filter_map(|wheel| match &wheel.content {
                Content::Training(module) => Some(module.name),
                _ => None,
            })
            .collect();
        assert_eq!(names.len(), 2);
        assert_ne!(names[0], names[1]);
    }

    #[test]
    fn every_part_has_a_library_that_opens_it() {
        for wheel in wheels() {
            let Content::Nvidia(libraries) = wheel.content else { continue };
            assert!(libraries.iter().any(|library| !PARTS.iter().any(|part| part.is_part(library))), "{libraries:?}");
        }
    }
}

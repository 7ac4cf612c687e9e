//! The Python packages that an ONNX Runtime is installed from: the very files that were tested.

use gnp_base::digest::sha256;

/// An ONNX Runtime that can be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Package {
    /// The present release, which runs step models.
    Stock,
    /// Microsoft's last training build, which runs artifacts and step models.
    Training,
}

impl Package {
    /// The Python package, as pip names it.
    pub fn requirement(self) -> &'static str {
        match self {
            Self::Stock => "onnxruntime==1.32.0",
            Self::Training => "onnxruntime-training-cpu==1.19.2",
        }
    }

    /// The command that installs it.
    pub fn command(self) -> &'static str {
        match self {
            Self::Stock => "gnp-run engines install onnxruntime",
            Self::Training => "gnp-run engines install training",
        }
    }

    /// What identifies what it is installed from.
    pub(super) fn sources(self) -> String {
        match self {
            Self::Stock => sha256(STOCK_WHEELS.concat()),
            Self::Training => sha256([TRAINING_WHEEL, API_BASE, SHIM].concat()),
        }
    }

    /// The Python and, where it is one, the platform that its wheel is for, as pip's arguments.
    #[cfg(feature = "install")]
    pub(super) fn tags(self) -> &'static [&'static str] {
        match self {
            Self::Stock => &["--python-version", "3.12", "--implementation", "cp"],
            Self::Training => &TRAINING_TAGS,
        }
    }

    /// The sha256 of its wheels, one for each platform.
    #[cfg(feature = "install")]
    pub(super) fn wheels(self) -> &'static [&'static str] {
        match self {
            Self::Stock => &STOCK_WHEELS,
            Self::Training => &[TRAINING_WHEEL],
        }
    }

    /// What can be done where it cannot be installed.
    #[cfg(feature = "install")]
    pub(super) fn own_build(self) -> &'static str {
        match self {
            Self::Stock => "or name an ONNX Runtime of your own with --ort-lib",
            Self::Training => "or build ONNX Runtime with training yourself and name its library with --ort-lib",
        }
    }
}

/// The sha256 of the stock package's wheels for Python 3.12, as PyPI has them.
const STOCK_WHEELS: [&str; 5] = [
    // manylinux_2_28_x86_64
    "99e1074c4b2197accd5073052a465361be17b89c093b8ffb6e6bd8f986c52df8",
    // manylinux_2_28_aarch64
    "e36c187006e7a7c8b8d6d57f1a209dd63f52430dca6c282b177718ad6b841054",
    // macosx_14_0_arm64
    "d52510bbbcc880c13b826f7d75cdf33ac5cf0bb864d960000fc29ce73f0cb83e",
    // win_amd64
    "efe7456952c243a05a53d5b8732953625144642c2f3989094277f6217f0c0c40",
    // win_arm64
    "64d394c69d561af3efd4d4f49dcac8f11d0ce135a20701c16d53b74056cd4cf8",
];

/// The sha256 of the training package's wheel.
const TRAINING_WHEEL: &str = "9b3cde497eb76af75ecae2eb2a4e3a8b2477da0b833315a3d5e2c63f0dc8d5d6";
/// The Python and the platform that the training wheel is for.
#[cfg(feature = "install")]
const TRAINING_TAGS: [&str; 8] =
    ["--implementation", "cp", "--python-version", "3.11", "--abi", "cp311", "--platform", "manylinux_2_28_x86_64"];

/// Where the module of the training wheel keeps its `OrtApiBase`, from the address that it is loaded at.
pub(super) const API_BASE: &str = "0x140cdf0";
/// The source of the library that exports the training wheel's entry point.
pub(super) const SHIM: &str = include_str!("shim.c");

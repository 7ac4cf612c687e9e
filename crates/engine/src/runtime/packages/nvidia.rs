//! NVIDIA's packages: the libraries that a CUDA provider of ONNX Runtime calls.

use super::{Content, Wheel};

/// A major version of CUDA. A driver serves every minor version of the major versions up to its own.
#[derive(Debug)]
pub(in super::super) struct Cuda {
    /// The major version.
    pub(in super::super) major: u32,
    /// The library of cuDNN that ONNX Runtime opens by name, where it is not linked to one.
    pub(in super::super) cudnn: &'static str,
    /// Others that it opens by name, and does without where a model does not need them.
    pub(in super::super) opened: &'static [&'static str],
    /// Where its libraries come from; none where no package that can be installed is built for it.
    pub(in super::super) wheels: &'static [Wheel],
}

impl Cuda {
    /// The CUDA of this major version.
    pub(in super::super) fn of(major: u32) -> Option<&'static Self> {
        [&CUDA_11, &CUDA_12, &CUDA_13].into_iter().find(|cuda| cuda.major == major)
    }
}

/// The parts of a library, which it opens by name when it needs them. They lie beside it.
pub(in super::super) struct Parts {
    /// What the library's name begins with; the rest is its version.
    pub(in super::super) of: &'static str,
    /// What the parts' names begin with.
    pub(in super::super) prefix: &'static str,
}

impl Parts {
    /// Whether a file of this name is one of them, of whatever version.
    pub(in super::super) fn is_part(&self, name: &str) -> bool {
        name.starts_with(self.prefix)
    }
}

/// The libraries that have parts.
pub(in super::super) const PARTS: [Parts; 2] =
    [Parts { of: "libcudnn.so.", prefix: "libcudnn_" }, Parts { of: "libnvrtc.so.", prefix: "libnvrtc-builtins.so." }];

const TAGS_11: &[&str] = &["--platform", "manylinux2014_x86_64"];

static CUDA_11: Cuda = Cuda {
    major: 11,
    cudnn: "libcudnn.so.8",
    opened: &["libcufft.so.10"],
    wheels: &[
        Wheel {
            requirement: "nvidia-cuda-runtime-cu11==11.8.89",
            tags: TAGS_11,
            sha256: &["92d04069a987e1fbc9213f8376d265df0f7bb42617d44f5eda1f496acea7f2d1"],
            bytes: 875_592,
            unpacked: 679_264,
            content: Content::Nvidia(&["libcudart.so.11.0"]),
        },
        Wheel {
            requirement: "nvidia-cublas-cu11==11.11.3.6",
            tags: TAGS_11,
            sha256: &["60252822adea5d0b10cd990a7dc7bedf7435f30ae40083c7a624a85a43225abc"],
            bytes: 417_870_460,
            unpacked: 669_294_928,
            content: Content::Nvidia(&["libcublasLt.so.11", "libcublas.so.11"]),
        },
        Wheel {
            requirement: "nvidia-cudnn-cu11==8.9.6.50",
            tags: TAGS_11,
            sha256: &["319a8f7ca3d65139f1b69998595c7076ae0e4271a325e5dfde50a3ca31f55584"],
            bytes: 699_874_407,
            unpacked: 1_114_520_564,
            content: Content::Nvidia(&[
                "libcudnn.so.8",
                "libcudnn_adv_infer.so.8",
                "libcudnn_adv_train.so.8",
                "libcudnn_cnn_infer.so.8",
                "libcudnn_cnn_train.so.8",
                "libcudnn_ops_infer.so.8",
                "libcudnn_ops_train.so.8",
            ]),
        },
        Wheel {
            requirement: "nvidia-cufft-cu11==10.9.0.58",
            tags: TAGS_11,
            sha256: &["e21037259995243cc370dd63c430d77ae9280bedb68d5b5a18226bfc92e5d748"],
            bytes: 168_405_419,
            unpacked: 279_161_544,
            content: Content::Nvidia(&["libcufft.so.10"]),
        },
        Wheel {
            requirement: "nvidia-curand-cu11==10.3.0.86",
            tags: TAGS_11,
            sha256: &["cd4cffbf78bb06580206b4814d5dc696d1161c902aae37b2bba00056832379e6"],
            bytes: 58_124_497,
            unpacked: 101_334_448,
            content: Content::Nvidia(&["libcurand.so.10"]),
        },
    ],
};

static CUDA_12: Cuda =
    Cuda { major: 12, cudnn: "libcudnn.so.9", opened: &["libcufft.so.11", "libnvrtc.so.12"], wheels: &[] };

const TAGS_13: &[&str] = &["--platform", "manylinux_2_27_x86_64", "--platform", "manylinux2014_x86_64"];

/// Of CUDA 13.0, which the provider is built with, and every driver for CUDA 13 serves.
static CUDA_13: Cuda = Cuda {
    major: 13,
    cudnn: "libcudnn.so.9",
    opened: &["libcufft.so.12", "libnvrtc.so.13"],
    wheels: &[
        Wheel {
            requirement: "nvidia-cuda-runtime==13.0.96",
            tags: TAGS_13,
            sha256: &["7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548"],
            bytes: 2_243_632,
            unpacked: 704_288,
            content: Content::Nvidia(&["libcudart.so.13"]),
        },
        Wheel {
            requirement: "nvidia-cublas==13.1.0.3",
            tags: TAGS_13,
            sha256: &["ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171"],
            bytes: 423_133_236,
            unpacked: 595_773_576,
            content: Content::Nvidia(&["libcublasLt.so.13", "libcublas.so.13"]),
        },
        Wheel {
            requirement: "nvidia-cudnn-cu13==9.19.0.56",
            tags: TAGS_13,
            sha256: &["d20e1734305e9d68889a96e3f35094d733ff1f83932ebe462753973e53a572bf"],
            bytes: 366_066_321,
            unpacked: 493_410_174,
            content: Content::Nvidia(&[
                "libcudnn.so.9",
                "libcudnn_adv.so.9",
                "libcudnn_cnn.so.9",
                "libcudnn_engines_precompiled.so.9",
                "libcudnn_engines_runtime_compiled.so.9",
                "libcudnn_graph.so.9",
                "libcudnn_heuristic.so.9",
                "libcudnn_ops.so.9",
            ]),
        },
        Wheel {
            requirement: "nvidia-cuda-nvrtc==13.0.88",
            tags: TAGS_13,
            sha256: &["ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575"],
            bytes: 90_215_200,
            unpacked: 113_718_680,
            content: Content::Nvidia(&["libnvrtc.so.13", "libnvrtc-builtins.so.13.0"]),
        },
        Wheel {
            requirement: "nvidia-cufft==12.0.0.61",
            tags: TAGS_13,
            sha256: &["6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3"],
            bytes: 214_085_489,
            unpacked: 286_542_352,
            content: Content::Nvidia(&["libcufft.so.12"]),
        },
        Wheel {
            requirement: "nvidia-curand==10.4.0.35",
            tags: TAGS_13,
            sha256: &["1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc"],
            bytes: 59_544_258,
            unpacked: 132_698_328,
            content: Content::Nvidia(&["libcurand.so.10"]),
        },
    ],
};

//! ONNX Runtime's own packages.

use super::{Content, Module, Wheel};

/// The source of the library that exports a training wheel's entry point.
pub(in super::super) const SHIM: &str = include_str!("../shim.c");

pub(super) const STOCK: Wheel = Wheel {
    requirement: "onnxruntime==1.32.0",
    tags: &["--python-version", "3.12", "--implementation", "cp"],
    sha256: &[
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
    ],
    bytes: 28_000_000,
    unpacked: 36_000_000,
    content: Content::OnnxRuntime,
};

pub(super) const STOCK_CUDA: Wheel = Wheel {
    requirement: "onnxruntime-gpu==1.31.1",
    tags: &[
        "--implementation",
        "cp",
        "--python-version",
        "3.12",
        "--abi",
        "cp312",
        "--platform",
        "manylinux_2_28_x86_64",
    ],
    sha256: &["05d548956197b9d01f59b625de740e0d6be3593f874e241a12dc0362650ecdf7"],
    bytes: 255_569_273,
    unpacked: 314_446_184,
    content: Content::OnnxRuntime,
};

/// The Python and the platform that the training wheels are for.
const TRAINING_TAGS: &[&str] =
    &["--implementation", "cp", "--python-version", "3.11", "--abi", "cp311", "--platform", "manylinux_2_28_x86_64"];
const TRAINING_MODULE: &str = "onnxruntime_pybind11_state.cpython-311-x86_64-linux-gnu.so";

pub(super) const TRAINING: Wheel = Wheel {
    requirement: "onnxruntime-training-cpu==1.19.2",
    tags: TRAINING_TAGS,
    sha256: &["9b3cde497eb76af75ecae2eb2a4e3a8b2477da0b833315a3d5e2c63f0dc8d5d6"],
    bytes: 8_932_358,
    unpacked: 21_300_000,
    content: Content::Training(Module {
        file: (TRAINING_MODULE, "637012bc7b9b9e8a00b006be918091d04d143ca5c57ee820584478a15298d0ee"),
        name: "onnxruntime_training_cpu.so",
        api_base: "0x140cdf0",
        providers: &[(
            "libonnxruntime_providers_shared.so",
            "ee7bf6d4d32f523dbdebf9dec70a1b3287a1a60d019192490732750dc385f98c",
        )],
    }),
};

pub(super) const TRAINING_CUDA: Wheel = Wheel {
    requirement: "onnxruntime-training==1.19.2",
    tags: TRAINING_TAGS,
    sha256: &["6bfa1c02e6986947b18c502669beb9f1246bb52239394f7a5a3b99c10967eacf"],
    bytes: 299_339_819,
    unpacked: 836_400_000,
    content: Content::Training(Module {
        file: (TRAINING_MODULE, "c9045c5802d994f18a428ae0480d77add59818090c82d2861cf129532c5d6d01"),
        name: "onnxruntime_training_cuda.so",
        api_base: "0x1829720",
        providers: &[
            ("libonnxruntime_providers_shared.so", "950dbbe7c7a6f73b7f574c0e2308417e1e90e1f73b6472d799e25b47c6fdee82"),
            ("libonnxruntime_providers_cuda.so", "6db1583612e6c409241d84adc369463dd64f06bc7a4f6d50fee8002352e5bacd"),
        ],
    }),
};

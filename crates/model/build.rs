//! Compiles the ONNX wire schema: the message types, and the descriptors that the reader finds unknown fields with.

use prost::Message as _;
use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=../../proto/onnx.proto");
    let schema = protox::compile(["../../proto/onnx.proto"], ["../../proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("onnx.descriptors"), schema.encode_to_vec())?;
    let mut config = prost_build::Config::new();
    config.bytes(["."]);
    // Most attributes are a number or two; held in place, these would make every one of them 1.7 kB.
    for field in ["t", "g", "sparse_tensor", "tp"] {
        config.boxed(format!(".onnx.AttributeProto.{field}"));
    }
    config.compile_fds(schema)?;
    Ok(())
}

//! Compiles the ONNX wire schema: the message types, and the descriptors that the reader finds unknown fields with.

use prost::Message as _;
use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto/onnx.proto");
    let schema = protox::compile(["proto/onnx.proto"], ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("onnx.descriptors"), schema.encode_to_vec())?;
    prost_build::Config::new().bytes(["."]).compile_fds(schema)?;
    Ok(())
}

//! `proto/onnx.proto` has every field of the standard's schema, and no other.
use crate::support::python;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The release of the `onnx` package whose schema is compared; its wheel holds the schema's text.
const PACKAGE: &str = "onnx==1.23.2";

/// The folder that holds `onnx/onnx-ml.proto`, fetched once and kept in the build folder.
fn standard() -> Option<PathBuf> {
    let _alone = crate::support::alone(PACKAGE);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(PACKAGE);
    if !folder.join("onnx/onnx-ml.proto").exists() {
        let wheels = tempfile::tempdir().unwrap();
        // Any wheel will do, whatever Python it is for: only the text is read.
        let options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--python-version", "3.12", PACKAGE];
        let mut download = Command::new("python3");
        if !python::succeeds(download.args(["-m", "pip", "download"]).args(options).arg("-d").arg(wheels.path())) {
            crate::support::needs::skip("python3 with pip and a network, to get the schema of the package onnx");
            return None;
        }
        let wheel = fs::read_dir(&wheels).unwrap().next().unwrap().unwrap().path();
        let mut archive = zip::ZipArchive::new(File::open(wheel).unwrap()).unwrap();
        let mut text = archive.by_name("onnx/onnx-ml.proto").unwrap();
        fs::create_dir_all(folder.join("onnx")).unwrap();
        std::io::copy(&mut text, &mut File::create(folder.join("onnx/onnx-ml.proto")).unwrap()).unwrap();
    }
    Some(folder)
}

/// Every field of a schema: (message, number) → (name, what stands on the wire).
type Fields = BTreeMap<(String, i32), (String, String)>;

fn fields(file: &str, folder: &Path) -> Fields {
    let schema = protox::compile([file], [folder]).unwrap();
    let mut fields = Fields::new();
    for message in schema.file.iter().flat_map(|f| &f.message_type) {
        collect(message, message.name(), &mut fields);
    }
    fields
}

fn collect(message: &DescriptorProto, path: &str, fields: &mut Fields) {
    for field in &message.field {
        let key = (path.to_owned(), field.number());
        fields.insert(key, (field.name().to_owned(), on_the_wire(field)));
    }
    for nested in &message.nested_type {
        collect(nested, &format!("{path}.{}", nested.name()), fields);
    }
}

/// The type of a field as far as the wire shows it: enumerations are numbers there, and packed numbers are bytes.
fn on_the_wire(field: &FieldDescriptorProto) -> String {
    let repeated = if field.label() == Label::Repeated { "repeated " } else { "" };
    let packed = field.options.as_ref().is_some_and(|o| o.packed());
    let r#type = match field.r#type() {
        _ if packed => "bytes".to_owned(),
        Type::Enum => "int32".to_owned(),
        Type::Message => field.type_name().trim_start_matches(".onnx.").to_owned(),
        other => format!("{other:?}").to_lowercase(),
    };
    repeated.to_owned() + &r#type
}

#[test]
fn the_schema_is_the_standards() {
    let Some(standard) = standard() else { return };
    let standard = fields("onnx/onnx-ml.proto", &standard);
    let own = fields("onnx.proto", &Path::new(env!("CARGO_MANIFEST_DIR")).join("proto"));
    assert!(standard.len() > 100, "{} fields", standard.len());
    let difference = |a: &Fields, b: &Fields| {
        a.iter().filter(|(k, v)| b.get(k) != Some(v)).map(|e| format!("{e:?}")).collect::<Vec<_>>()
    };
    assert_eq!(difference(&standard, &own), [""; 0], "in the standard, and not here");
    assert_eq!(difference(&own, &standard), [""; 0], "here, and not in the standard");
}

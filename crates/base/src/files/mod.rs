//! Which files may be read, and which may be replaced: regular ones, and none that a command reads. They are replaced
//! atomically, or not at all.
//!
//! A named pipe never ends, a device may do anything when it is opened, and what a symbolic link leads to is not what
//! was named. So these are refused, before they are opened or replaced.

mod durable;
mod staging;

pub use durable::{put_in_place, sync_folder};
pub use staging::Staging;

use crate::{Error, Result};
use bytes::Bytes;
use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Opens a regular file, or one that links lead to, to read it.
///
/// # Errors
/// Where it cannot be opened, or is no regular file.
pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
    let path = path.as_ref();
    require_regular(&fs::metadata(path)?)?;
    let mut options = OpenOptions::new();
    // Should a pipe have taken its place meanwhile, opening it does not wait.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, nix::libc::O_NONBLOCK);
    let file = options.read(true).open(path)?;
    require_regular(&file.metadata()?)?;
    Ok(file)
}

/// The bytes of a regular file.
///
/// # Errors
/// As [`open`], and where it cannot be read.
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut file = open(path)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX))?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// No text that anybody writes has more bytes.
const LONGEST_TEXT: u64 = 64 << 20;

/// The text of a regular file.
///
/// # Errors
/// As [`read`], and where it is not UTF-8, or has more than 64 MiB.
pub fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    let mut bytes = Vec::new();
    open(path)?.take(LONGEST_TEXT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST_TEXT {
        let what = format!("it has more than {LONGEST_TEXT} bytes, which no text of this kind has");
        return Err(io::Error::new(ErrorKind::InvalidData, what));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not text in UTF-8"))
}

fn require_regular(metadata: &Metadata) -> io::Result<()> {
    match kind(metadata.file_type()) {
        None => Ok(()),
        Some(kind) => Err(io::Error::new(ErrorKind::InvalidInput, format!("it is {kind}; expected a file"))),
    }
}

/// What it is in words, where it is no regular file.
fn kind(file: FileType) -> Option<&'static str> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;
        let kinds = [
            (file.is_fifo(), "a named pipe"),
            (file.is_socket(), "a socket"),
            (file.is_char_device() || file.is_block_device(), "a device"),
        ];
        if let Some((_, kind)) = kinds.into_iter().find(|(is, _)| *is) {
            return Some(kind);
        }
    }
    match file {
        _ if file.is_file() => None,
        _ if file.is_dir() => Some("a folder"),
        _ if file.is_symlink() => Some("a symbolic link"),
        _ => Some("no regular file"),
    }
}

/// Checks that an output may be written at `path`: that nothing is there, or, with `force`, a regular file.
///
/// # Errors
/// Where `path` exists and `force` is false; where it is anything but a regular file, a symbolic link to one included.
pub fn ensure_free(path: &Path, force: bool) -> Result<()> {
    let Ok(metadata) = path.symlink_metadata() else { return Ok(()) };
    match kind(metadata.file_type()) {
        Some(kind) => {
            let error = Error::input(format!("is {kind}; only files are replaced")).in_file(path);
            Err(error.help("remove it, or choose another name"))
        }
        None if force => Ok(()),
        None => Err(exists(path)),
    }
}

fn exists(path: &Path) -> Error {
    Error::input("the file exists already")
        .help("give --force to replace it, or choose another name with -o")
        .in_file(path)
}

/// Writes a file through a temporary one in the same folder, which replaces `path` when `fill` has succeeded and the
/// bytes are on the disk.
///
/// # Errors
/// Where [`ensure_free`] refuses `path`, the folder cannot be written to, or `fill` fails. An existing file is then as
/// it was.
pub fn replace_file(path: &Path, force: bool, fill: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    ensure_free(path, force)?;
    let staging = Staging::beside(path)?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(staging.path()).map_err(|e| Error::io("write the file", path, &e))?;
    fill(&mut file)?;
    file.sync_all().map_err(|e| Error::io("write the file", path, &e))?;
    inherit_permissions(&file, path);
    persist(&staging, path, force)
}

/// Has what was made in `staging` be the file at `path`.
///
/// # Errors
/// Where [`ensure_free`] refuses `path`, or it cannot be written.
pub fn persist(staging: &Staging, path: &Path, force: bool) -> Result<()> {
    ensure_free(path, force)?;
    let cannot = |error: &io::Error| match error.kind() {
        ErrorKind::AlreadyExists => exists(path),
        _ => Error::io("write the file", path, error),
    };
    // A file that appears at this very moment is not replaced, where the file system can tell.
    let placed = if force { Err(ErrorKind::Unsupported.into()) } else { fs::hard_link(staging.path(), path) };
    match placed {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(cannot(&error)),
        Err(_) => fs::rename(staging.path(), path).map_err(|error| cannot(&error)),
        Ok(()) => Ok(()),
    }
}

/// Has `bytes` be the file at `path`, as [`replace_file`] does; `doing` completes "cannot …".
///
/// # Errors
/// As [`replace_file`].
pub fn replace(path: &Path, force: bool, bytes: impl AsRef<[u8]>, doing: &str) -> Result<()> {
    replace_file(path, force, |file| file.write_all(bytes.as_ref()).map_err(|error| Error::io(doing, path, &error)))
}

/// A temporary file is readable by its owner alone; what replaces a model is to be as readable as the model was, and a
/// new file as readable as new files are. A file system without permissions is no reason to fail.
fn inherit_permissions(file: &File, path: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(path).map_or(0o644, |m| m.permissions().mode() & 0o777);
        _ = file.set_permissions(fs::Permissions::from_mode(mode));
    }
    #[cfg(not(unix))]
    let _ = (file, path);
}

/// Checks that an output at `path` replaces none of `inputs`, which are files, or folders of data: models in those are
/// none.
///
/// # Errors
/// Where it would, by whatever name.
pub fn ensure_no_input<P: AsRef<Path>>(path: &Path, inputs: impl IntoIterator<Item = P>) -> Result<()> {
    let is_model = path.extension().is_some_and(|extension| extension == "onnx");
    for input in inputs {
        let input = input.as_ref();
        if same_file(path, input) || (input.is_dir() && !is_model && path.is_file() && is_below(path, input)) {
            let what = format!("would replace `{}`, which the command reads", input.display());
            return Err(Error::input(what).help("choose another name with -o").in_file(path));
        }
    }
    Ok(())
}

fn is_below(path: &Path, folder: &Path) -> bool {
    matches!((path.canonicalize(), folder.canonicalize()), (Ok(path), Ok(folder)) if path.starts_with(&folder))
}

/// The name of a file beside `path`: its own and `ending`.
///
/// # Errors
/// Where it is not UTF-8: a model could not name it.
pub fn name_beside(path: &Path, ending: &str) -> Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_str();
    let refused = || Error::input("the name is not UTF-8, and a model could not name its data after it").in_file(path);
    name.map(|name| PathBuf::from(format!("{name}{ending}"))).ok_or_else(refused)
}

/// The folder that holds `path`; `.` for a bare name.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Whether two paths are one name in one folder, whether there is a file of it or not.
pub fn same_place(a: &Path, b: &Path) -> bool {
    a.file_name() == b.file_name() && same_file(folder_of(a), folder_of(b))
}

/// Whether two paths lead to one file or folder; false where one does not exist.
pub fn same_file(a: &Path, b: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        matches!((fs::metadata(a), fs::metadata(b)), (Ok(a), Ok(b)) if (a.dev(), a.ino()) == (b.dev(), b.ino()))
    }
    #[cfg(not(unix))]
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

#[cfg(unix)]
/// The bytes of a file as slices of a map of it.
pub fn map(path: &Path) -> Result<Bytes> {
    let file = open(path).map_err(|e| Error::io("open the file", path, &e))?;
    let metadata = file.metadata().map_err(|e| Error::io("read the file", path, &e))?;
    if metadata.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the map is read only. Were another process to cut the file short meanwhile, reading would end this
    // process with a signal; that is the price of not copying weights, and the same as for every tool that maps models.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| Error::io("map the file", path, &e))?;
    Ok(Bytes::from_owner(map))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    #[test]
    fn only_files_are_read_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "text").unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        fs::create_dir(path("folder")).unwrap();
        let device = PathBuf::from("/dev/null");
        for name in ["pipe", "socket", "folder", "/dev/null"] {
            symlink(path(name), path(&format!("to-{}", name.trim_start_matches("/dev/")))).unwrap();
        }
        for (path, says) in [
            (path("pipe"), "a named pipe"),
            (path("to-pipe"), "a named pipe"),
            (path("socket"), "a socket"),
            (path("folder"), "a folder"),
            (path("to-folder"), "a folder"),
            (path("to-null"), "a device"),
            (device.clone(), "a device"),
        ] {
            let error = open(&path).unwrap_err();
            assert_eq!(error.to_string(), format!("it is {says}; expected a file"), "{}", path.display());
            let is_link = path.symlink_metadata().unwrap().is_symlink();
            let says = if is_link { "a symbolic link" } else { says };
            for force in [false, true] {
                let error = ensure_free(&path, force).unwrap_err().to_string();
                assert!(error.ends_with(&format!("is {says}; only files are replaced")), "{error}");
            }
        }
        symlink(path("file"), path("link")).unwrap();
        symlink(path("nothing"), path("dangling")).unwrap();
        assert_eq!(read_to_string(path("link")).unwrap(), "text");
        assert!(ensure_free(&path("link"), true).is_err());
        assert!(ensure_free(&path("dangling"), true).is_err());
        assert!(ensure_free(&path("file"), false).is_err());
        ensure_free(&path("file"), true).unwrap();
        ensure_free(&path("nothing"), false).unwrap();
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        fs::write(&path, "old").unwrap();
        assert!(replace_file(&path, false, |_| Ok(())).is_err());
        let failed = replace_file(&path, true, |file| {
            file.write_all(b"half").unwrap();
            Err(Error::input("disk full"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_text_is_no_longer_than_texts_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sparse");
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(read_to_string(&path).unwrap_err().to_string().contains("it has more than"));
        fs::write(&path, [0xff]).unwrap();
        assert_eq!(read_to_string(&path).unwrap_err().to_string(), "it is not text in UTF-8");
    }

    #[test]
    fn an_input_is_known_by_every_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("data")).unwrap();
        for name in ["model", "data/x.npy", "data/trained.onnx"] {
            fs::write(path(name), "").unwrap();
        }
        symlink(path("model"), path("link")).unwrap();
        fs::hard_link(path("model"), path("hard")).unwrap();
        let inputs = [path("model"), path("data"), path("missing")];
        for name in ["model", "link", "hard", "data/../model", "./data/x.npy", "data/.././data/x.npy"] {
            let error = ensure_no_input(&path(name), &inputs).unwrap_err();
            assert!(error.to_string().contains("which the command reads"), "{name}: {error}");
        }
        for name in ["other", "data/new.onnx", "data/trained.onnx", "missing"] {
            ensure_no_input(&path(name), &inputs).unwrap();
        }
    }
}

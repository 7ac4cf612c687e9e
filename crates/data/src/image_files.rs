//! Folders of images: a folder for each class, files that are decoded when they are needed.

use super::decode;
use crate::augment::Region;
use gnp_base::digest::Digest;
use gnp_base::{Error, Result};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Images in files, all below one folder. What is known of them is their names and sizes; pixels are read on demand.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageFiles {
    root: PathBuf,
    files: Vec<ImageFile>,
}

#[derive(Clone, Debug, PartialEq)]
struct ImageFile {
    /// Below the root.
    path: PathBuf,
    bytes: u64,
}

/// The images of a folder of class folders.
pub(super) struct ClassFolders {
    pub(super) images: ImageFiles,
    /// The class of each image: the place of its folder's name among `names`.
    pub(super) classes: Vec<i64>,
    /// The names of the folders, sorted.
    pub(super) names: Vec<String>,
}

impl ClassFolders {
    /// Lists the folders in `root` and the `.jpg`, `.jpeg` and `.png` files in them, at any depth, sorted by name. What
    /// has a name that begins with a dot is passed over.
    ///
    /// # Errors
    /// Where there is no folder, or one without images, or one cannot be read; where a link leads to a folder that is
    /// of the class already.
    pub(super) fn scan(root: &Path) -> Result<Self> {
        let folders: Vec<PathBuf> = entries(root)?.into_iter().filter(|path| path.is_dir()).collect();
        if folders.is_empty() {
            return Err(Error::input("there is no folder of a class here").in_file(root));
        }
        let (mut files, mut classes, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for (class, folder) in folders.iter().enumerate() {
            collect(root, folder, &mut HashSet::new(), &mut files)?;
            if files.len() == classes.len() {
                return Err(Error::input("there is no .jpg, .jpeg or .png file in the folder of this class")
                    .in_file(folder)
                    .help("remove the folder, or put the images of the class there"));
            }
            classes.resize(files.len(), class as i64);
            names.push(folder.file_name().unwrap_or_default().to_string_lossy().into_owned());
        }
        Ok(Self { images: ImageFiles { root: root.to_owned(), files }, classes, names })
    }
}

/// Whether `folder` holds folders.
pub(super) fn has_folders(folder: &Path) -> bool {
    entries(folder).is_ok_and(|entries| entries.iter().any(|path| path.is_dir()))
}

/// What is in `folder` and not hidden, in order of name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |error: std::io::Error| Error::io("list the folder", folder, &error);
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

/// Adds the images of `folder`; `seen` are the folders of the class that were looked through, as they are when links
/// are resolved.
fn collect(root: &Path, folder: &Path, seen: &mut HashSet<PathBuf>, files: &mut Vec<ImageFile>) -> Result<()> {
    let resolved = fs::canonicalize(folder).map_err(|error| Error::io("look at the folder", folder, &error))?;
    if !seen.insert(resolved) {
        return Err(Error::input("is a folder that is there already: its images would count twice, or without end")
            .in_file(folder)
            .help("remove the symbolic link that leads to it"));
    }
    for path in entries(folder)? {
        if path.is_dir() {
            collect(root, &path, seen, files)?;
        } else if is_image(&path) {
            let bytes = fs::metadata(&path).map_err(|error| Error::io("look at the image", &path, &error))?.len();
            let path = path.strip_prefix(root).unwrap_or(&path).to_owned();
            files.push(ImageFile { path, bytes });
        }
    }
    Ok(())
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    ["jpg", "jpeg", "png"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

impl ImageFiles {
    /// The number of images.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// Where image `number` lies.
    ///
    /// # Panics
    /// Where there is no such image.
    pub fn path(&self, number: usize) -> PathBuf {
        self.root.join(&self.files[number].path)
    }

    /// The pixels of image `number`, channels last, as [`decode::read`] makes them: of the region that `region` names
    /// where it names one.
    pub(super) fn decode(
        &self,
        number: usize,
        shape: [usize; 3],
        region: impl FnOnce([usize; 2]) -> Option<Region>,
    ) -> Result<Vec<u8>> {
        decode::read(&self.path(number), shape, region)
    }

    pub(super) fn select(&self, rows: &[usize]) -> Self {
        Self { root: self.root.clone(), files: rows.iter().map(|&row| self.files[row].clone()).collect() }
    }

    /// Adds names and sizes to `digest`, not pixels: reading all of them would take as long as an epoch.
    pub(super) fn hash(&self, digest: &mut Digest) {
        for file in &self.files {
            for part in &file.path {
                digest.add(part.as_encoded_bytes());
                digest.add(b"/");
            }
            digest.add(file.bytes.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, name: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }

    #[test]
    fn classes_and_files_are_in_order_of_name() {
        let folder = tempfile::tempdir().unwrap();
        let names =
            ["dog/2.png", "cat/b.JPEG", "dog/10.jpg", "cat/deep/a.jpg", "cat/notes.txt", ".git/x.png", "cat/.c.png"];
        names.iter().for_each(|name| write(folder.path(), name));
        write(folder.path(), "readme.png");
        let found = ClassFolders::scan(folder.path()).unwrap();
        let paths: Vec<_> = found.images.files.iter().map(|file| file.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["cat/b.JPEG", "cat/deep/a.jpg", "dog/10.jpg", "dog/2.png"]);
        assert_eq!((found.classes, found.names), (vec![0, 0, 1, 1], vec!["cat".to_owned(), "dog".to_owned()]));
        assert_eq!(found.images.path(3), folder.path().join("dog/2.png"));
    }

    #[test]
    fn a_class_without_images_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(ClassFolders::scan(folder.path()).is_err());
        write(folder.path(), "cat/a.txt");
        let error = ClassFolders::scan(folder.path()).err().unwrap().to_string();
        assert!(error.ends_with("cat: there is no .jpg, .jpeg or .png file in the folder of this class"), "{error}");
        let error = ClassFolders::scan(&folder.path().join("none")).err().unwrap().to_string();
        assert!(error.contains("none: cannot list the folder"), "{error}");
    }

    #[test]
    fn the_hash_is_of_names_and_sizes() {
        let digest = |files: &[(&str, &str)]| {
            let folder = tempfile::tempdir().unwrap();
            for (name, text) in files {
                write(folder.path(), name);
                fs::write(folder.path().join(name), text).unwrap();
            }
            let mut digest = Digest::default();
            ClassFolders::scan(folder.path()).unwrap().images.hash(&mut digest);
            digest.hex()
        };
        assert_eq!(digest(&[("a/x.png", "1")]), digest(&[("a/x.png", "2")]));
        assert_ne!(digest(&[("a/x.png", "1")]), digest(&[("a/x.png", "22")]));
        assert_ne!(digest(&[("a/x.png", "1")]), digest(&[("b/x.png", "1")]));
    }

    #[cfg(unix)]
    #[test]
    fn links_lead_to_files_and_folders_but_not_around() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let (root, elsewhere) = (folder.path().join("root"), folder.path().join("elsewhere"));
        write(&elsewhere, "1.png");
        write(&root, "cat/a.png");
        symlink(&elsewhere, root.join("dog")).unwrap();
        symlink(&elsewhere, root.join("cat/more")).unwrap();
        symlink(elsewhere.join("1.png"), root.join("cat/z.png")).unwrap();
        let count = || ClassFolders::scan(&root).map(|found| found.classes).map_err(|error| error.to_string());
        assert_eq!(count().unwrap(), [0, 0, 0, 1]);

        symlink("..", root.join("cat/up")).unwrap();
        let error = count().unwrap_err();
        assert!(error.contains("cat/up/cat: is a folder that is there already"), "{error}");
        fs::remove_file(root.join("cat/up")).unwrap();
        symlink("more", root.join("cat/once more")).unwrap();
        assert!(count().unwrap_err().contains("is a folder that is there already"));
    }
}

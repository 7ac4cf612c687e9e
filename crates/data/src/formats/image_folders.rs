//! Folders of images: a folder for each class, in one for each part.

use super::{Chosen, Format, Found, Part, Parts};
use crate::image_files::{ClassFolders, has_folders};
use crate::{Array, Dataset, Values};
use gnp_base::Result;
use std::path::{Path, PathBuf};

/// Folders of folders of images.
pub(super) struct ImageFolders;

impl Format for ImageFolders {
    fn name(&self) -> &str {
        "a folder of images"
    }

    fn recognises(&self, found: &Found<'_>) -> bool {
        found.is_folder() && has_folders(found.path())
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Parts>> {
        Ok(Box::new(ImageFolder(path.to_owned())))
    }
}

struct ImageFolder(PathBuf);

impl Parts for ImageFolder {
    fn part(&mut self, part: Part, _: &Chosen) -> Result<Option<Dataset>> {
        class_root(&self.0, part).map(|root| load_images(&root)).transpose()
    }

    fn is_single_set(&self) -> bool {
        !has_folders(&self.0.join("train"))
    }
}

/// The folder of class folders that is a part of the images in `folder`. A class may be called `train`: only a folder
/// of folders is a part.
fn class_root(folder: &Path, part: Part) -> Option<PathBuf> {
    let found = |names: &[&str]| names.iter().map(|name| folder.join(name)).find(|root| has_folders(root));
    let train = found(&["train"]);
    match part {
        Part::Train => train.or_else(|| Some(folder.to_owned())),
        Part::Test => found(&["val", "test"]).or_else(|| train.is_none().then(|| folder.to_owned())),
    }
}

fn load_images(root: &Path) -> Result<Dataset> {
    let ClassFolders { images, classes, names } = ClassFolders::scan(root)?;
    let data = Dataset::new(images, Array::new(vec![classes.len()], Values::I64(classes))?)?;
    Ok(data.with_class_names(names)?.from_files(root, root))
}

//! Each configuration in `recipes/` trains: on a small model and a handful of images, for an epoch.
use assert_cmd::Command;
use image::{GrayImage, Luma};
use std::fs;
use std::path::{Path, PathBuf};

/// The images that the small model takes.
const SIDE: u32 = 28;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder of images of two classes.
fn images(folder: &Path) -> PathBuf {
    for part in ["train", "val"] {
        for (class, shade) in [("dark", 20), ("light", 200)] {
            let folder = folder.join(part).join(class);
            fs::create_dir_all(&folder).unwrap();
            for number in 0..8 {
                let pixel = |x: u32, y: u32| Luma([shade + ((x * y + number) % 40) as u8]);
                GrayImage::from_fn(SIDE + 4, SIDE, pixel).save(folder.join(format!("{number}.png"))).unwrap();
            }
        }
    }
    folder.to_owned()
}

#[test]
fn every_recipe_trains() {
    let folder = tempfile::tempdir().unwrap();
    let data = images(&folder.path().join("images"));
    let recipes: Vec<PathBuf> =
        fs::read_dir(root().join("recipes")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(recipes.len(), 9);
    for recipe in recipes {
        let name = recipe.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&recipe).unwrap();
        assert!(text.contains(&format!("--config recipes/{name}.toml")), "{name} says how it is run");
        let out = folder.path().join(&name);
        let mut command = Command::cargo_bin("gnp-run").unwrap();
        command.arg(root().join("models/cnn/model.onnx")).arg("--data").arg(&data).arg("--config").arg(&recipe);
        command.args(["--epochs", "1", "--batch-size", "8", "--engine", "tract", "--quiet", "--lr", "1e-4"]);
        // The numbers of the recipe are those of three channels and of larger images.
        if text.contains("\nmean = ") {
            command.args(["--mean", "0.5", "--std", "0.25", "--image-size", "28"]);
        }
        command.arg("--out").arg(&out).assert().success();
        let used = fs::read_to_string(out.join("config.toml")).unwrap();
        let of_recipe: toml::Table = text.parse().unwrap();
        let of_run: toml::Table = used.parse().unwrap();
        for (key, value) in of_recipe
            .iter()
            .filter(|(key, _)| !["epochs", "batch-size", "lr", "mean", "std", "image-size"].contains(&key.as_str()))
        {
            let (number, found) = (value.as_float(), of_run.get(key));
            let is_same = found == Some(value) || (number.is_some() && found.and_then(as_float) == number);
            assert!(is_same, "{name}: {key} is {value}, {found:?} in the run");
        }
    }
}

fn as_float(value: &toml::Value) -> Option<f64> {
    value.as_float().or(value.as_integer().map(|number| number as f64))
}

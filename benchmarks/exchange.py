"""Compare the probabilities that other tools compute of MNIST's test images with purenet's.

    pip install torch onnx onnxruntime scikit-learn
    python -m benchmarks.exchange RUN

RUN is the folder of a run of ``purenet train``.
"""

import argparse
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

import purenet
from benchmarks.report import table
from purenet.cli.commands import main as purenet_command
from purenet.files import checkpoints, datasets
from purenet.sklearn import PurenetClassifier
from purenet.testing.error_bounds import probability_bound

CHUNK = 500


def main() -> None:
    """Print, for each tool, the largest difference to purenet's probabilities and to the bound."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    params, cfg = checkpoints.load(run)[:2]
    (x_train, y_train), (pixels, _) = datasets.mnist()
    x = pixels.astype(np.float32) * np.float32(cfg.input_scale)
    chunks = [slice(i, i + CHUNK) for i in range(0, len(x), CHUNK)]

    classifier = PurenetClassifier(epochs=1, random_state=0)
    classifier.fit(x_train[:1000] * np.float32(cfg.input_scale), y_train[:1000])
    classifier.params_ = params
    with TemporaryDirectory() as folder:
        files = {kind: os.path.join(folder, f"model.{kind}") for kind in ("onnx", "safetensors")}
        purenet_command(
            ["export", str(run), "--onnx", files["onnx"], "--torch", files["safetensors"]]
        )
        session = onnxruntime.InferenceSession(files["onnx"])
        evaluator: Any = ReferenceEvaluator(onnx.load(files["onnx"]))
    module = purenet.export.to_torch(params)
    tools: dict[str, Any] = {
        "ONNX Runtime": lambda i: session.run(["probabilities"], {"pixels": pixels[i]})[0],
        "ONNX's reference evaluator": lambda i: evaluator.run(
            ["probabilities"], {"pixels": pixels[i]}
        )[0],
        "PyTorch": lambda i: module(torch.from_numpy(x[i])).softmax(1).detach().numpy(),
        "scikit-learn's classifier": lambda i: classifier.predict_proba(x[i]),
    }
    ours = purenet.predict_proba(params, pixels, input_scale=cfg.input_scale)
    bound = np.concatenate([probability_bound(params, x[i]) for i in chunks])
    rows = []
    for tool, probabilities in tools.items():
        theirs: NDArray[Any] = np.concatenate([probabilities(i) for i in chunks])
        difference = np.abs(theirs.astype(float) - ours)
        rows.append([tool, f"{difference.max():.1e}", f"{(difference / (2 * bound)).max():.3f}"])
    print(table(["tool", "largest difference", "largest part of the bound"], rows))


if __name__ == "__main__":
    main()

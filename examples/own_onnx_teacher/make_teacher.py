"""Make a black box: a scikit-learn network as a plain ONNX file that gives probabilities.

Writes teacher.onnx: pixels in [0, 1], [B, 1, 8, 8] -> probabilities [B, 10].

Usage: python make_teacher.py teacher.onnx
"""

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier


def main(out: str) -> None:
    """Fit and write."""
    images, labels = load_digits(return_X_y=True)
    model = MLPClassifier((64,), max_iter=60, random_state=0).fit(images / 16, labels)
    weights = {f"w{i}": w.astype(np.float32) for i, w in enumerate(model.coefs_)}
    weights |= {f"b{i}": b.astype(np.float32) for i, b in enumerate(model.intercepts_)}
    nodes = [
        helper.make_node("Flatten", ["pixels"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "w0", "b0"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Gemm", ["active", "w1", "b1"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes, "teacher",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(w, name) for name, w in weights.items()],
    )  # fmt: skip
    model_file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model_file)
    onnx.save(model_file, out)


if __name__ == "__main__":
    main(sys.argv[1])

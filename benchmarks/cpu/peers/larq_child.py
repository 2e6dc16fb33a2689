"""The child in the environment of Larq Compute Engine: builds, converts and times Keras models.

It stands alone (no import of this repository), reads a JSON object a line and answers with one. Commands:
``tflite`` writes an int8 model for LiteRT, ``load`` loads a binary one, ``block`` times a block of calls,
``memory`` tells the peak resident set, ``close`` forgets a loaded model.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

SLOW_S = 0.5
"""A call that takes longer is not repeated within a block."""


def keras_model(task, binary):
    """The layers of the task: Larq's with batch norm between them, or plain ones with ReLU."""
    import larq
    import tensorflow as tf

    layers = task["layers"]
    x = start = tf.keras.Input(batch_size=task["images"], shape=start_shape(layers[0], binary))
    for at, layer in enumerate(layers):
        common = {"use_bias": not binary}
        window = 1 if layer["size"] is None else 3
        if binary:
            quantized = {"kernel_quantizer": "ste_sign", "kernel_constraint": "weight_clip"}
            if at > 0 or len(layers) == 1:
                quantized["input_quantizer"] = "ste_sign"
            if layer["size"] is None and x.shape[1] * x.shape[2] > 1 and len(layers) > 1:
                x = tf.keras.layers.Reshape((1, 1, layer["inputs"]))(x)
            zeros = {"padding": "same", "pad_values": 1.0 if at > 0 else 0.0}
            x = larq.layers.QuantConv2D(layer["outputs"], window, **zeros, **quantized, **common)(x)
        elif layer["size"] is None:
            if len(x.shape) == 4:
                x = tf.keras.layers.Flatten()(x)
            x = tf.keras.layers.Dense(layer["outputs"], **common)(x)
        else:
            x = tf.keras.layers.Conv2D(layer["outputs"], 3, padding="same", **common)(x)
        if not binary and (layer["size"] is not None or not layer["is_last"]):
            x = tf.keras.layers.ReLU()(x)
        if layer["has_pool"]:
            x = tf.keras.layers.MaxPool2D(2)(x)
        if binary and len(layers) > 1:
            x = tf.keras.layers.BatchNormalization(momentum=0.9)(x)
    return tf.keras.Model(start, x)


def start_shape(layer, binary):
    if layer["size"] is not None:
        return (layer["size"], layer["size"], layer["inputs"])
    return (*task_rows(layer), layer["inputs"]) if binary else (layer["inputs"],)


def task_rows(layer):
    return (layer.get("rows", 1), 1)


def write_tflite(command):
    import numpy as np
    import tensorflow as tf

    task = command["task"]
    model = keras_model(task, binary=False)
    rng = np.random.default_rng(0)
    shape = tuple(int(size) for size in model.input_shape)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        [rng.standard_normal(shape).astype(np.float32)] for _ in range(3)
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    Path(command["path"]).write_bytes(converter.convert())
    return {}


def load(command, loaded):
    import larq_compute_engine as lce
    import numpy as np
    from larq_compute_engine.tflite.python.interpreter import Interpreter

    flat = lce.convert_keras_model(keras_model(command["task"], binary=True))
    interpreter = Interpreter(flat, num_threads=command["threads"], use_indirect_bgemm=command["indirect"])
    shape = (1, *interpreter.input_shapes[0][1:])
    x = np.random.default_rng(1).choice([-1.0, 1.0], shape).astype(np.float32)
    loaded[command["name"]] = lambda: interpreter.predict(x)
    return {"bytes": len(flat)}


def block(run, seconds):
    cpu = wall = float("inf")
    began, calls = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < seconds or (calls < 2 and spent < SLOW_S):
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        run()
        cpu_end, wall_end = time.process_time(), time.perf_counter()
        cpu, wall = min(cpu, cpu_end - cpu_start), min(wall, wall_end - wall_start)
        calls += 1
    return {"cpu": cpu, "wall": wall}


def answer(command, loaded):
    kind = command["do"]
    if kind == "tflite":
        return write_tflite(command)
    if kind == "load":
        return load(command, loaded)
    if kind == "block":
        return block(loaded[command["name"]], command["seconds"])
    if kind == "memory":
        status = Path("/proc/self/status").read_text().splitlines()
        return {"kib": next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))}
    loaded.pop(command["name"], None)
    return {}


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the packages print goes to standard error
    loaded = {}
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line), loaded)
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent shows it in a row
            reply = {"error": f"{type(error).__name__}: {error}"[:300]}
        answers.write(json.dumps(reply) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()

"""Reconstructs an image with a model that `foldwise fit` wrote; numpy and safetensors are all it needs.

python3 load_model.py model.safetensors image.npy reconstruction.npy

Both images are [height, width] of numbers from 0 to 1. It knows either network, plain, denoising or variational, with the
activations relu and leaky-relu.
"""

import json, sys, numpy as np, safetensors

file, x, sizes = safetensors.safe_open(sys.argv[1], "numpy"), np.load(sys.argv[2])[None].astype(float), []
settings, names = (json.loads(file.metadata()[key]) for key in ("settings", "layers"))
layers = iter([(file.get_tensor(f"{name}.weight"), file.get_tensor(f"{name}.bias")) for name in names])
norm = lambda x: (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-5)
act = lambda x: np.where(x > 0, x, {"relu": 0, "leaky-relu": 0.01}[settings["activation"]] * x)
follow = lambda x: act(norm(x) if settings["instance_norm"] else x)
for (kernel, stride, pad), (w, b) in zip(settings["convolutions"], layers):
    sizes.insert(0, x.shape)
    windows = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(windows, (kernel, kernel), (1, 2))[:, ::stride, ::stride]
    x = follow(np.einsum("chwij,ocij->ohw", windows, w) + b[:, None, None])
shape = x.shape
for layer, (w, b) in zip(("first", "code", "from code", "last"), layers):
    x = w @ x.ravel() + b if layer == "code" else act(w @ x.ravel() + b)
x = x.reshape(shape)
for (kernel, stride, pad), (w, b), (_, height, width) in zip(settings["convolutions"][::-1], layers, sizes):
    large = np.zeros((w.shape[1], height + 2 * pad, width + 2 * pad))
    for i, j in np.ndindex(kernel, kernel):
        place = large[:, i : i + stride * x.shape[1] : stride, j : j + stride * x.shape[2] : stride]
        place += np.einsum("chw,co->ohw", x, w[:, :, i, j])
    logits = large[:, pad : pad + height, pad : pad + width] + b[:, None, None]
    x = follow(logits)
np.save(sys.argv[3], 1 / (1 + np.exp(-logits[0])))

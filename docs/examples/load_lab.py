"""Reconstructs an image of 28x28 numbers from 0 to 1 with a lab network that `foldwise fit` wrote, in ten lines:

python3 load_lab.py model.safetensors image.npy reconstruction.npy

load_model.py knows the other network too.
"""

import sys, numpy as np, safetensors.numpy

w, x = safetensors.numpy.load_file(sys.argv[1]), np.load(sys.argv[2])[None]
near = lambda x, *pad: np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), pad, pad)), (3, 3), (1, 2))
for name, pad in ("enc.0", 1), ("enc.2", 1), ("enc.4", 0):
    x = np.maximum(np.einsum("chwij,ocij->ohw", near(x, pad, pad)[:, ::2, ::2], w[f"{name}.weight"]) + w[f"{name}.bias"][:, None, None], 0)
for name, least in ("enc.7", 0), ("enc.10", -np.inf), ("dec.0", 0), ("dec.3", 0):
    x = np.maximum(w[f"{name}.weight"] @ x.ravel() + w[f"{name}.bias"], least)
for name, pad, side in ("dec.6", 2, 3), ("dec.8", 1, 7), ("dec.10", 1, 14):
    x = near(np.kron(np.maximum(x, 0).reshape(-1, side, side), [[[1, 0], [0, 0]]]), pad, 1)
    x = np.einsum("chwij,coij->ohw", x, w[f"{name}.weight"][:, :, ::-1, ::-1]) + w[f"{name}.bias"][:, None, None]
np.save(sys.argv[3], 1 / (1 + np.exp(-x[0].astype(float))))

#!/usr/bin/env python3
"""The lab network in a plain PyTorch loop: 60,000 images on the device, batch 256, Adam with L2; seconds an epoch.

    deploy/bench/eager.py [cuda:0]

Beside it: foldwise-worker bench --device cuda:0 --network lab --dataset mnist --epochs 3
"""

import sys
import time

import torch
from torch import nn

device = torch.device(sys.argv[1] if len(sys.argv) > 1 else "cuda:0")
torch.set_num_threads(1)
images = torch.rand(60000, 1, 28, 28, device=device)
encoder = nn.Sequential(
    nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 0), nn.ReLU(),
    nn.Flatten(), nn.Linear(288, 64), nn.ReLU(), nn.Dropout(0.15), nn.Linear(64, 6))
decoder = nn.Sequential(
    nn.Linear(6, 64), nn.ReLU(), nn.Dropout(0.15), nn.Linear(64, 288), nn.ReLU(), nn.Unflatten(1, (32, 3, 3)),
    nn.ConvTranspose2d(32, 16, 3, 2, 0, 0), nn.ReLU(), nn.ConvTranspose2d(16, 8, 3, 2, 1, 1), nn.ReLU(),
    nn.ConvTranspose2d(8, 1, 3, 2, 1, 1), nn.Sigmoid())
model = nn.Sequential(encoder, decoder).to(device)
optimizer = torch.optim.Adam(model.parameters(), 1.2e-3, weight_decay=8.8e-5)


def now():
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


for _ in range(3):
    started = now()
    order = torch.randperm(60000, device=device)
    for start in range(0, 60000, 256):
        batch = images[order[start : start + 256]]
        loss = nn.functional.mse_loss(model(batch), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"{now() - started:.3f} s")

"""What PyTorch's optimizers make of a fixed list of gradients: writes optimizers.json beside this file.

python3 optimizers.py     (made with PyTorch 2.11.0 on a CPU)
"""

import json
import pathlib
import random

import torch

STEPS = 20
START = [0.5, -1.0, 2.0, 0.0, 1e-3, -0.25]


def gradients() -> list[list[float]]:
    """Of every size, some of them 0, and a weight that never gets one."""
    draw = random.Random(1)
    rows = []
    for step in range(STEPS):
        row = [draw.gauss(0, 1), draw.gauss(0, 1e-3), draw.gauss(0.5, 2), draw.gauss(0, 1e-6), draw.gauss(0, 0.1), 0.0]
        if step in (4, 5, 11):
            row = [0.0] * len(row)
        if step in (7, 15):
            row = [value * 1e3 for value in row]
        rows.append([float(torch.tensor(value)) for value in row])
    return rows


def main() -> None:
    given = gradients()
    kinds = {
        "adam": (torch.optim.Adam, [0.0]),
        "adamw": (torch.optim.AdamW, [0.0]),
        "adamax": (torch.optim.Adamax, [0.0]),
        "sgd": (torch.optim.SGD, [0.0, 0.9]),
        "rmsprop": (torch.optim.RMSprop, [0.0, 0.9]),
    }
    cases = []
    for kind, (make, momenta) in kinds.items():
        for momentum in momenta:
            for weight_decay in (0.0, 0.01):
                learning_rate = 1e-3 if kind == "sgd" else 0.02
                weights = torch.tensor(START, requires_grad=True)
                more = {"momentum": momentum} if kind in ("sgd", "rmsprop") else {}
                optimizer = make([weights], lr=learning_rate, weight_decay=weight_decay, foreach=False, **more)
                after = []
                for gradient in given:
                    weights.grad = torch.tensor(gradient)
                    optimizer.step()
                    after.append(weights.tolist())
                cases.append(
                    {
                        "optimizer": kind,
                        "learning_rate": learning_rate,
                        "weight_decay": weight_decay,
                        "momentum": momentum,
                        "weights": after,
                    }
                )
    out = {"pytorch": torch.__version__, "start": START, "gradients": given, "cases": cases}
    text = json.dumps(out).replace('], [', '],\n[').replace('{"optimizer"', '\n{"optimizer"')
    pathlib.Path(__file__).with_suffix(".json").write_text(text + "\n")


if __name__ == "__main__":
    main()

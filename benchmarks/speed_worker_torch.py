"""PyTorch's side of benchmarks/training_speed.py: transformers' BERT as its own examples fine-tune it.

speed_worker_torch.py BATCHES_NPZ BERT_CONFIG PADDING PRECISION

Reads and prints the same lines as speed_worker.py. PADDING: `longest` of the batch, or `fixed`.
"""

import json
import resource
import sys
import time
from typing import List

import numpy as np
import speed_batches
import torch
import transformers


def main() -> None:
    batches_file, config_file, padding, precision = sys.argv[1:]
    transformers.logging.set_verbosity_error()
    rows = speed_batches.load(batches_file)
    # Lists of Python's numbers: torch.tensor is several times as slow with NumPy's.
    ids, segments = ([row.tolist() for row in column] for column in (rows.ids, rows.segments))
    with open(config_file) as file:
        config = transformers.BertConfig(num_labels=2, **json.load(file))
    torch.manual_seed(1)
    model = transformers.BertForSequenceClassification(config)
    model.train()
    excluded = ("bias", "LayerNorm.weight")
    named = list(model.named_parameters())
    groups = [
        {"params": [w for name, w in named if not any(e in name for e in excluded)], "weight_decay": 0.01},
        {"params": [w for name, w in named if any(e in name for e in excluded)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=5e-5, eps=1e-6)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, 100, 10000)

    def step(numbers: np.ndarray) -> None:
        length = speed_batches.LENGTH if padding == "fixed" else max(len(ids[n]) for n in numbers)

        def padded(lists: List[List[int]]) -> torch.Tensor:
            return torch.tensor([lists[n] + [0] * (length - len(lists[n])) for n in numbers])

        mask = torch.tensor([[1] * len(ids[n]) + [0] * (length - len(ids[n])) for n in numbers])
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            loss = model(
                input_ids=padded(ids),
                attention_mask=mask,
                token_type_ids=padded(segments),
                labels=torch.tensor(rows.labels[numbers]),
            ).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()

    for numbers in rows.batches["random"][:2]:
        step(numbers)
    print("ready", flush=True)
    for line in sys.stdin:
        order, first, count = line.split()
        batches = rows.batches[order][int(first) : int(first) + int(count)]
        started = time.perf_counter()
        for numbers in batches:
            step(numbers)
        seconds = time.perf_counter() - started
        print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, flush=True)


if __name__ == "__main__":
    main()

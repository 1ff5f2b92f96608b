"""PyTorch's side of training_speed.py, gpu_speed.py and question_speed.py: transformers' BERT as its examples train it.

speed_worker_torch.py BATCHES_NPZ BERT_CONFIG PADDING PRECISION [OPTION…]

Reads and prints the same lines as speed_worker.py. PADDING: `longest` of the batch, or `fixed`. On a GPU: products in
TF32 or, under autocast, bfloat16; attention by sdpa, the fused AdamW, pinned batches, and no wait between updates.
"""

import json
import resource
import sys
import time

import numpy as np
import speed_batches
import torch
import transformers


def main() -> None:
    parser = speed_batches.worker_arguments(__doc__)
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    on_gpu = torch.cuda.is_available()
    device = "cuda" if on_gpu else "cpu"
    rows = speed_batches.load(options.batches_file)
    with open(options.config_file) as file:
        sizes = json.load(file)
    if "hidden_act" in sizes:  # their names differ
        sizes["hidden_act"] = {"gelu": "gelu_new", "gelu_erf": "gelu"}.get(sizes["hidden_act"], sizes["hidden_act"])
    config = transformers.BertConfig(num_labels=2, **sizes)
    torch.manual_seed(1)
    torch.backends.cuda.matmul.allow_tf32 = True
    kind = transformers.BertForSequenceClassification
    if options.masked or options.questions:
        kind = transformers.BertForMaskedLM if options.masked else transformers.BertForQuestionAnswering
    model = kind(config).to(device)
    model.train()
    excluded = ("bias", "LayerNorm.weight")
    named = list(model.named_parameters())
    groups = [
        {"params": [w for name, w in named if not any(e in name for e in excluded)], "weight_decay": 0.01},
        {"params": [w for name, w in named if any(e in name for e in excluded)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=5e-5, eps=1e-6, **({"fused": True} if on_gpu else {}))
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, 100, 10000)
    weights = list(model.parameters())
    run_model = torch.compile(model) if options.compile else model

    def placed(values: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(values)
        return tensor.pin_memory().to(device, non_blocking=True) if on_gpu else tensor

    def step(numbers: np.ndarray) -> None:
        length = options.length if options.padding == "fixed" else max(len(rows.ids[n]) for n in numbers)
        padded = np.zeros((3, len(numbers), length), np.int64)
        for place, n in enumerate(numbers):
            padded[:, place, : len(rows.ids[n])] = rows.ids[n], rows.segments[n], np.ones_like(rows.ids[n])
        labels = rows.labels[numbers]
        if options.masked:  # as run_mlm: -100 where nothing is predicted
            labels = np.full(padded.shape[1:], -100, np.int64)
            for place, n in enumerate(numbers):
                masked = speed_batches.masked_places(rows.ids[n], n)
                labels[place, masked] = rows.ids[n][masked]
                padded[0, place, masked] = speed_batches.MASK_ID
        ids, segments, mask = placed(padded)
        gold = {"labels": placed(labels)}
        if options.questions:
            gold = {"start_positions": placed(labels[:, 0].copy()), "end_positions": placed(labels[:, 1].copy())}
        with torch.autocast(device, dtype=torch.bfloat16, enabled=options.precision == "bfloat16"):
            loss = run_model(input_ids=ids, attention_mask=mask, token_type_ids=segments, **gold).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()

    def train(batches: np.ndarray) -> None:
        for numbers in batches:
            step(numbers)
        if on_gpu:
            torch.cuda.synchronize()

    train(rows.of("random", 0, 2, options.batch))
    print("ready", flush=True)
    for line in sys.stdin:
        order, first, count = line.split()
        batches = rows.of(order, int(first), int(count), options.batch)
        started = time.perf_counter()
        train(batches)
        seconds = time.perf_counter() - started
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(seconds, (torch.cuda.max_memory_allocated() if on_gpu else resident) / 2**20, flush=True)


if __name__ == "__main__":
    main()

"""Trains transformers' BERT on the batches of parity_tensorflow.py and writes the losses. BERT's AdamW is written out.

parity_torch.py HUGGING_FACE_FOLDER BATCHES_NPZ LOSSES_JSON
"""

import json
import sys

import numpy as np
import torch
import transformers

RATE, TRAIN_STEPS, WARMUP = 5e-5, 343, 34


def main() -> None:
    folder, batches_file, losses_file = sys.argv[1:]
    transformers.logging.set_verbosity_error()
    data = np.load(batches_file)
    model = transformers.BertForSequenceClassification.from_pretrained(folder, num_labels=2)
    model.eval()  # dropout off
    with torch.no_grad():
        model.classifier.weight.copy_(torch.tensor(data["head"]))
        model.classifier.bias.zero_()
    named = [(name, weight) for name, weight in model.named_parameters()]
    averages = {name: (torch.zeros_like(w), torch.zeros_like(w)) for name, w in named}
    losses = []
    for step in range(len([key for key in data.files if key.endswith("/ids")])):
        batch = {
            name: torch.tensor(data["{}/{}".format(step, name)]).long()
            for name in ("ids", "mask", "segments", "labels")
        }
        loss = model(
            input_ids=batch["ids"],
            attention_mask=batch["mask"],
            token_type_ids=batch["segments"],
            labels=batch["labels"],
        ).loss
        model.zero_grad()
        loss.backward()
        losses.append(float(loss))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        rate = RATE * (step / WARMUP if step < WARMUP else 1 - step / TRAIN_STEPS)
        with torch.no_grad():
            for name, weight in named:
                m, v = averages[name]
                m.mul_(0.9).add_(weight.grad, alpha=0.1)
                v.mul_(0.999).addcmul_(weight.grad, weight.grad, value=0.001)
                decay = 0.0 if "LayerNorm" in name or "bias" in name else 0.01
                weight -= rate * (m / (v.sqrt() + 1e-6) + decay * weight)
    with open(losses_file, "w") as file:
        json.dump({"system": "PyTorch " + torch.__version__, "losses": losses}, file)
    print("PyTorch {}: {} losses, {:.4f} … {:.4f}".format(torch.__version__, len(losses), losses[0], losses[-1]))


if __name__ == "__main__":
    main()

"""Runs rows and texts through a Hugging Face folder, with transformers alone: python huggingface.py EXPORT WORK

Reads WORK/rows.npz and texts.json (`Rows` and `Text` of export/reference.py); writes outputs.npz: the logits of the
rows, and for each text whether the tokenizer gives the row's ids, and what the pipeline predicts.
"""

import json
import os
import sys
import threading

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import numpy as np
import torch
import transformers

_BATCH = 32


def _end_with_caller():
    """Ends this process when the caller's end of standard input is closed, as when it was interrupted."""
    sys.stdin.read()
    os._exit(1)


def _logits(model, rows, tagging):
    """Logits of the rows by the model itself."""
    lengths = rows["lengths"]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    collected = [np.zeros(0)] * len(lengths)
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), _BATCH):
        numbers = order[start : start + _BATCH]
        ids, mask, segments = np.zeros([3, len(numbers), max(lengths[numbers])], np.int64)
        for place, number in enumerate(numbers):
            own = slice(offsets[number], offsets[number + 1])
            ids[place, : lengths[number]], mask[place, : lengths[number]] = rows["ids"][own], 1
            segments[place, : lengths[number]] = rows["segments"][own]
        tensors = [torch.from_numpy(array) for array in (ids, mask, segments)]
        names = ("input_ids", "attention_mask", "token_type_ids")
        with torch.no_grad():
            values = model(**dict(zip(names, tensors))).logits.numpy()
        for place, number in enumerate(numbers):
            starts = rows["word_starts"][offsets[number] : offsets[number + 1]]
            of_row = values[place, : lengths[number]][starts > 0] if tagging else values[place : place + 1]
            collected[number] = of_row
    return np.concatenate(collected)


def _same_ids(tokenizer, texts, rows, length):
    offsets = np.concatenate([[0], np.cumsum(rows["lengths"])])
    same = []
    for text in texts:
        if text["words"]:
            encoded = tokenizer(text["words"], is_split_into_words=True, truncation=True, max_length=length)
        else:
            encoded = tokenizer(text["text"], text["pair"], truncation=True, max_length=length)
        own = slice(offsets[text["record"]], offsets[text["record"] + 1])
        kinds = encoded.get("token_type_ids", [0] * len(encoded["input_ids"]))
        same.append(encoded["input_ids"] == rows["ids"][own].tolist() and kinds == rows["segments"][own].tolist())
    return same


def _texts_predicted(export, texts, length):
    """The pipeline's score of each label, [texts, L]."""
    classify = transformers.pipeline("text-classification", model=export, device="cpu")
    numbers = classify.model.config.label2id
    scores = np.zeros([len(texts), len(numbers)])
    for place, text in enumerate(texts):
        given = {"text": text["text"]}
        if text["pair"]:
            given["text_pair"] = text["pair"]
        for of_label in classify(given, top_k=None, truncation=True, max_length=length):
            scores[place, numbers[of_label["label"]]] = of_label["score"]
    return scores


def _words_predicted(export, texts):
    """The id of the tag of each word of all texts, -1 where the pipeline has none."""
    tag = transformers.pipeline("token-classification", model=export, device="cpu", ignore_labels=[])
    numbers = tag.model.config.label2id
    predicted = []
    for text in texts:
        words = text["words"]
        starts = np.cumsum([0] + [len(word) + 1 for word in words])[:-1].tolist()
        pieces = tag([words], is_split_into_words=True)[0]
        of_place = {piece["start"]: numbers[piece["entity"]] for piece in reversed(pieces)}
        predicted += [of_place.get(start, -1) for start in starts]
    return np.array(predicted, np.int64)


def main():
    threading.Thread(target=_end_with_caller, daemon=True).start()
    export, work = sys.argv[1:]
    transformers.logging.set_verbosity_error()
    with np.load(os.path.join(work, "rows.npz"), allow_pickle=False) as arrays:
        rows = {name: arrays[name] for name in arrays.files}
    with open(os.path.join(work, "texts.json"), encoding="utf-8") as file:
        texts = json.load(file)
    config = transformers.AutoConfig.from_pretrained(export)
    tagging = config.architectures == ["BertForTokenClassification"]
    kind = transformers.AutoModelForTokenClassification if tagging else transformers.AutoModelForSequenceClassification
    tokenizer = transformers.AutoTokenizer.from_pretrained(export)
    model = kind.from_pretrained(export).eval()
    length = tokenizer.model_max_length
    logits = _logits(model, rows, tagging)
    same = _same_ids(tokenizer, texts, rows, length)
    predicted = _words_predicted(export, texts) if tagging else _texts_predicted(export, texts, length)
    by = "transformers {}, torch {}".format(transformers.__version__, torch.__version__)
    outputs = dict(by=np.array(by), logits=logits, same_ids=np.array(same, bool), predicted=predicted)
    np.savez(os.path.join(work, "outputs.npz"), **outputs)


if __name__ == "__main__":
    main()

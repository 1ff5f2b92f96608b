"""The last layer of a Hugging Face folder on 20 sentences, here and in transformers, with the folder's own activation.

parity_vectors.py here FOLDER OUTPUT_NPZ [EXPORTED_FOLDER]    converts FOLDER, computes, and exports it again
parity_vectors.py there FOLDER OUTPUT_NPZ                     computes with torch and transformers
parity_vectors.py compare LIMIT HERE_NPZ THERE_NPZ            exits 1 above the limit
"""

import os
import sys
import tempfile
from typing import Callable, Dict

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import numpy as np

SENTENCES = [
    "The ship leaves the harbour at seven.",
    "Nobody expected that the old bridge would hold.",
    "Is there a doctor in the house?",
    "I have read both books, and I liked neither of them very much.",
    "Prices rose by 3.5 % in the second quarter of 2019.",
    "Café, naïve, Zürich: accents are removed where letters are lower-cased.",
    "北京 is written with two characters.",
    "No.",
    "A man is playing a large flute, and a woman is slicing an onion in the kitchen behind him.",
    "Who wrote the letter that she never opened?",
    "It costs $1,200.50; that's too much!",
    "e-mail me at someone@example.com, please",
    "UPPER CASE SHOUTS, lower case whispers.",
    "The committee, which had met on Tuesday, postponed its decision until further notice.",
    "😀 is one character that few vocabularies have.",
    "Photosynthesis converts light energy into chemical energy.",
    "He ran, she swam, they both won.",
    "\"Quoted words,\" he said, 'are quoted.'",
    "The quick brown fox jumps over the lazy dog. " * 12,
    "To be or not to be",
]


def here(folder: str, output: str, exported: str = "") -> None:
    """The ids are this project's tokenizer's, and are kept for the other side to compare."""
    import tensorflow.compat.v1 as tf

    import modeling
    import tokenization
    from steady_bert.interchange import folders, hugging_face, to_safetensors
    from steady_bert.training import checkpoint

    with tempfile.TemporaryDirectory() as converted:
        hugging_face.convert(folder, converted)
        config = modeling.BertConfig.from_json_file(os.path.join(converted, "bert_config.json"))
        lower = bool(folders.described(converted).do_lower_case)
        tokenizer = tokenization.FullTokenizer(os.path.join(converted, "vocab.txt"), do_lower_case=lower)
        pieces = [["[CLS]", *tokenizer.tokenize(text), "[SEP]"] for text in SENTENCES]
        lengths = np.array([len(tokens) for tokens in pieces])
        ids = np.zeros([len(pieces), lengths.max()], np.int32)
        for row, tokens in enumerate(pieces):
            ids[row, : len(tokens)] = tokenizer.convert_tokens_to_ids(tokens)
        mask = (np.arange(lengths.max()) < lengths[:, None]).astype(np.int32)
        with tf.Graph().as_default(), tf.Session() as session:
            model = modeling.BertModel(config, False, tf.constant(ids), tf.constant(mask))
            fetched = {"last": model.get_sequence_output(), "pooled": model.get_pooled_output()}
            reader = checkpoint.Reader(os.path.join(converted, hugging_face.CHECKPOINT))
            weights = {v: reader.tensor(v.op.name) for v in tf.trainable_variables()}
            session.run([v.initializer for v in weights], {v.initializer.inputs[1]: w for v, w in weights.items()})
            values = session.run(fetched)
        np.savez(output, ids=ids, mask=mask, **values)
        if exported:
            to_safetensors.convert(converted, exported)
    print("here: hidden_act {}, do_lower_case {}".format(config.hidden_act, lower))


def there(folder: str, output: str) -> None:
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    batch = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    with torch.no_grad():
        result = model(**batch)
    np.savez(
        output,
        ids=batch["input_ids"].numpy(),
        mask=batch["attention_mask"].numpy(),
        last=result.last_hidden_state.numpy(),
        pooled=result.pooler_output.numpy(),
    )
    print("there: transformers {}, hidden_act {}".format(transformers.__version__, model.config.hidden_act))


def compare(limit: str, first: str, second: str) -> None:
    one, two = np.load(first), np.load(second)
    if not np.array_equal(one["ids"], two["ids"]):
        sys.exit("the ids differ: the tokenizers cut a sentence otherwise")
    real = one["mask"].astype(bool)
    differences = {
        "last hidden state": np.abs(one["last"][real] - two["last"][real]).max(),
        "pooled output": np.abs(one["pooled"] - two["pooled"]).max(),
    }
    for name, difference in differences.items():
        print("{}: largest difference {:.1e} (limit {})".format(name, difference, limit))
    print(
        "largest value {:.2g}, {} sentences, {} tokens".format(
            np.abs(one["last"][real]).max(), *real.shape[:1], real.sum()
        )
    )
    sys.exit(int(max(differences.values()) > float(limit)))


if __name__ == "__main__":
    commands: Dict[str, Callable[..., None]] = {"here": here, "there": there, "compare": compare}
    commands[sys.argv[1]](*sys.argv[2:])

"""transformers' pipeline behind FastAPI as people write it: a call for each request, in FastAPI's threads.

Run by benchmarks/serving.py with a Python that has torch, transformers, fastapi and uvicorn.
"""

import sys
from typing import Any, Dict, List

import fastapi
import pydantic
import torch
import transformers
import uvicorn

VOCABULARY, SIZES, PORT = sys.argv[1:]


class Texts(pydantic.BaseModel):
    texts: List[str]


def main() -> None:
    layers, hidden, heads, labels = map(int, SIZES.split(","))
    tokenizer = transformers.BertTokenizerFast(VOCABULARY)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
        num_labels=labels,
    )
    torch.manual_seed(1)
    model = transformers.BertForSequenceClassification(config).eval()
    classify: Any = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
    application = fastapi.FastAPI()

    @application.post("/v1/predict")
    def predict(texts: Texts) -> Dict[str, Any]:
        return {"predictions": classify(texts.texts, top_k=None)}

    @application.get("/readyz")
    def ready() -> Dict[str, str]:
        return {"status": "ok"}

    classify(["a few words"] * 2)
    uvicorn.run(application, host="127.0.0.1", port=int(PORT), log_level="warning", access_log=False)


if __name__ == "__main__":
    main()

"""PyTorch weights of a Hugging Face folder (pytorch_model.bin, or its shards) → one safetensors file, in float32.

python torch_to_safetensors.py FOLDER [TARGET]        TARGET: FOLDER/model.safetensors if not given

Runs by itself in any Python with torch 2.6 or newer and safetensors. The files are pickles: torch reads them with
weights_only=True, which builds tensors and containers and calls nothing else. Older versions could be made to.
"""

import json
import os
import re
import sys

FILE = "pytorch_model.bin"


def main() -> None:
    folder = sys.argv[1]
    target = sys.argv[2] if len(sys.argv) > 2 else os.path.join(folder, "model.safetensors")
    try:
        import torch
        from safetensors.numpy import save_file
    except ImportError as error:
        sys.exit("torch_to_safetensors: {}".format(error))
    version = re.match(r"(\d+)\.(\d+)", torch.__version__)
    if not version or (int(version.group(1)), int(version.group(2))) < (2, 6):
        sys.exit("torch_to_safetensors: torch is {}, and 2.6 or newer is needed".format(torch.__version__))
    names = [FILE]
    if not os.path.exists(os.path.join(folder, FILE)):
        with open(os.path.join(folder, FILE + ".index.json"), encoding="utf-8") as file:
            names = sorted({os.path.basename(name) for name in json.load(file)["weight_map"].values()})
    floats = {}
    for name in names:
        content = torch.load(os.path.join(folder, name), map_location="cpu", weights_only=True)
        for key, value in content.items():
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                floats[key] = value.detach().float().contiguous().numpy()
    temporary = "{}.{}.tmp".format(target, os.getpid())
    save_file(floats, temporary, metadata={"format": "pt"})
    os.replace(temporary, target)


if __name__ == "__main__":
    main()

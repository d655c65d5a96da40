"""A rule, a structure and a task of one's own, by name on the command line.

    python -m experiments.examples.own --output runs/own

They are in `own_plugin.py`. This makes a small BERT with random weights and a vocabulary for
Python, and gives the commands that it prints: as they are, they work in a shell, too. The task has
no files of its own: it reads a package of Python's library.
"""

import argparse
import ast
import collections
import json
import re
from pathlib import Path

import mpjax

PLUGIN = "experiments.examples.own_plugin"
LIBRARY = Path(ast.__file__).parent / "asyncio"
LETTERS = [chr(i) for i in range(33, 127) if not chr(i).isupper()]


def make_model(folder, data):
    """Writes a BERT with random weights: the commonest words and single letters are its tokens."""
    text = " ".join(file.read_text("utf-8") for file in sorted(data.glob("*.py"))).lower()
    words = [word for word, _ in collections.Counter(re.findall(r"[a-z]+", text)).most_common(1000)]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens = [*special, *words, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    vocabulary = folder.parent / "tokenizer"
    vocabulary.mkdir(parents=True, exist_ok=True)
    (vocabulary / "vocab.txt").write_text("\n".join(dict.fromkeys(tokens)) + "\n", "utf-8")
    config = mpjax.models.BertConfig(
        vocab_size=len(dict.fromkeys(tokens)),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=32,
    )
    params = mpjax.models.new_model(config, "mlm").params
    mpjax.save_model(folder, config, params, "mlm", vocabulary)


def main(arguments=None):
    """Prints and returns (name, accuracy, density) of every run."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder of model and runs")
    parser.add_argument("--data", type=Path, default=LIBRARY, help="folder of Python files")
    parser.add_argument("--steps", default="150", help="of each training")
    parser.add_argument("--density", default="0.1")
    options = parser.parse_args(arguments)
    output = options.output
    if not (output / "model").exists():
        make_model(output / "model", options.data)
    dense = ["--model", str(output / "model"), "--method", "dense"]
    pruned = ["--model", str(output / "dense" / "model"), "--density", options.density]
    runs = {
        "dense": dense,
        "own": [*pruned, "--method", "gated_magnitude", "--structure", "head_rows"],
    }
    shared = ["--plugin", PLUGIN, "--task", "comment_or_code", "--data", str(options.data)]
    shared += ["--steps", options.steps, "--learning-rate", "1e-3", "--max-length", "24"]
    shared += ["--devices", "1"]
    results = []
    for name, words in runs.items():
        run = output / name.replace(" ", "-")
        command = ["train", *words, *shared, "--output", str(run)]
        print("mpjax", *command, flush=True)
        if mpjax.cli.main(command) != 0:
            raise SystemExit(2)  # the command has said why
        result = json.loads((run / "result.json").read_text("utf-8"))
        results.append((name, result["score"]["accuracy"] / 100, result["linear_density"]))
    print(f"\n{'':6} accuracy  density")
    for result in results:
        print("{:6} {:8.1%} {:8.1%}".format(*result))
    return results


if __name__ == "__main__":
    main()

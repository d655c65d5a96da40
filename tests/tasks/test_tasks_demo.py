"""Toy language: labels against readers independent of the generators, and the tokenizer."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from mpjax import tasks
from mpjax.errors import InputError
from mpjax.tasks import demo
from mpjax.tasks.base import Row
from mpjax.tasks.demo import words as demo_words
from mpjax.tasks.demo.claims import LABELS
from mpjax.tasks.demo.task import SPECIAL
from mpjax.tasks.masking import MaskSettings, mask_tokens

NAMES = ("demo_sentiment", "demo_inference", "demo_questions", "demo_mlm")


@pytest.fixture(scope="module")
def data() -> dict[str, dict[str, list[Row]]]:
    return {n: {s: tasks.get(n).read(None, s) for s in ("train", "dev")} for n in NAMES}


@pytest.fixture(scope="module")
def demo_tokenizer():
    return demo.tokenizer()


# ------------------------------------------------------------------ readers of the language


def praises(text: str) -> bool:
    """Whether a clause or sentence of opinion is favourable."""
    words = text.split()
    if words[0] == "although":
        return praises(text.split(" , ")[1])
    if " but " in text:
        return praises(text.split(" but ")[1])
    if " although " in text:
        return praises(text.split(" although ")[0])
    if "that" in words:
        inner = praises(text.split(" that ")[1])
        return inner != (words[1] in demo_words.DENIALS)
    good = any(word in demo_words.GOOD for word in words)
    return good != any(word in demo_words.NEGATIONS for word in words)


def worlds(claim: str) -> set[tuple[bool, ...]]:
    """Worlds of three things, each good or not, in which a claim is true."""
    everything = {(a, b, c) for a in (True, False) for b in (True, False) for c in (True, False)}
    if " thought that " in claim:
        return everything
    claim = claim.removesuffix(" .").split(" knew that ")[-1]
    quantifier = "not every" if claim.startswith("not every ") else claim.split()[0]
    good = praises(claim.split(" was ")[1])
    true = {
        "every": all,
        "some": any,
        "no": lambda hits: not any(hits),
        "not every": lambda hits: not all(hits),
    }[quantifier]
    return {world for world in everything if true([thing == good for thing in world])}


def relation(row: Row) -> str:
    """Entailment and contradiction by trying all worlds."""
    given, claimed = worlds(row["premise"]), worlds(row["hypothesis"])
    if given <= claimed:
        return "entailment"
    return "neutral" if given & claimed else "contradiction"


def answer(row: Row) -> str:
    """Answer to a question, found by following the thing through the story."""
    context = row["context"].removesuffix(" .")
    backwards = "before that" in context
    steps, place, thing = [], None, None
    for sentence in context.replace("before that ", "").replace("then ", "").split(" . "):
        words = sentence.split()
        if words[:2] == ["at", "last"]:
            place = true_after(words, "in")
            continue
        thing = " ".join(words[2:5]) if words[2] == "the" else thing
        if words[1] == "gave":
            steps.append((words[0], true_after(words, "to")))
        else:
            steps.append((true_after(words, "from"), words[0]))
    if backwards:
        steps.reverse()
    assert all(a[1] == b[0] for a, b in itertools.pairwise(steps))
    return {
        "who had it first ?": steps[0][0],
        "who had it last ?": steps[-1][1],
        "who had it in between ?": steps[0][1],
        "what was it ?": thing,
        "where is it now ?": f"the {place}",
    }[row["question"]]


def true_after(words: list[str], preposition: str) -> str:
    """Word after a preposition (and "the") that is not denied."""
    (found,) = [
        words[i + 2] if words[i + 1] == "the" else words[i + 1]
        for i in range(1, len(words))
        if words[i] == preposition and words[i - 1] != "not"
    ]
    return found


@pytest.mark.slow
def test_sentiment_labels(data) -> None:
    for row in data["demo_sentiment"]["dev"]:
        assert praises(row["sentence"].removesuffix(" .")) == bool(row["label"]), row


def test_inference_labels(data) -> None:
    for row in data["demo_inference"]["dev"]:
        assert relation(row) == LABELS[row["label"]], row


def test_answers(data) -> None:
    asked = set()
    for row in data["demo_questions"]["dev"]:
        (text,), (start,) = row["answers"]["text"], row["answers"]["answer_start"]
        assert answer(row) == text, row
        padded = f" {row['context']} "
        assert padded[start : start + len(text) + 2] == f" {text} ", row  # whole words
        asked.add(row["question"])
    assert len(asked) == 5


# ------------------------------------------------------------------------------- generators


@pytest.mark.parametrize("name", NAMES)
def test_splits_are_disjoint_without_repeats_and_always_the_same(name: str, data) -> None:
    def key(row: Row) -> tuple:
        return tuple(str(value) for key, value in row.items() if key not in ("id", "label"))

    keys = {split: [key(row) for row in data[name][split]] for split in ("train", "dev")}
    assert {split: len(rows) for split, rows in keys.items()} == {"train": 8000, "dev": 1000}
    assert len(set(keys["train"]) | set(keys["dev"])) == 9000
    assert tasks.get(name).read(None, "dev") == data[name]["dev"]


@pytest.mark.parametrize("name", ["demo_sentiment", "demo_inference"])
def test_labels_are_balanced_and_words_do_not_give_them_away(name: str, data) -> None:
    """A linear model on word counts (per text of a pair) stays under 72%."""
    columns = ("sentence",) if name == "demo_sentiment" else ("premise", "hypothesis")
    vocabulary: dict[str, int] = {}

    def count(rows: list[Row]) -> np.ndarray:
        counts = np.zeros((len(rows), 500))
        for i, row in enumerate(rows):
            for column in columns:
                for word in row[column].split():
                    counts[i, vocabulary.setdefault(f"{column} {word}", len(vocabulary))] += 1
        return counts

    train, dev = data[name]["train"], data[name]["dev"]
    x, z = count(train), count(dev)
    y, gold = np.array([r["label"] for r in train]), np.array([r["label"] for r in dev])
    classes = tasks.get(name).num_labels
    assert np.abs(np.bincount(y) / len(y) - 1 / classes).max() < 0.03
    weights = np.linalg.solve(x.T @ x + np.eye(500), x.T @ np.eye(classes)[y])
    assert np.mean(np.argmax(z @ weights, axis=1) == gold) < 0.72


def test_a_demo_task_takes_no_data(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make their own data"):
        tasks.get("demo_sentiment").read(tmp_path, "dev")


# ---------------------------------------------------------------------- corpus and tokenizer


def test_the_corpus_is_a_function_of_its_seed() -> None:
    texts = demo.corpus(3, 50)
    assert demo.corpus(3, 20) == texts[:20]
    assert demo.corpus(4, 50) != texts
    assert len(set(texts)) > 45


def test_every_word_is_one_known_token(data, demo_tokenizer) -> None:
    used = {word for text in demo.corpus(0, 3000) for word in text.split()}
    used |= {w for r in data["demo_questions"]["dev"] for w in r["context"].split()}
    assert used <= set(demo_words.VOCABULARY)
    for word in demo_words.VOCABULARY:
        assert len(demo_tokenizer(word, add_special_tokens=False).input_ids) == 1
        assert demo_tokenizer.unk_token_id not in demo_tokenizer(word).input_ids
    assert len(set(demo_words.VOCABULARY)) == len(demo_words.VOCABULARY)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_cut_at_64_tokens(name: str, data, demo_tokenizer) -> None:
    task = tasks.get(name)
    rows = data[name]["dev"]
    encoded = task.encode(rows, demo_tokenizer, 64)
    assert len(encoded) == len(rows)
    assert encoded.lengths.max() < 64


def test_the_tokenizer_folder_loads_offline(tmp_path: Path, demo_tokenizer, monkeypatch) -> None:
    import transformers

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = demo.write_tokenizer(tmp_path / "new" / "tokenizer")
    names = {path.name for path in folder.iterdir()}
    assert {"tokenizer.json", "tokenizer_config.json", "vocab.txt"} <= names
    loaded = transformers.AutoTokenizer.from_pretrained(str(folder))
    text = "Mira gave the red drum to zzyx9 ."
    assert loaded(text, "who ?").input_ids == demo_tokenizer(text, "who ?").input_ids
    assert loaded.is_fast
    for special in ("pad", "unk", "cls", "sep", "mask"):
        token = f"[{special.upper()}]"
        assert getattr(loaded, f"{special}_token") == token
        assert getattr(loaded, f"{special}_token_id") == SPECIAL.index(token)
    lines = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    assert loaded.convert_ids_to_tokens(list(range(len(loaded)))) == lines


# ---------------------------------------------------------------------------------- masking


def test_masking_hides_the_share_asked_for_in_three_ways() -> None:
    ids = np.full((400, 100), 7, np.int32)
    maskable = np.ones_like(ids, bool)
    maskable[:, :10] = False
    settings = MaskSettings(special_ids=(), mask_id=4, vocab_size=1000, share=0.2)
    hidden, labels = mask_tokens(ids, maskable, settings, seed=1)
    asked = labels != -100
    assert not asked[:, :10].any()
    assert abs(asked[:, 10:].mean() - 0.2) < 0.01
    assert (labels[asked] == 7).all()
    assert (hidden[~asked] == 7).all()
    assert abs((hidden[asked] == 4).mean() - 0.8) < 0.02
    assert abs((hidden[asked] == 7).mean() - 0.1) < 0.02
    assert hidden.min() >= 0 and hidden.max() < 1000
    assert hidden.dtype == labels.dtype == np.int32
    again = mask_tokens(ids, maskable, settings, seed=1)
    other = mask_tokens(ids, maskable, settings, seed=2)
    np.testing.assert_array_equal(again[0], hidden)
    assert (other[0] != hidden).any()


def test_special_tokens_and_padding_are_never_asked(data, demo_tokenizer) -> None:
    rows = data["demo_mlm"]["dev"][:100]
    encoded = tasks.get("demo_mlm").encode(rows, demo_tokenizer, 64)
    labels = encoded.arrays["labels"]
    plain = demo_tokenizer([r["text"] for r in rows], padding="max_length", max_length=64)
    original = np.array(plain["input_ids"])
    asked = labels != -100
    assert asked.any()
    np.testing.assert_array_equal(labels[asked], original[asked])
    assert not np.isin(original[asked], demo_tokenizer.all_special_ids).any()


@pytest.mark.parametrize("name", NAMES)
def test_rows_that_were_changed_are_whole_when_read_again(name):
    first = tasks.get(name).read(None, "dev")
    before = dict(first[0])
    first[0].clear()
    first.pop()
    again = tasks.get(name).read(None, "dev")
    assert again[0] == before and len(again) == demo.task.ROWS["dev"]

"""Tables of all kinds of files: the same records, or one sentence about the line that is wrong."""

import csv
import json

import pandas
import pyarrow
import pyarrow.parquet
import pytest
from labelled import write_csv, write_lines

from mpjax.errors import InputError
from mpjax.tasks.own.reading.sources import find_files, read_sources
from mpjax.tasks.own.reading.tables import read_table

RECORDS = [
    {"text": 'He said "no",\nthen left', "label": "a"},
    {"text": "plain; simple", "label": "b"},
    {"text": "ünïcode \u2028 line", "label": "a"},
]


def texts(path):
    return [(record["text"], record["label"]) for _, record in read_table(path).records]


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.jsonl", "x.json", "x.parquet", "semi.csv"])
def test_pandas_writes_what_is_read(tmp_path, name):
    path, frame = tmp_path / name, pandas.DataFrame(RECORDS)
    if name == "semi.csv":
        frame.to_csv(path, index=False, sep=";", encoding="utf-8-sig")
    elif path.suffix == ".csv":
        frame.to_csv(path)  # with the unnamed column of the index
    elif path.suffix == ".tsv":
        frame.to_csv(path, index=False, sep="\t")
    elif path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_json(path, orient="records", lines=path.suffix == ".jsonl")
    assert texts(path) == [(record["text"], record["label"]) for record in RECORDS]


@pytest.mark.parametrize("indent", [None, 1])
def test_json_of_rows_below_data(tmp_path, indent):
    (tmp_path / "x.json").write_text(json.dumps({"version": 1, "data": RECORDS}, indent=indent))
    assert texts(tmp_path / "x.json") == [(record["text"], record["label"]) for record in RECORDS]
    for more in ({}, {"data": [{"source": "web"}]}, {"spans": {"en": 1}}):  # one row of jsonl
        (tmp_path / "x.json").write_text(json.dumps({"text": "a", "label": "b", **more}))
        assert texts(tmp_path / "x.json") == [("a", "b")]


def test_lines_inside_quotes_are_counted(tmp_path):
    path = write_csv(
        tmp_path / "x.csv", ["text", "label"], [["a\nb\nc", 1], ["d", 2], [], ["e", 3]]
    )
    assert [number for number, _ in read_table(path).records] == [2, 5, 7]


def test_another_delimiter_is_said(tmp_path, caplog):
    path = write_csv(tmp_path / "x.csv", ["text", "label"], [["a, b, c", 1]] * 3, delimiter=";")
    caplog.set_level("INFO", "mpjax")
    assert read_table(path).columns == ("text", "label")
    assert "separated by semicolons" in caplog.text


def test_plain_quotes_of_a_tsv(tmp_path, caplog):
    path = tmp_path / "x.tsv"
    path.write_text('text\tlabel\n"so he said\t1\nfine\t0\n6" tall\t1\n"and left\t0\n')
    caplog.set_level("INFO", "mpjax")
    assert texts(path) == [
        ('"so he said', "1"),
        ("fine", "0"),
        ('6" tall', "1"),
        ('"and left', "0"),
    ]
    assert "plain characters" in caplog.text


def test_class_names_of_a_parquet_file(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    rows = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    rows.to_parquet(tmp_path / "x.parquet")
    assert read_table(tmp_path / "x.parquet").names == {"label": ("no", "yes")}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", b'text,label\n"open,1\nb,2\n', "line 2: .*quote"),
        ("x.csv", b'text,label\n"a"b,1\n', "line 2: .*quote"),
        ("x.csv", b"text,label\na,1\nb\n", "line 3: expected 2 columns.*found 1"),
        ("x.csv", b"text,text\na,1\n", "line 1: two columns are called 'text'"),
        ("x.csv", b"text,label\na\0b,1\n", "line 2: a NUL"),
        ("x.csv", b"text,label\nok,1\n\xff\xfe,1\n", "line 3: not UTF-8"),
        ("x.csv", "text,label\na,1\n".encode("utf-16"), "UTF-16"),
        ("x.csv", b"text,label\ra,1\rb,2\r", "carriage returns alone; save"),
        ("x.csv", b"text,label\n", "no rows"),
        ("x.csv", b"", "no rows"),
        ("x.jsonl", b'{"text": "a"}\n[1]\n', "line 2: expected an object"),
        ("x.json", b'[{"text": "a"}, 3]', "row 2: expected an object"),
        ("x.json", b'{"data": [{"text": "a"}, 3]}', "row 2: expected an object"),
        ("x.json", b'{"text": {"3": "a"}, "label": {"3": 1}}', "columns.*orient='records'"),
        ("x.json", b'{"columns": ["text"], "index": [0], "data": [["a"]]}', "orient='records'"),
        ("x.json", b'{"text": "a"}\n{"text": \n', "line 2"),
        ("x.json", b'{"text": \n{"text": "b"}\n', "line 1"),
        ("x.json", b'{\n "data": [\n  {"text": "a"},\n ]\n}', "line 4"),
        ("x.json", b'{\n "text": "a"\n}', "without a list of rows.*object per line"),
        ("x.json", b'{"data": [3, {"text": "a"}]}', "row 1: expected an object"),
        ("x.json", b'{"data": []}', "no rows"),
        ("x.parquet", b"PAR1 no parquet", "not a parquet file"),
        ("x.txt", b"a,b\n", "found .txt"),
    ],
)
def test_damaged_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_table(tmp_path / name)
    assert len(str(caught.value)) < 600


def test_files_of_a_folder(tmp_path):
    def named(*names):
        for path in tmp_path.iterdir():
            path.unlink()
        for name in names:
            (tmp_path / name).write_text("text,label\na,1\n")
        found = find_files(tmp_path)
        return {role: [path.name for path in paths] for role, paths in found.items()}

    assert named("train.csv", "validation.csv", "test.csv", "notes.md") == {
        "train": ["train.csv"], "dev": ["validation.csv"],
    }  # fmt: skip
    assert named("reviews.csv", "README.md") == {"all": ["reviews.csv"]}
    shards = [f"train-0000{i}-of-00002.parquet" for i in range(2)]
    assert named(*shards) == {"train": shards}
    for present in (["train-00000-of-00003.csv"], shards[:1], ["dev.csv", shards[1]]):
        with pytest.raises(InputError, match=r"has 1 of \d shards for train, .* are missing"):
            named(*present)
    with pytest.raises(InputError, match=r"several files for train: train.csv, train.jsonl"):
        named("train.csv", "train.jsonl")
    with pytest.raises(InputError, match=r"holds a.csv, b.csv"):
        named("a.csv", "b.csv")


def test_shards_are_one_table(tmp_path):
    for i in range(2):
        frame = pandas.DataFrame([{"text": f"t{i}", "label": i}])
        frame.to_parquet(tmp_path / f"train-0000{i}-of-00002.parquet")
    table = read_sources(tmp_path)["train"]
    assert [record["text"] for _, record in table.records] == ["t0", "t1"]


def test_a_file_that_changes_is_read_again(tmp_path):
    path = write_lines(tmp_path / "x.jsonl", [{"text": "a"}])
    assert len(read_sources(path)["all"].records) == 1
    write_lines(path, [{"text": "a"}, {"text": "b"}])
    assert len(read_sources(path)["all"].records) == 2


def test_no_data(tmp_path):
    for data in (None, "hub", tmp_path / "nothing"):
        with pytest.raises(InputError, match="--data"):
            read_sources(data)


def test_hub_data(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    rows = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    stored = datasets.DatasetDict({"train": rows, "validation": rows, "test": rows})
    asked = []

    def load(name, config):
        asked.append((name, config))
        return stored

    monkeypatch.setattr(datasets, "load_dataset", load)
    found = read_sources("hub:someone/reviews:small")
    assert asked == [("someone/reviews", "small")]
    assert set(found) == {"train", "dev"}
    assert found["train"].names == {"label": ("no", "yes")}
    assert json.dumps(found["dev"].records[0]) == '[1, {"text": "a", "label": 1}]'


def sparse(path, size=1 << 30):
    """A file of a gigabyte that takes no room."""
    with path.open("wb") as file:
        file.truncate(size)
    return path


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.jsonl", "x.json", "x.conll"])
def test_a_file_larger_than_memory_is_refused_before_it_is_read(tmp_path, monkeypatch, name):
    for module in ("mpjax.files", "mpjax.tasks.reading"):
        monkeypatch.setattr(f"{module}.available", lambda: 500_000_000)
    path = sparse(tmp_path / name)
    if name == "x.json":
        with path.open("r+b") as file:
            file.write(b"[")
    times = 6 if name == "x.json" else 4
    with pytest.raises(InputError, match=f"takes about {times * 1.07:.0f}.* GB .* 0.5 GB are free"):
        read_table(path)


def test_rows_that_fill_the_memory_end_the_reading(tmp_path, monkeypatch):
    left = iter([10**9, 10**6])
    monkeypatch.setattr("mpjax.tasks.reading.available", lambda: next(left))
    monkeypatch.setattr("mpjax.tasks.reading._OFTEN", 3_000)
    path = write_lines(tmp_path / "x.jsonl", [{"text": "a", "label": i} for i in range(100)])
    with pytest.raises(InputError, match=r"x.jsonl: its rows do not fit into memory, of which 0.0"):
        read_table(path)


def test_a_parquet_file_that_unpacks_to_much_more_is_refused(tmp_path):
    few = pyarrow.nulls(1_500, "int32").fill_null(0)
    many = pyarrow.nulls(2_000_000, "int32").fill_null(0)
    long = pyarrow.DictionaryArray.from_arrays(few, pyarrow.array(["x" * 100_000]))
    plain = long.cast("string")
    tables = [{"text": long}, {"text": plain}, {"label": many}, {"text": [["xx"] * 10**5] * 64}]
    for i, columns in enumerate(tables):
        path = tmp_path / f"{i}.parquet"
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
        assert path.stat().st_size < 300_000
        with pytest.raises(InputError, match=r"parquet has .* over 200 times as much: its rows"):
            read_table(path)


def test_damaged_class_names_of_a_parquet_file_leave_the_numbers(tmp_path):
    table = pyarrow.table({"text": ["a", "b"], "label": [0, 1]})
    path = tmp_path / "x.parquet"
    pyarrow.parquet.write_table(table.replace_schema_metadata({"huggingface": "[" * 10**5}), path)
    assert read_table(path).names == {} and len(read_table(path).records) == 2


@pytest.mark.parametrize("name", ["x.csv", "x.tsv"])
def test_a_long_text_is_read(name, tmp_path):
    csv.field_size_limit(131_072)  # of the csv module, until something raises it
    long = "word " * 40_000
    path = tmp_path / name
    pandas.DataFrame({"text": [long, "b"], "label": ["x", "y"]}).to_csv(
        path, index=False, sep="\t" if path.suffix == ".tsv" else ","
    )
    assert [len(text) for text, _ in texts(path)] == [len(long), 1]

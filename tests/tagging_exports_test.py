"""What annotators' tools write is read to the same sentences as its twin in columns; what cannot be is refused."""

import csv
import io
import json
import os

import pytest
from conftest import succeed

from steady_bert.base.errors import UserError
from steady_bert.tasks.tagging import formats, predictions, tag_lists
from steady_bert.tasks.tagging import schemes as tag_schemes
from steady_bert.tasks.tagging.sentences import Layout
from steady_bert.tasks.task import BadLines

FIRST = ["Ann", "Bob", "Zoë", "Łukasz", "Ada Low"]
PLACE = ["Paris", "New York", "Köln", "Rio"]
# 20 sentences as (words, tags): names of one and two words, accents, sentences without an entity.
TWIN = []
for _n in range(20):
    _name, _place = FIRST[_n % 5].split(), PLACE[_n % 4].split()
    _words = _name + ["left"] + _place + ["."]
    _tags = ["B-PER"] + ["I-PER"] * (len(_name) - 1) + ["O", "B-LOC"] + ["I-LOC"] * (len(_place) - 1) + ["O"]
    if _n % 7 == 3:
        _words, _tags = ["Nobody", "moved", "."], ["O"] * 3
    TWIN.append((_words, _tags))


def spans_of(words, tags):
    """(text, [(start, end, type)]) of a sentence whose words are joined by spaces."""
    starts = [sum(len(word) + 1 for word in words[:n]) for n in range(len(words) + 1)]
    entities = tag_schemes.entities(tags)
    return " ".join(words), [(starts[e.start], starts[e.end] - 1, e.type) for e in entities]


TEXTS = [spans_of(*each) for each in TWIN]


def json_lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def conll(rows, gap=" "):
    return "".join("\n".join(gap.join(row) for row in sentence) + "\n\n" for sentence in rows)


def table(rows, **how):
    out = io.StringIO()
    csv.writer(out, lineterminator="\n", **how).writerows(rows)
    return out.getvalue()


def kaggle_rows():
    yield ["Sentence #", "Word", "POS", "Tag"]
    for number, (words, tags) in enumerate(TWIN):
        for place, (word, tag) in enumerate(zip(words, tags)):
            yield ["Sentence: {}".format(number + 1) if place == 0 else "", word, "NN", tag]


def label_studio_task(number, text, spans):
    results = [
        {
            "id": "r{}".format(place),
            "from_name": "label",
            "to_name": "text",
            "type": "labels",
            "value": {"start": s, "end": e, "text": text[s:e], "labels": [kind]},
        }
        for place, (s, e, kind) in enumerate(spans)
    ]
    results.append({"from_name": "tone", "to_name": "text", "type": "choices", "value": {"choices": ["calm"]}})
    annotation = {"id": number, "completed_by": 1, "result": results, "was_cancelled": False, "ground_truth": False}
    skipped = {"id": 900 + number, "result": [], "was_cancelled": True}
    return {"id": number, "annotations": [skipped, annotation], "data": {"text": text}, "predictions": []}


def label_studio_min(number, text, spans):
    task = {"text": text, "id": number, "annotator": 1, "lead_time": 3.1}
    if spans:
        task["label"] = [{"start": s, "end": e, "text": text[s:e], "labels": [kind]} for s, e, kind in spans]
    return task


def prodigy(text, spans):
    words = text.split(" ")
    tokens = [{"text": word, "start": text.index(word), "end": 0, "id": n} for n, word in enumerate(words)]
    labelled = [{"start": s, "end": e, "label": kind, "token_start": 0, "token_end": 0} for s, e, kind in spans]
    return {
        "text": text,
        "_input_hash": 7,
        "tokens": tokens,
        "spans": labelled,
        "answer": "accept",
        "_view_id": "ner_manual",
    }


def write_brat(folder):
    """Two documents of ten lines each, with a relation and a note."""
    os.makedirs(folder)
    for name, texts in (("a", TEXTS[:10]), ("b", TEXTS[10:])):
        start, rows = 0, ["#1\tAnnotatorNotes T1\tsure", "R1\tlives Arg1:T1 Arg2:T2\t"]
        for text, spans in texts:
            for s, e, kind in spans:
                rows.append("T{}\t{} {} {}\t{}".format(len(rows), kind, start + s, start + e, text[s:e]))
            start += len(text) + 1
        for ending, lines in ((".txt", [text for text, _ in texts]), (".ann", rows)):
            with open(os.path.join(folder, name + ending), "w", encoding="utf-8") as file:
                file.write("\n".join(lines) + "\n")


def doccano(number, text, spans):
    return {"id": number, "text": text, "label": [list(span) for span in spans]}


def doccano_with_relations(number, text, spans):
    entities = [{"id": 4, "label": kind, "start_offset": s, "end_offset": e} for s, e, kind in spans]
    return {"id": number, "text": text, "entities": entities, "relations": [], "Comments": []}


def ours(number, text, spans):
    entities = [{"start": s, "end": e, "type": kind, "text": text[s:e], "score": 0.9} for s, e, kind in spans]
    return {"id": str(number), "text": text, "entities": entities}


def labelled(key):
    return lambda number, text, spans: {"text": text, key: [{"start": s, "end": e, "label": k} for s, e, k in spans]}


def cluener(number, text, spans):
    return {"text": text, "label": {kind: {text[s:e]: [[s, e - 1]]} for s, e, kind in spans}}


def spacy(number, text, spans):
    return [text, {"entities": spans}]


def of_texts(make):
    return [make(number, *each) for number, each in enumerate(TEXTS)]


def of_words(**keys):
    """Objects with the words and tags of each sentence."""
    return [{key: make(words, tags) for key, make in keys.items()} for words, tags in TWIN]


def bioes(tags):
    ends = [n + 1 == len(tags) or tags[n + 1][0] != "I" for n in range(len(tags))]
    closing = {"B": "S", "I": "E", "O": "O"}
    return [closing[tag[0]] + tag[1:] if end else tag for tag, end in zip(tags, ends)]


NAMES = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
TOKENS = of_words(tokens=lambda w, t: w, ner_tags=lambda w, t: t)
NUMBERS = of_words(
    tokens=lambda w, t: w, pos_tags=lambda w, t: [1] * len(w), ner_tags=lambda w, t: [NAMES.index(tag) for tag in t]
)
WORDS = of_words(words=lambda w, t: w, labels=lambda w, t: t)
FILLED = [["sentence_id", "words", "labels"]] + [[n, *pair] for n, each in enumerate(TWIN) for pair in zip(*each)]
LABEL_STUDIO_CONLL = conll([[(word, "-X-", "_", tag) for word, tag in zip(*each)] for each in TWIN])

# Name → (the format's name, the file's name, its content, flags).
EXPORTS = {
    "words and labels": ("tokens", "train.json", json.dumps(WORDS), {}),
    "doccano": ("doccano", "admin.jsonl", json_lines(of_texts(doccano)), {}),
    "doccano, relations": ("doccano", "admin.jsonl", json_lines(of_texts(doccano_with_relations)), {}),
    "Label Studio": ("label_studio", "project-1.json", json.dumps(of_texts(label_studio_task)), {}),
    "Label Studio, indented": ("label_studio", "tasks.json", json.dumps(of_texts(label_studio_task), indent=2), {}),
    "Label Studio, JSON-MIN": ("label_studio", "min.json", json.dumps(of_texts(label_studio_min)), {}),
    "Label Studio, CoNLL": ("columns", "project.conll", "-DOCSTART- -X- O\n" + LABEL_STUDIO_CONLL, {}),
    "datasets, names": ("tokens", "train.json", json_lines(TOKENS), {}),
    "datasets, numbers": ("tokens", "train.jsonl", json_lines(NUMBERS), dict(tag_names=tuple(NAMES))),
    "spaCy": ("spacy", "train.json", json.dumps(of_texts(spacy)), {}),
    "spaCy, lines": ("spacy", "train.jsonl", json_lines(of_texts(spacy)), {}),
    "spaCy, documents": ("spacy", "docs.jsonl", json_lines(of_texts(labelled("ents"))), {}),
    "Prodigy": ("prodigy", "db.jsonl", json_lines(prodigy(*each) for each in TEXTS), {}),
    "ours": ("json", "predictions.jsonl", json_lines(of_texts(ours)), {}),
    "label in objects": ("json", "train.json", json.dumps(of_texts(labelled("entities")), indent=1), {}),
    "CLUENER": ("cluener", "train.json", json_lines(of_texts(cluener)), dict(text_units="words")),
    "Kaggle": ("csv", "ner_dataset.csv", table(kaggle_rows()), {}),
    "Kaggle, semicolons": ("csv", "ner.csv", table(kaggle_rows(), delimiter=";"), {}),
    "Kaggle, called .txt": ("csv", "ner.txt", table(kaggle_rows()), {}),
    "CSV, ids filled": ("csv", "train.csv", table(FILLED), {}),
    "CSV, blank lines": ("csv", "train.csv", "token,ner\n" + "\n".join(table(zip(*each)) for each in TWIN), {}),
    "tabs with a header": ("csv", "train.tsv", "Word\tTag\n" + conll([zip(*each) for each in TWIN], "\t"), {}),
    "BIOES": ("columns", "x.conll", conll([zip(words, bioes(tags)) for words, tags in TWIN]), {}),
}


def write(tmp_path, content, name="data.json", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(content.encode(encoding))
    return str(path)


def read(path, allowed=0, tags=None, needs_tags=True, **layout):
    bad_lines = BadLines(allowed)
    return list(formats.read_sentences(path, Layout(**layout), tags, needs_tags, bad_lines)), bad_lines


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_is_read_as_its_twin_in_columns(tmp_path, name):
    expected, file_name, content, flags = EXPORTS[name]
    path = write(tmp_path, content, file_name)
    assert formats.format_of(path, Layout(**flags)) == expected
    assert formats.units_of(path, Layout(**dict(flags, text_units="auto"))) == (
        "characters" if name == "CLUENER" else "words"
    )
    found, bad_lines = read(path, **flags)
    assert [(list(s.words), list(s.tags)) for s in found] == TWIN
    assert [s.example_id for s in found] == [str(n) for n in range(20)]
    assert not bad_lines.mended
    twin = write(tmp_path, conll([zip(*each) for each in TWIN]), "twin.conll")
    assert tag_lists.find_tags(path, Layout(**flags), BadLines(0)) == tag_lists.find_tags(twin, Layout(), BadLines(0))
    again, _ = read(path, format=expected, **flags)
    assert again == found


def test_the_data_is_described_as_its_twin_is(tmp_path, tiny, capsys):
    """But for the lines that are named, which differ between the files."""

    def described(path, *flags):
        command = ["--check_data", "--train_file=" + path, "--vocab_file=" + tiny.vocab_file, *flags]
        out = succeed(command, capsys, "run_ner")
        kept = [line for line in out.split("\n") if "repeat an earlier" not in line and "read as separated" not in line]
        return "\n".join(kept).replace(path, "FILE").replace("Worth a look:", "").strip()

    twin = described(write(tmp_path, conll([zip(*each) for each in TWIN]), "twin.conll"))
    assert "FILE): 20 examples" in twin and "labels: LOC 17, PER 17" in twin
    names = write(tmp_path, "\n".join(NAMES), "names.txt")
    one_of_each = {export[0]: export for export in EXPORTS.values()}
    for name, (_, file_name, content, flags) in one_of_each.items():
        given = ["--tags_file=" + names] * ("tag_names" in flags) + ["--text_units=words"] * ("text_units" in flags)
        assert described(write(tmp_path, content, file_name), *given) == twin, name
    folder = str(tmp_path / "corpus")
    write_brat(folder)
    assert described(folder) == twin


@pytest.mark.parametrize("script, flag", [("run_ner", "--dev_file="), ("run_classifier", "--predict_file=")])
def test_a_command_with_weights_checks_data_without_a_training_file(tmp_path, tiny, capsys, script, flag):
    rows = {"run_ner": {"tokens": ["Ann"], "ner_tags": ["B-X"]}, "run_classifier": {"text": "Ann"}}
    path = write(tmp_path, json_lines([rows[script]]), "x.jsonl")
    command = ["--check_data", "--do_train", "--class_weights=balanced", "--vocab_file=" + tiny.vocab_file, flag + path]
    out = succeed(command + ["--task_name=text"] * (script == "run_classifier"), capsys, script)
    assert "1 examples" in out


def test_a_folder_of_brats_is_read_as_its_twin(tmp_path):
    folder = str(tmp_path / "corpus")
    write_brat(folder)
    formats.require_path("train_file", folder)
    assert formats.format_of(folder, Layout()) == "brat" and len(formats.files_of(folder, Layout())) == 4
    found, _ = read(folder)
    assert [(list(s.words), list(s.tags)) for s in found] == TWIN
    assert [s.example_id for s in found] == [str(n) for n in range(20)]
    for ending in (".txt", ".ann"):
        assert [(list(s.words), list(s.tags)) for s in read(os.path.join(folder, "b" + ending))[0]] == TWIN[10:]
    assert found[10].line == 1


def test_latin_1_is_read_with_its_flag(tmp_path):
    content = table(
        [["Sentence #", "Word", "POS", "Tag"], ["Sentence: 1", "Zoë", "NNP", "B-per"], ["", "left", "VB", "O"]]
    )
    path = write(tmp_path, content, "ner.csv", "latin-1")
    with pytest.raises(UserError, match="ner.csv:2: byte 15 is not UTF-8"):
        read(path)
    assert [s.words for s in read(path, encoding="latin-1")[0]] == [("Zoë", "left")]


def test_a_broken_row_of_a_table_takes_its_sentence_and_no_other_with_it(tmp_path):
    rows = [
        "Sentence,Word,Tag",
        "1,Ann,B-PER",
        ",left",
        ",now,O",
        "2,Bob,B-PER",
        "3,,O",
        "4,Eve,O",
        "5,a,O",
        ',"b" c,O',
        ",c,O",
        "6,d,O",
    ]
    found, bad_lines = read(write(tmp_path, "\n".join(rows), "x.csv"), allowed=3)
    assert [(s.example_id, s.words, s.line) for s in found] == [
        ("1", ("Bob",), 5),
        ("3", ("Eve",), 7),
        ("5", ("d",), 11),
    ]
    assert [message.split("x.csv:")[1][:12] for message in bad_lines.messages] == [
        "3: 2 cells, ",
        "6: Word is e",
        "9: not CSV (",
    ]


def test_a_broken_row_at_the_end_takes_its_sentence_with_it(tmp_path):
    path = str(tmp_path / "x.csv")
    with open(path, "wb") as file:
        file.write(b"Sentence,Word,Tag\n1,a,O\n2,Ann,B-PER\n,\xff,I-PER\n")
    found, bad_lines = read(path, allowed=1)
    assert [s.words for s in found] == [("a",)] and "x.csv:4: byte 2" in bad_lines.messages[0]


@pytest.mark.parametrize(
    "name, begins", [("Sentence #", True), ("sent_id", True), ("SentenceID", True), ("sentiment", False)]
)
def test_a_column_of_sentences_is_known_by_its_name(tmp_path, name, begins):
    path = write(tmp_path, name + ",Word,Tag\nx,Ann,B-PER\ny,\x85,O\n", "x.csv")
    assert [s.words for s in read(path)[0]] == ([("Ann",), ("\x85",)] if begins else [("Ann", "\x85")])


@pytest.mark.parametrize("row", ["\"['Ann', 'left']\",\"['B-PER', 'O']\"", "Ann left,B-PER O"])
def test_a_sentence_a_row_is_refused(tmp_path, row):
    with pytest.raises(UserError, match='x.csv:2: a row is a whole sentence: .* a line of JSON: {"tokens": '):
        read(write(tmp_path, "tokens,ner_tags\n" + row + "\n", "x.csv"))


def test_of_two_lists_of_entities_the_one_that_has_some_is_read(tmp_path):
    row = {"text": "a b", "label": [], "entities": [{"start_offset": 0, "end_offset": 1, "label": "X"}]}
    assert read(write(tmp_path, json.dumps([row])))[0][0].tags == ("B-X", "O")


LABELLED = {"start": 0, "end": 1, "labels": ["X"]}
REFUSED = [
    ([{"text": "a b", "label": ["PER"]}], "doccano", "the entity 'PER' is not like"),
    ([{"text": "a b", "label": "PER"}], "auto", '"label" is not a list of entities'),
    ([{"txt": "a b", "label": [[0, 1, "X"]]}], "auto", '"text" is missing, or is not a string. It has: txt, label'),
    ([{"text": "a b", "spans": [], "answer": "reject"}], "auto", "\"answer\" is 'reject'. Export what was accepted"),
    ([{"text": "a b", "ner": [dict(LABELLED, labels=["X", "Y"])]}], "auto", "the entity 0 to 1 has 2 types"),
    ([{"text": "a b", "entities": [{"start": 0, "type": "X"}]}], "auto", "is not like"),
    ([["a b", {"entities": [[0, 9, "X"]]}]], "auto", "not within the text of 3 characters"),
    ([["a b", {"entities": []}], ["a b"]], "spacy", "not like"),
    ([{"tokens": ["a", "b"], "ner_tags": ["O"]}], "auto", '2 words and 1 tags in "ner_tags"'),
    ([{"tokens": ["a"], "ner_tags": [1]}], "auto", "are numbers. Pass --tags_file"),
    ([{"tokens": ["a", " "], "ner_tags": ["O", "O"]}], "auto", "word 1 is blank"),
    ([{"tokens": ["a"], "id": 3}], "auto", "no tags. Name them with --tag_column"),
    ([{"text": "a b", "tags": [{"start": 0, "end": 9, "tag": "X"}]}], "auto", "the word 0 to 9 is not within the text"),
    (
        [{"data": {"text": "a b"}, "annotations": [{"result": []}, {"result": [{"value": LABELLED}]}]}],
        "auto",
        "2 annotations that differ. Mark one as ground truth",
    ),
    ([{"data": {"text": "a b"}, "annotations": []}], "auto", "no tags"),
    ([{"text": "Ada Low", "entities": [[0, 7, "X"], [4, 7, "Y"]]}], "auto", "keep one: --overlaps=longest, or first"),
]


@pytest.mark.parametrize("rows, name, message", REFUSED)
def test_what_cannot_be_read_is_refused_with_its_place(tmp_path, rows, name, message):
    with pytest.raises(UserError) as error:
        read(write(tmp_path, json_lines(rows), "data.jsonl"), format=name)
    assert "data.jsonl:{}: ".format(len(rows)) in str(error.value)
    assert message in str(error.value)


def test_ground_truth_decides_between_annotations(tmp_path):
    first = {"result": [{"value": LABELLED}], "ground_truth": True}
    row = {"data": {"body": "a b"}, "annotations": [{"result": []}, first]}
    assert read(write(tmp_path, json.dumps([row])))[0][0].tags == ("B-X", "O")


def test_columns_and_keys_are_named_by_flags(tmp_path):
    path = write(
        tmp_path, json_lines([{"toks": ["a", "b"], "tokens": ["x", "y"], "chunk": ["B-NP", "O"], "ner": ["O", "O"]}])
    )
    found, _ = read(path, tag_column="chunk", word_column="toks")
    assert (found[0].words, found[0].tags) == (("a", "b"), ("B-NP", "O"))
    with pytest.raises(UserError, match="--tag_column=pos: the object has the keys toks, tokens, chunk, ner"):
        read(path, tag_column="pos")
    path = write(tmp_path, "Sentence #,Word,POS,Tag,Surface\n1,a,NN,B-X,A\n", "x.csv")
    found, _ = read(path, tag_column="POS", word_column="4")
    assert (found[0].words, found[0].tags) == (("A",), ("NN",))
    for flags, message in (
        (
            dict(tag_column="NER"),
            "--tag_column=NER: no such column. The columns are Sentence #, Word, POS, Tag, Surface",
        ),
        (dict(word_column="9"), "--word_column=9: no such column"),
    ):
        with pytest.raises(UserError, match=message):
            read(path, **flags)
    path = write(tmp_path, "id, text, label\n1,a,B-X\n", "x.csv")
    with pytest.raises(
        UserError, match="no column is called word. The columns are id, text, label. Name one with --word"
    ):
        read(path)
    assert read(path, word_column="text")[0][0].tags == ("B-X",)
    with pytest.raises(UserError, match="the tag 5 is not one of 0 to 1, the lines of --tags_file"):
        read(write(tmp_path, json_lines([{"tokens": ["a"], "ner_tags": [5]}])), tag_names=("O", "B-X"))


# --- offsets, overlaps, predictions -----------------------------------------------------------------------------------

ROBOT = "\U0001f916"


@pytest.mark.parametrize(
    "text, span, unit, words",
    [
        ("💩我在北京市工作", [4, 7, "LOC"], "characters", "京市工"),
        ("💩我在北京市工作", [4, 7, "LOC"], "utf16", "北京市"),
        ("💩我在北京市工作", [5, 8, "LOC"], "utf16", "京市工"),
        ("💩我在北京市工作", [10, 19, "LOC"], "bytes", "北京市"),
        ("Zoë likes Köln", [11, 16, "LOC"], "bytes", "Köln"),
        ("Zoë likes Köln", [10, 14, "LOC"], "utf16", "Köln"),
        ("in " + ROBOT + ROBOT + " Rio", [8, 11, "LOC"], "utf16", "Rio"),
    ],
)
def test_ends_are_counted_in_the_unit_that_is_named(tmp_path, text, span, unit, words):
    (found,), _ = read(write(tmp_path, json_lines([dict(text=text, entities=[span])])), offset_unit=unit)
    assert "".join(w for w, tag in zip(found.words, found.tags) if tag != "O") == words


@pytest.mark.parametrize(
    "rows, flags, message",
    [
        (
            [dict(text="💩我在北京市工作", entities=[dict(start=4, end=7, label="LOC", text="北京市")])],
            {},
            "the entity 4 to 7 is given as '北京市', and '京市工' stands there. Fix it, or say what its ends count: "
            "--offset_unit. The ends of all entities are at edges of words if they count UTF-16 units: pass "
            "--offset_unit=utf16.",
        ),
        (
            [dict(text="Ann", entities=[[0, 3, "X"]]), dict(text=ROBOT + " Ann left Rio", entities=[[3, 6, "X"]])],
            {},
            "ends or begins within a word. Fix it, or let each character have a tag: --text_units=characters. The ends "
            "of all entities are at edges of words if they count UTF-16 units: pass --offset_unit=utf16.",
        ),
        (
            [dict(text="é Ann", entities=[[3, 6, "X"]])],
            {},
            "is not within the text of 5 characters. Fix it. The ends of all",
        ),
        ([dict(text="é Ann", entities=[[3, 6, "X"]])], {}, "if they count bytes of UTF-8: pass --offset_unit=bytes."),
        (
            [dict(text="é Ann", entities=[[2, 5, "X"]])],
            dict(offset_unit="bytes"),
            "if they count characters: pass --offset_unit=characters",
        ),
        (
            [dict(text=ROBOT + " b", entities=[[1, 2, "X"]])],
            dict(offset_unit="utf16"),
            "not within the text of 4 UTF-16 units",
        ),
    ],
)
def test_another_unit_is_named_if_the_whole_file_shows_it(tmp_path, rows, flags, message):
    with pytest.raises(UserError) as error:
        read(write(tmp_path, json_lines(rows)), **flags)
    assert message in str(error.value)


def test_an_emoji_before_entities_that_fit_in_two_units_is_noted(tmp_path):
    def notes(text, span, **flags):
        return read(write(tmp_path, json_lines([dict(text=text, entities=[span])])), **flags)[1].notes

    text = "\U0001f4a9我在北京市工作"
    (note,) = notes(text, [4, 7, "LOC"])
    assert "fit words in UTF-16 units too. If JavaScript or Java counted them: --offset_unit=utf16" in note
    assert notes(text, [4, 7, "LOC"], text_units="characters") == [note]
    assert notes(text, [4, 7, "LOC"], offset_unit="utf16") == []
    assert notes(text, dict(start=3, end=6, label="LOC", text="北京市")) == []
    assert notes("Ann \U0001f4a9", [0, 3, "PER"]) == notes("\U0001f4a9 Ann left", [2, 5, "PER"]) == []


def test_characters_fit_everything_so_that_another_unit_is_noted(tmp_path):
    rows = [dict(text=ROBOT + " Ann left Rio", entities=[[3, 6, "X"], [12, 15, "Y"]])]
    rows[0]["text"] += "!!"
    _, bad_lines = read(write(tmp_path, json_lines(rows)), text_units="characters")
    assert bad_lines.notes == [
        "The ends of all entities are at edges of words if they count UTF-16 units: pass --offset_unit=utf16."
    ]
    assert not read(write(tmp_path, json_lines(rows)), text_units="characters", offset_unit="utf16")[1].notes


@pytest.mark.parametrize(
    "flags, tags, dropped",
    [
        (dict(overlaps="longest"), "O B-Y I-Y I-Y O", 3),
        (dict(overlaps="first"), "B-X I-X B-Z I-Z O", 2),
        (dict(mend_tags=True), "O B-Y I-Y I-Y O", 3),
    ],
)
def test_overlapping_and_nested_entities_are_refused_or_dropped_and_counted(tmp_path, flags, tags, dropped):
    entities = [[0, 3, "X"], [2, 7, "Y"], [4, 7, "Z"], [2, 3, "X"], [0, 3, "X"]]
    path = write(tmp_path, json_lines([dict(text="a b c d e", entities=entities)]))
    with pytest.raises(UserError, match="data.json:1: .* share characters"):
        read(path)
    (found,), bad_lines = read(path, **flags)
    assert " ".join(found.tags) == tags
    if "overlaps" in flags:
        note = "{} entities that overlap others are left out (--overlaps={})".format(dropped, flags["overlaps"])
        assert bad_lines.notes == [note] and not bad_lines.mended
    else:
        assert len(bad_lines.mended) == dropped


BRAT = [
    ("T1\tPER 0 3\tAnn\n", ["B-PER O", "O O"]),
    ("T1\tFull Name 0 3\tAnn\nE1\tMove:T1\nA1\tSure T1\n*\tEquiv T1 T2\n", ["B-Full Name O", "O O"]),
    ("T1\tPER 0 3;9 12\tAnn Bob\n", "x.ann:1: PER 'Ann Bob' has several parts"),
    ("T1\tPER 0 3\tBob\n", "x.ann:1: the entity 0 to 3 is given as 'Bob', and 'Ann' stands there"),
    ("T1\tPER 0 3\tAnn\nT2\tPER 4 12\tleft Bob\n", "x.ann:2: PER 'left Bob' goes over the end of a line"),
    ("T1\tPER 0 99\tAnn\n", "x.ann:1: the entity 0 to 99 is not within the text of 19 characters"),
    ("T1 PER 0 3 Ann\n", "x.ann:1: 'T1 PER 0 3 Ann' is not like T1, a tab"),
    ("T1\tPER 1 3\tnn\n", "x.txt:1: PER 'nn' ends or begins within a word"),
]


@pytest.mark.parametrize("annotations, expected", BRAT)
def test_brats_annotations_are_placed_or_refused(tmp_path, annotations, expected):
    path = write(tmp_path, "Ann left\nBob stays\n", "x.txt")
    write(tmp_path, annotations, "x.ann")
    if isinstance(expected, list):
        assert [" ".join(s.tags) for s in read(path)[0]] == expected
        return
    with pytest.raises(UserError) as error:
        read(path)
    assert expected in str(error.value)


def test_a_sentence_is_left_out_with_its_broken_annotation(tmp_path):
    path = write(tmp_path, "Ann left\nBob stays\nEve \U0001f4a9我在\n", "x.txt")
    write(tmp_path, "T1\tPER 9 12\tBab\nT2\tPER 25 26\t在\n", "x.ann")
    found, bad_lines = read(path, allowed=1)
    assert [(s.example_id, " ".join(s.tags)) for s in found] == [("0", "O O"), ("2", "O O O B-PER")]
    assert len(bad_lines.messages) == 1 and bad_lines.notes == []
    write(tmp_path, "T1 PER 9 12 Bob\n", "x.ann")  # any sentence may have it
    with pytest.raises(UserError, match="x.ann:1: .* is not like T1"):
        read(path, allowed=1)


def test_annotations_without_their_text_are_refused(tmp_path):
    with pytest.raises(UserError, match="x.txt: not there; brat's .*x.ann belongs to it"):
        read(write(tmp_path, "T1\tPER 0 3\tAnn\n", "x.ann"))


def test_predictions_are_input_again_types_with_spaces_included(tmp_path):
    path = write(tmp_path, json_lines([dict(text="Ada Low left. Zoë too", entities=[[0, 7, "Full Name"]])]))
    (found,), _ = read(path)
    assert found.tags[:3] == ("B-Full Name", "I-Full Name", "O")
    again = predictions.json_entities(found, found.tags, [0.5] * len(found.tags))
    assert read(write(tmp_path, json_lines([again]), "again.jsonl"))[0] == [found._replace(example_id="0")]
    plain = predictions.json_tags(found, ["X Y", "Z"] * 3, [0.5] * len(found.tags))
    (tagged,), _ = read(write(tmp_path, json_lines([plain]), "plain.jsonl"))
    assert (tagged.words, tagged.tags, tagged.text) == (found.words, ("X Y", "Z") * 3, found.text)
    assert tagged.offsets == found.offsets


def test_ids_are_an_objects_own_or_count_every_record(tmp_path):
    empty = '{{"text": "{}", "entities": []}}\n'
    content = empty.format("a") + '{"text": "broken\n' + empty.format(" ")
    content += '{"id": "x", "text": "b", "entities": []}\n' + empty.format("c")
    found, _ = read(write(tmp_path, content), allowed=2)
    assert [s.example_id for s in found] == ["0", "x", "4"]
    array = json.dumps([{"text": "a", "entities": []}, {"text": 3}, {"text": "b", "entities": []}])
    assert [s.example_id for s in read(write(tmp_path, array), allowed=1)[0]] == ["0", "2"]
    assert [s.example_id for s in read(write(tmp_path, "a\n\nb\n", "x.txt"), format="text", needs_tags=False)[0]] == [
        "0",
        "2",
    ]

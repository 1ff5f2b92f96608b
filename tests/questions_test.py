"""What a context becomes: words with places, windows, answers that are cut out of it; and how answers are scored."""

import numpy as np
import pytest
from conftest import train_sentencepiece

import tokenization
from steady_bert.tasks.questions import answers, assembly, contexts, features, scores, squad_files, windows
from steady_bert.tasks.questions.scores import Scored

# --- what a context becomes -------------------------------------------------------------------------------------------


def test_words_of_a_context_have_their_places_and_ideographs_are_words():
    context = contexts.split("Ab\u00a0c  d\u202f e\n\u5317\u4eac2008\u5e74\uff0c f")
    assert context.words == ("Ab\u00a0c", "d", "e", "\u5317", "\u4eac", "2008", "\u5e74", "\uff0c", "f")
    assert [context.text[p : p + len(w)] for w, p in zip(context.words, context.places)] == list(context.words)
    assert context.joined(1, 5) == "d e \u5317\u4eac2008"
    for first, last in [(0, 8), (1, 5), (3, 3)]:
        joined = context.joined(first, last)
        for offset, character in enumerate(joined):
            if character != " ":
                assert context.text[context.offset_of(first, offset)] == character
    assert [context.word_at(place) for place in (0, 4, 5, 6, 7, 8)] == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    "pieces, room, stride", [(1, 5, 2), (5, 5, 1), (6, 5, 1), (50, 7, 3), (50, 7, 30), (1000, 380, 128)]
)
def test_windows_cover_every_piece_and_an_answer_begins_in_one_window_alone(pieces, room, stride):
    parts = windows.spans(pieces, room, stride)
    covered, owners = np.zeros(pieces, int), np.zeros(pieces, int)
    for (start, length), best in zip(parts, windows.best_windows(parts)):
        assert 0 < length <= room
        covered[start : start + length] += 1
        owners[start : start + length] += best
    assert covered.min() >= 1 and (owners == 1).all()


class Pieces:
    """A tokenizer of words that are in no vocabulary."""

    vocab = {}

    def tokenize(self, text):
        return text.lower().split()


def test_an_answer_in_chinese_is_cut_out_of_its_sentence_with_its_place():
    context = contexts.split("\u4e2d\u56fd\u7684\u9996\u90fd\u662f\u5317\u4eac\u3002")
    pieces = features.pieces_of(context.words, Pieces())
    (window,) = features.windows_of(["q"], pieces, features.Lengths(20, 5, 3))
    logits = [np.zeros(len(window.tokens)) for _ in range(2)]
    logits[0][window.offset + 6], logits[1][window.offset + 7] = 5.0, 5.0
    view = answers.WindowLogits(["[UNK]"] * len(window.tokens), window.words, window.is_best, *logits)
    found = answers.answers_of(
        [view],
        lambda first, last, written: answers.Text(
            context.joined(first, last), (context.places[first], context.end_of(last))
        ),
        answers.Rules(),
    )
    assert answers.chosen(found, answers.Rules()) == answers.Text("\u5317\u4eac", (6, 8))


def test_every_span_of_sentencepiece_pieces_has_its_text_and_place(tmp_path):
    lines = ["good alpha beta, gamma", "goodness (betas) \u5317\u4eac cafe"] * 9
    path = train_sentencepiece(str(tmp_path / "spm.model"), lines, control_symbols="[CLS],[SEP],[MASK]")
    tokenizer = tokenization.SentencePieceTokenizer(path)
    lengths, rules = features.Lengths(20, 5, 3), answers.Rules()
    inputs = assembly.QuestionsInputs({}, tokenizer, "", True, None, lengths, rules, False, "words")
    context = contexts.split("Alpha  (Goodness), caf\u00e9s\u5317\u4eac beta")
    pieces = features.pieces_of(context.words, tokenizer)
    assert len(pieces.pieces) > 2 * len(context.words)
    reader = assembly.Reader(inputs)
    final_text = reader._final_text(squad_files.Question(0, "q", "", context, (), None))
    for first in range(len(pieces.pieces)):
        for last in range(first, len(pieces.pieces)):
            of_span = pieces.pieces[first : last + 1]
            written = "".join(of_span).replace("\u2581", "")
            text = final_text(int(pieces.words[first]), int(pieces.words[last]), of_span)
            assert context.text[slice(*text.place)].split() == text.text.split()
            plain = text.text.lower().replace("\u00e9", "e").replace(" ", "")
            assert plain == written or not written, (of_span, text)


# --- scores -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer, gold, exact_match, f1",
    [
        ("The Denver Broncos", ["Denver Broncos", "Broncos"], 1.0, 1.0),
        ("Denver broncos!", ["denver panthers"], 0.0, 0.5),
        ("a b b", ["b c"], 0.0, 0.5),  # a is an article; one b of two counts
        ("x", [], 0.0, 0.0),
        ("", [], 1.0, 1.0),
        ("", ["x"], 0.0, 0.0),
        ("the", ["a"], 1.0, 0.0),  # SQuAD 1.1's script: nothing is common to nothing
    ],
)
def test_words_are_scored_as_squad_does(answer, gold, exact_match, f1):
    assert scores.by_words(answer, gold) == Scored(exact_match, pytest.approx(f1))


@pytest.mark.parametrize(
    "answer, gold, exact_match, f1",
    [
        ("\u5317\u4eac\u3002", ["\u5317\u4eac"], 1.0, 1.0),
        ("\u5728\u5317\u4eac\u5e02", ["\u5317\u4eac"], 0.0, 2 * 0.5 * 1 / 1.5),
        ("\u5317\u4e0a\u4eac", ["\u5317\u4eac"], 0.0, 2 * (1 / 3) * 0.5 / (1 / 3 + 0.5)),  # the longest common run: 1
        ("2008 \u5e74", ["2008\u5e74"], 0.0, 1.0),
        ("iPhone 6", ["iphone"], 0.0, 2 * 0.5 * 1 / 1.5),
    ],
)
def test_characters_are_scored_as_cmrc_does(answer, gold, exact_match, f1):
    assert scores.by_characters(answer, gold) == Scored(exact_match, pytest.approx(f1))
    assert scores.scored_by(gold) == ("words" if gold == ["iphone"] else "characters")


def test_the_best_threshold_is_the_best_of_all():
    rng = np.random.RandomState(5)
    for size in (1, 2, 7, 40):
        odds = rng.choice(np.linspace(-3, 3, 13), size)
        impossible = rng.rand(size) < 0.5
        with_text, without = rng.rand(size) * ~impossible, impossible.astype(float)

        best, *others = (
            np.where(odds > threshold, without, with_text).mean()
            for threshold in [scores.best_threshold(odds, with_text, without), *np.linspace(-4, 4, 321)]
        )
        assert best == pytest.approx(max(others))
    assert scores.best_threshold([-2.0, 3.0], [1.0, 0.0], [0.0, 1.0]) == 0.0

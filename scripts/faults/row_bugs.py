"""The rows of scripts/reliability.py, each with a bug that it finds."""

from typing import NamedTuple


class Bug(NamedTuple):
    file: str
    original: str  # occurs once in the file
    planted: str  # replaces it
    tests: str  # arguments of pytest, or ROW and a row of scripts/reliability.py


ROW = "scripts/reliability.py --row="
ROW_BUGS = {
    "kill: examples are counted anew": Bug(
        "steady_bert/training/session_engine.py",
        "    step, state = _step_and_state(engine)\n",
        "    step, state = _step_and_state(engine)\n    state = state._replace(examples_consumed=0)\n",
        ROW + "kill --tries=4",
    ),
    "kill_tagger: averages are forgotten": Bug(
        "steady_bert/training/session_engine.py",
        "for name, variable in variables.items() if name in shapes}",
        'for name, variable in variables.items() if name in shapes and not name.endswith("/ema")}',
        ROW + "kill_tagger --tries=4",
    ),
    "signal: the exit code is the signal": Bug(
        "steady_bert/training/progress.py",
        "        raise SystemExit(128 + stop.signal)",
        "        raise SystemExit(stop.signal)",
        ROW + "signal --tries=4",
    ),
    "damage: a cache entry is opened whatever it holds": Bug(
        "steady_bert/training/feature_cache.py",
        "return files.crc32_of_file(path) == description[_CHECKSUMS][os.path.splitext(path)[1]]",
        "return os.path.exists(path)",
        ROW + "damage --tries=100",
    ),
    "damage_tagger: a cache entry is opened whatever it holds": Bug(
        "steady_bert/training/feature_cache.py",
        "return files.crc32_of_file(path) == description[_CHECKSUMS][os.path.splitext(path)[1]]",
        "return os.path.exists(path)",
        ROW + "damage_tagger --tries=100",
    ),
    "full_disk: a full disk is an error like others": Bug(
        "steady_bert/base/disk.py",
        '    return getattr(error, "errno", None) in _CODES or',
        '    return getattr(error, "errno", None) == -1 and',
        ROW + "full_disk --tries=6",
    ),
    "fuzz: a file that is not JSON shows a traceback": Bug(
        "steady_bert/base/json_files.py",
        '        raise UserError("{}: not JSON ({}). {}".format(place, error, remedy)) from None\n',
        "        if content:  # without TF_CONFIG there is none\n            raise\n"
        '        raise UserError("{}: not JSON ({}). {}".format(place, error, remedy)) from None\n',
        ROW + "fuzz --tries=60",
    ),
    "fuzz_tagger: a line that is not JSON shows a traceback": Bug(
        "steady_bert/tasks/reading/json_rows.py",
        '        except (ValueError, RecursionError) as error:\n            message = "{}:{}: not JSON ({}). One line',
        '        except RecursionError as error:\n            message = "{}:{}: not JSON ({}). One line',
        ROW + "fuzz_tagger --tries=70",
    ),
    "a file that is not JSON shows a traceback": Bug(
        "steady_bert/base/json_files.py",
        "    except ValueError as error:\n",
        "    except KeyError as error:\n",
        "tests/json_files_test.py",
    ),
    "pairs: a checkpoint that the manifest lists otherwise is used": Bug(
        "steady_bert/training/checkpoint_files.py",
        "    if expected is None or actual is None or actual == expected:",
        "    if True:",
        ROW + "pairs --tries=18",
    ),
    "race: a taken lock is an error like others": Bug(
        "steady_bert/base/locks.py",
        "    except filelock.Timeout:",
        "    except KeyError:",
        ROW + "race --tries=3",
    ),
    "soak_short: every update keeps something": Bug(
        "steady_bert/training/session_engine.py",
        "            step += 1\n",
        '            step += 1\n            globals().setdefault("kept", []).append(b"." * (20000 + step % 2))\n',
        ROW + "soak_short",
    ),
}
BUG_OF_ROW = {
    "kill": "kill: examples are counted anew",
    "kill_tagger": "kill_tagger: averages are forgotten",
    "kill_stage": "kill: examples are counted anew",
    "kill_stage_tagger": "kill_tagger: averages are forgotten",
    "signal": "signal: the exit code is the signal",
    "damage": "damage: a cache entry is opened whatever it holds",
    "damage_tagger": "damage_tagger: a cache entry is opened whatever it holds",
    "full_disk": "full_disk: a full disk is an error like others",
    "fuzz": "fuzz: a file that is not JSON shows a traceback",
    "fuzz_tagger": "fuzz_tagger: a line that is not JSON shows a traceback",
    "pairs": "pairs: a checkpoint that the manifest lists otherwise is used",
    "pairs_tagger": "pairs: a checkpoint that the manifest lists otherwise is used",
    "race": "race: a taken lock is an error like others",
    "soak": "soak_short: every update keeps something",
    "soak_short": "soak_short: every update keeps something",
    "resume": "plateau's state is lost on a resume",
    "position": "two examples have one position in an epoch",
    "replicas": "the clip norm is that of one replica",
    "worker": "the count of consumed examples is lost on a resume",
    "link": "any proof of the key is taken",
    "non_finite": "weights that are not finite are saved",
    "rate": "the rate forgets its end",
    "second_stage": "the count of consumed examples is lost on a resume",
    "bad_input": "a file that is not JSON shows a traceback",
    "tokenizer": "accents stay",
    "coverage": "the last window of a text is left out",
    "malicious": "a pickle of PyTorch may run code",
    "metrics": "macro F1 is micro F1",
}

"""The flags of the entry scripts: registering them, and parsing a command line.

The one place that touches absl; steady_bert/command_line has the table of flags and checks their relations. "Given"
means given by the user, which is not the same as different from the default. A script run as a program registers all
its flags. Imported by another script it registers few, so that the other can define flags of its own.
"""

from typing import Any, Callable, Dict, List, NoReturn, Sequence

from absl import flags as absl_flags

from steady_bert.base import program_end
from steady_bert.base.errors import UserError
from steady_bert.command_line import help_screens
from steady_bert.command_line.flag_table import GROUPS as GROUPS
from steady_bert.command_line.flag_table import REGISTERED_BY_IMPORT, flags_of
from steady_bert.command_line.flag_table import SCRIPTS as SCRIPTS
from steady_bert.command_line.training_flags import Flag

FLAGS = absl_flags.FLAGS


def __getattr__(name: str) -> Any:
    """What scripts take from `run_classifier.flags`, which is tf.flags in the original: DEFINE_string and the like."""
    return getattr(absl_flags, name)


def _meaning(flag: Flag) -> str:
    if flag.default in (None, ""):
        return flag.meaning
    return "{} Default: {}.".format(flag.meaning, help_screens.text_of(flag.default))


def register(script: str) -> None:
    """Defines all flags of a script, a key of SCRIPTS. Flags that an entry script has defined already stay."""
    _register(script, flags_of(script))


def register_for_import(script: str) -> None:
    """Defines the flags that other scripts expect when they import this one: those of google-research/bert."""
    _register(script, [flag for flag in flags_of(script) if flag.name in REGISTERED_BY_IMPORT[script]])


def _register(script: str, flags: Sequence[Flag]) -> None:
    for flag in flags:
        if _is_ours(flag.name):
            continue
        known: Dict[str, Any] = {"flag_values": FLAGS, "module_name": script}
        if flag.name == "task_name":  # a script may have tasks of its own; ours are checked with the relations
            absl_flags.DEFINE_string(flag.name, flag.default, _meaning(flag), **known)
        elif isinstance(flag.kind, tuple):
            parser: Any = absl_flags.EnumParser(list(flag.kind), case_sensitive=False)
            absl_flags.DEFINE(parser, flag.name, flag.default, _meaning(flag), serializer=_SERIALIZER, **known)
        elif flag.kind == "boolean":
            absl_flags.DEFINE_boolean(flag.name, flag.default, _meaning(flag), **known)
        elif flag.kind == "list":
            absl_flags.DEFINE_list(flag.name, flag.default, _meaning(flag), **known)
        elif flag.words:
            parser = _NumberOrWord(flag)
            absl_flags.DEFINE(parser, flag.name, flag.default, _meaning(flag), serializer=_SERIALIZER, **known)
        elif flag.kind == "string":
            absl_flags.DEFINE_string(flag.name, flag.default, _meaning(flag), **known)
        else:
            define: Any = absl_flags.DEFINE_integer if flag.kind == "integer" else absl_flags.DEFINE_float
            define(flag.name, flag.default, _meaning(flag), lower_bound=flag.lower, upper_bound=flag.upper, **known)


class _NumberOrWord(absl_flags.FloatParser):
    """Parses a float within the bounds of a flag, or one of its words."""

    def __init__(self, flag: Flag) -> None:
        super().__init__(flag.lower, flag.upper)
        self._words = flag.words

    def parse(self, argument: Any) -> Any:
        word = argument.lower() if isinstance(argument, str) else None
        return word if word in self._words else super().parse(argument)

    def convert(self, argument: Any) -> float:
        try:
            number: float = super().convert(argument)
        except ValueError:
            raise ValueError("neither a number nor {}".format(" or ".join(self._words))) from None
        return number


_SERIALIZER: Any = absl_flags.ArgumentSerializer()


def _is_ours(name: str) -> bool:
    """Whether an entry script has registered the flag, and not a script that imports it and has a flag of this name."""
    return name in FLAGS and FLAGS.find_module_defining_flag(name) in SCRIPTS


class Values:
    """The flags of a script as attributes: what was given, else the default.

    The default is the script's own, also where nobody registered the flag, or another script did with its default.
    """

    def __init__(self, script: str) -> None:
        self.flags = {flag.name: flag for flag in flags_of(script)}

    def __getattr__(self, name: str) -> Any:
        if name == "flags" or name not in self.flags:
            raise AttributeError(name)
        return FLAGS[name].value if self.given(name) else self.flags[name].default_value

    def given(self, name: str) -> bool:
        """Whether the user said something, or a script did that imports ours: FLAGS.name = …, FLAGS.set_default."""
        if not _is_ours(name):
            return False
        flag = FLAGS[name]
        return bool(flag.present) or not flag.using_default_value or flag.default != _registered_default(name)

    def given_flags(self) -> List[str]:
        """The flags that were given, each as the line `--name=value` of a flagfile."""
        return [FLAGS[name].serialize() for name in self.flags if self.given(name)]


def _registered_default(name: str) -> Any:
    """The default with which an entry script has defined a flag."""
    script: Any = FLAGS.find_module_defining_flag(name)
    return next(flag.default_value for flag in flags_of(script) if flag.name == name)


def run(script: str, main: Callable[[], None], argv: Sequence[str], description: str) -> NoReturn:
    """Parses the command line, calls main, and exits: 0 done, 2 a mistake of the user's, 1 a failure in the run."""
    program_end.run(script, lambda: _answer(script, main, argv, description))


def _answer(script: str, main: Callable[[], None], argv: Sequence[str], description: str) -> None:
    arguments = argv[1:]
    if "--helpfull" in arguments or "-helpfull" in arguments:
        print(help_screens.full_help(script, description), flush=True)
    elif any(argument in ("--help", "-h", "-help", "-?", "--helpshort") for argument in arguments):
        print(help_screens.short_help(script, description), flush=True)
    else:
        register(script)
        try:
            _parse(script, argv)
        except absl_flags.Error as error:
            raise UserError(str(error)) from None
        main()


def within(script: str, arguments: Sequence[str], use: Callable[[Values], Any]) -> Any:
    """use(the values of a command line), of which nothing stays. Raises UserError for flags that are wrong."""
    from absl.testing import flagsaver  # for this alone

    register(script)
    before = flagsaver.save_flag_values()
    try:
        _parse(script, [script + ".py", *arguments])
        return use(Values(script))
    except absl_flags.Error as error:
        raise UserError(str(error)) from None
    finally:
        flagsaver.restore_flag_values(before)


def _parse(script: str, argv: Sequence[str]) -> None:
    own = {flag.name for flag in flags_of(script)}
    try:
        rest = FLAGS(list(argv))
    except absl_flags.UnrecognizedFlagError as error:
        _refuse_flag_of_another(script, error.flagname)
        raise
    except UnicodeDecodeError:
        given = ", ".join(argument for argument in argv if "flagfile" in argument)
        raise UserError("{}: not UTF-8 text, as a file of flags is. Restore it from a copy.".format(given)) from None
    except RecursionError:  # absl's search for a flag of a similar name
        raise UserError("A flag whose name has a thousand letters is none. Write --name=value, one a line.") from None
    if rest[1:]:
        raise UserError("{!r} is not a flag. Write --name=value.".format(rest[1]))
    # A process that has imported several scripts knows the flags of all.
    for name in (flag.name for other in SCRIPTS for flag in flags_of(other)):
        if name not in own and _is_ours(name) and FLAGS[name].present:
            _refuse_flag_of_another(script, name)
    for name in own:
        _require_text(name, FLAGS[name].value)


def _require_text(name: str, value: Any) -> None:
    """Raises UserError for bytes that are not UTF-8, of which TensorFlow opens no file, and for NUL."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str) and any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in item):
            raise UserError("--{}={!r}: has a byte that is not UTF-8, or 0. Rename what it names.".format(name, item))


def _refuse_flag_of_another(script: str, name: str) -> None:
    for other in SCRIPTS:
        if other != script and name in {flag.name for flag in flags_of(other)}:
            raise UserError("--{}: is a flag of {}.py, not of {}.py. Leave it out.".format(name, other, script))

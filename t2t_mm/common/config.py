"""Gin configuration with strict checks. This is the only module that imports gin.

The .gin files themselves register the classes and functions that they configure (`from __gin__ import
dynamic_registration`), so layers, problems and training do not depend on gin.

Gin has no public interface to list the bindings and those that were used, so this module reads `gin.config._CONFIG`,
`_OPERATIVE_CONFIG`, `_REGISTRY` and `_FILE_READERS`. For this reason, setup.py restricts the version of gin-config, and
tests/common/test_private_parts.py names the part that a new release has changed.
"""

import inspect
import io
import os
import re
import sys
import tokenize
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any

import gin
from gin import config as gin_config
from t2t_mm.common import shipped
from t2t_mm.common.renamed import RENAMED
from t2t_mm.corpora.plain_text import TextError, decode
from t2t_mm.spelling import near

_MACRO = "gin.macro"
_MODULES_BESIDE = "# Modules beside: "  # begins a line of a saved configuration that names a folder of imported modules
_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_IMPORT = re.compile(r"^\s*(?:import|from)\s+(\w+)", re.MULTILINE)
_HYPER_PARAMETERS = re.compile(r"t2t_mm\.(model|layers\..*|input\.buckets|training\..*)")  # modules
_NO_HYPER_PARAMETERS = re.compile(r".*\.(Checkpointing|Evaluation)|.*(_steps|\.model_dir|\.max_bad_examples|\.only_try)")
_KERAS_ARGUMENTS = ("name", "dtype", "trainable")  # arguments that every layer accepts through its **kwargs


class ConfigError(Exception):
    """An invalid configuration. The message names the binding, and suggests similar names."""


def parse(gin_files: Sequence[str], bindings: Sequence[str] = (), last: str = "") -> None:
    """Reads .gin files, then single bindings, then the text `last`; later bindings override earlier ones.

    The previous configuration is discarded.

    Raises:
      ConfigError: a file is missing, or a line does not parse or names an unknown module, configurable or parameter.
    """
    gin.clear_config()
    _beside.clear()
    gin_config._FILE_READERS[:] = [(_open, os.path.isfile)]
    if shipped.folder() not in gin_config._LOCATION_PREFIXES:
        gin.add_config_file_search_path(shipped.folder())
    check_files(gin_files)
    for binding in bindings:
        if not re.match(r"\s*([\w./]+\s*[=:]|(from|import|include)\s)", binding):
            raise ConfigError(f"The binding {binding!r} is not of the form NAME = VALUE, as in --gin_param=steps=1000.")
    try:
        for binding in bindings:
            _check_ends(binding, f"--gin_param={binding}")
        gin.parse_config_files_and_bindings(list(gin_files), list(bindings), finalize_config=False)
        gin.parse_config(last)
    except (SyntaxError, ValueError, ImportError, AttributeError, NameError, TypeError, OSError) as error:
        message = without_addresses(" ".join(str(error).split()))
        raise ConfigError(message + _called_now(message)) from error
    macros = {scope for scope, selector in gin_config._CONFIG if selector == _MACRO}
    for (scope, selector), parameters in gin_config._CONFIG.items():
        for name, value in parameters.items():
            what = scope if selector == _MACRO else f"{selector}.{name}"
            _check_references(what, value, macros)
            if selector != _MACRO:
                _check_parameter(selector, name)
                _check_type(what, selector, name, value)


def check_files(gin_files: Sequence[str]) -> None:
    """Checks that each file exists, relative to the current folder or in the package.

    Raises:
      ConfigError: a file does not exist.
    """
    for path in gin_files:
        if not any(os.path.isfile(os.path.join(folder, path)) for folder in ("", shipped.folder())):
            raise ConfigError(
                f"No configuration file {path}{_similar_file(path)}; relative paths begin in {os.getcwd()} or in the package."
            )


def _similar_file(path: str) -> str:
    known = []
    for where, _, names in os.walk(os.path.join(shipped.folder(), "gin")):
        known += [os.path.relpath(os.path.join(where, name), shipped.folder()) for name in names]
    return near(path, [name for name in known if name.endswith(".gin")])


class _File(io.StringIO):
    """The text of a .gin file, with the name that Gin shows in messages."""

    def __init__(self, text: str, name: str):
        super().__init__(text)
        self.name = name


def _open(path: str) -> _File:
    """Reads a .gin file according to `plain_text`, and makes the modules in its folder importable.

    Gin's own reader would treat a byte order mark as a part of a name.
    """
    with open(path, "rb") as file:
        try:
            text = decode(file.read())
        except TextError as error:
            raise ValueError(f"{path}: {error}") from error
    _check_ends(text, path)
    beside = [os.path.dirname(os.path.abspath(path))]
    beside += [line.removeprefix(_MODULES_BESIDE) for line in text.splitlines() if line.startswith(_MODULES_BESIDE)]
    imported = set(_IMPORT.findall(text)) - {"t2t_mm", "__gin__"}
    for folder in beside:
        if any(os.path.exists(os.path.join(folder, name)) for module in imported for name in (module, f"{module}.py")):
            _beside.add(folder)
            if folder not in sys.path:
                sys.path.append(folder)  # at the end, so that a file of the user cannot hide a system module
    return _File(text, path)


def _check_ends(text: str, where: str) -> None:
    """Checks that a text does not end within brackets or a string, for which gin has no message.

    Raises:
      ValueError: it does.
    """
    opened: list[tokenize.TokenInfo] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.OP and token.string in _BRACKETS:
                opened.append(token)
            elif token.type == tokenize.OP and opened and token.string == _BRACKETS[opened[-1].string]:
                opened.pop()
    except tokenize.TokenError as error:
        if opened:
            raise ValueError(f"{where}: line {opened[-1].start[0]}: {opened[-1].string!r} is never closed.") from error
        raise ValueError(f"{where}: line {error.args[1][0]}: {error.args[0]}.") from error
    except IndentationError:  # gin has a message for it
        pass


_beside: set[str] = set()  # the folders of the modules imported by the files of the last `parse`


def _check_references(what: str, value, macros: set[str]) -> None:
    for reference in gin_config.iterate_references(value):
        name, selector = reference.config_key
        if name == "gin.REQUIRED":
            raise ConfigError(f"{what} is left as %gin.REQUIRED; give it a value, for instance {what} = ...")
        if selector == _MACRO and name not in macros:
            raise ConfigError(f"{what} refers to macro {name}, which no file sets{near(name, macros)}")


def _check_parameter(selector: str, name: str) -> None:
    """Raises a ConfigError if only the **kwargs of a layer would accept the name. Gin cannot know that Keras rejects it."""
    parameters = inspect.signature(gin_config._REGISTRY.get_match(selector).wrapped).parameters
    known = [p.name for p in parameters.values() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    if name not in known and name not in _KERAS_ARGUMENTS:
        raise ConfigError(f"{selector} has no parameter {name}{near(name, known)}")


def _called_now(message: str) -> str:
    """Returns the new name of something that Gin rejects, or suggests similar names."""
    if found := re.search(r"Configurable '([\w.]+)' doesn't have a parameter named '(\w+)'", message):
        selector, name = found.groups()
        for before, now in RENAMED.items():
            if f"{selector}.{name}".endswith(before):
                return f" It is called {now} now."
        parameters = inspect.signature(gin_config._REGISTRY.get_match(selector).wrapped).parameters
        return near(name, parameters)
    for before, now in RENAMED.items():
        if re.search(rf"\b{re.escape(before)}\b", message):
            return f" It is called {now} now."
    if found := re.search(
        r"(?:No configurable matching (?:reference )?'@?|Couldn't resolve selector )(?:[\w.]+/)*([\w.]+)", message
    ):
        return near(found[1], _configurables())
    if found := re.search(r"Unable to open file: (\S+)\. Searched", message):
        return _similar_file(found[1])
    return ""


def _configurables() -> list[str]:
    """Returns the names under which .gin files usually bind the functions and classes of the package: "loop.train"."""
    modules = {name: module for name, module in sys.modules.items() if name.startswith("t2t_mm.")}
    return [
        f"{name.rpartition('.')[2]}.{what}"
        for name, module in sorted(modules.items())
        for what, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", "") == name and not what.startswith("_")
    ]


def _check_type(what: str, selector: str, name: str, value) -> None:
    """Raises a ConfigError if the annotation of the parameter excludes the value. References cannot be checked yet."""
    if isinstance(value, gin_config.ConfigurableReference):
        reference, selector_of = value.config_key
        if selector_of != _MACRO:
            return
        value = gin_config._CONFIG[reference, _MACRO]["value"]
        if isinstance(value, gin_config.ConfigurableReference):
            return
    wrapped = gin_config._REGISTRY.get_match(selector).wrapped
    hints = typing.get_type_hints(wrapped.__init__ if inspect.isclass(wrapped) else wrapped)
    if name in hints and not _fits(value, hints[name]):
        raise ConfigError(f"{what} is {value!r}; it must be {_spelled(hints[name])}.")


def _fits(value, hint) -> bool:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in typing.get_args(hint))
    kind = origin or hint
    if kind in (None, type(None)):
        return value is None
    if not isinstance(kind, type) or kind in (Callable, Any):
        return True
    if isinstance(value, gin_config.ConfigurableReference):
        return True
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is Sequence or kind is tuple:
        return isinstance(value, list | tuple)
    return isinstance(value, kind)


def _spelled(hint) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def configured(function: Callable) -> Callable:
    """Returns a function or class with the bindings that were parsed for it.

    Raises:
      ConfigError: no .gin file imports its module.
    """
    try:
        return gin.get_configurable(function)
    except ValueError as error:
        raise ConfigError(
            f"No .gin file imports {function.__module__}, so {function.__name__} has no configuration: "
            f"{without_addresses(str(error))}"
        ) from error


def value_of(name: str) -> Any:
    """Returns the value of a parameter ("loop.train.steps") or a macro ("%steps"), and resolves macros.

    Raises:
      ConfigError: no .gin file binds it.
    """
    try:
        value = gin.query_parameter(name)
    except ValueError as error:
        raise ConfigError(f"No .gin file binds {name}: {error}") from error
    if isinstance(value, gin_config.ConfigurableReference) and value.config_key[1] == _MACRO:
        return value_of(f"%{value.config_key[0]}")
    return value


def arguments_of(function: Callable) -> dict[str, Any]:
    """Returns the arguments that the bindings give to a function or class, name -> value, with all references followed.

    Raises:
      ConfigError: no .gin file imports its module.
    """
    configured(function)
    return dict(gin.get_bindings(f"{function.__module__}.{function.__qualname__}"))


def check_macros() -> None:
    """Checks that every macro is used by a binding. Call this after `parse`, before anything is built.

    Raises:
      ConfigError: some macros are unused. The message lists them with similar names.
    """
    macros: set[str] = set()
    referenced: set[str] = set()
    for (scope, selector), parameters in gin_config._CONFIG.items():
        if selector == _MACRO:
            macros.add(scope)
        for value in parameters.values():
            keys = (reference.config_key for reference in gin_config.iterate_references(value))
            referenced.update(name for name, of in keys if of == _MACRO)
    unused = [f"macro {name} is used by no binding{near(name, referenced)}" for name in sorted(macros - referenced)]
    if unused:
        raise ConfigError("Unused configuration:\n  " + "\n  ".join(unused))


def check_all_used() -> None:
    """Checks that every binding was used. Call this when everything configured has been built.

    Gin itself does not report macros that are never used, bindings of functions that are never called, or scopes that
    never occur.

    Raises:
      ConfigError: some bindings are unused. The message lists them with similar names.
    """
    used = gin_config._OPERATIVE_CONFIG
    names = {name for (scope, selector) in used for name in ((scope,) if selector == _MACRO else ())}
    problems = []
    for (scope, selector), parameters in gin_config._CONFIG.items():
        for name in parameters:
            if any(
                other == selector and name in operative and _applies(scope, called)
                for (called, other), operative in used.items()
            ):
                continue
            if selector == _MACRO:
                problems.append(f"macro {scope} is used by no binding{near(scope, names)}")
            else:
                prefix = f"{scope}/" if scope else ""
                known = {f"{s}/" if s else "" for (s, other) in used if other == selector}
                hint = f" (it is called with scope {', '.join(sorted(known))!r})" if scope and known else ""
                problems.append(f"{prefix}{selector}.{name} is read by nothing that was built{hint}")
    if problems:
        raise ConfigError("Unused configuration:\n  " + "\n  ".join(sorted(problems)))


def _applies(scope: str, called: str) -> bool:
    """Returns whether a binding in `scope` applies to a call in scope `called` (a macro adds a scope with its own name)."""
    return not scope or called == scope or called.startswith(scope + "/")


def without_calls(text: str) -> str:
    """Returns a message without the lines that Gin appends, which list the calls in which the error occurred."""
    return re.sub(r"\n\s*In call to configurable .*", "", text)


def without_addresses(text: str) -> str:
    """Returns a message with only the names of functions and modules: `<function f at 0x7f…>` becomes `f`."""
    what = r"(?:bound )?(?:function|method|class|module)"
    return re.sub(rf"<{what} '?((?:[\w.]|<\w+>)+)'?(?: of .*?)?(?: at 0x[0-9a-f]+| from '.*?')?>", r"\1", text)


def hyper_parameters() -> dict[str, bool | int | float | str]:
    """Returns the sizes and the settings of optimizer, schedule, batches and mixing: "Optimizer.clip_norm" -> value.

    It contains the values that were used, including defaults, except for functions and objects. Lists and dicts are text.
    Call this when everything configured has been built.
    """
    found = {}
    for (scope, selector), parameters in gin_config._OPERATIVE_CONFIG.items():
        if selector == _MACRO or not _HYPER_PARAMETERS.fullmatch(gin_config._REGISTRY.get_match(selector).wrapped.__module__):
            continue
        for name, value in parameters.items():
            if isinstance(value, gin_config.ConfigurableReference) and value.config_key[1] == _MACRO:
                value = gin_config._CONFIG[value.config_key[0], _MACRO]["value"]
            key = ".".join([*([scope] if scope else []), *selector.split(".")[-1:], name])
            if _NO_HYPER_PARAMETERS.match(key) or next(gin_config.iterate_references(value), None) is not None:
                continue
            if isinstance(value, bool | int | float | str):
                found[key] = value
            elif isinstance(value, list | tuple | dict):
                found[key] = repr(value)
    return found


def differences(before: str, after: str) -> list[str]:
    """Returns a sentence for each setting that differs between two configurations, as `resolved` returns them."""
    old, new = _settings(before), _settings(after)
    names = [*old, *(name for name in new if name not in old)]
    return [
        f"{name} was {old.get(name, 'not set')} and is {new.get(name, 'not set')}"
        for name in names
        if old.get(name) != new.get(name)
    ]


def _settings(text: str) -> dict[str, str]:
    """Returns setting -> value of a configuration, whose values may go on in indented lines."""
    found = re.findall(r"^([\w./]+) =((?:.*\\?\n?)(?:[ \t]+.*\n?)*)", text, re.MULTILINE)
    return {name: " ".join(value.replace("\\\n", "\n").split()) for name, value in found}


def resolved() -> str:
    """Returns the whole configuration as text. Parsing the text gives the same configuration; runs save it."""
    return "".join(f"{_MODULES_BESIDE}{folder}\n" for folder in sorted(_beside)) + gin.config_str()

"""The quickstart's data: docstrings of the running Python's standard library, labelled with the topic of their module.

A real labelled text set that every machine has: eight topics, some 5,800 texts on Python 3.11 (other versions differ a
little), read from source with `ast`; nothing is imported or run. The counts and the split are the same on every run.

A docstring would be easy to place by its names, so these are taken out of every text, whatever its topic (a word taken
out of some topics only would tell by its absence): top-level module names; the products that some modules are named
after; whatever is written like code (`snake_case`, `CamelCase`, `a.b`, `call(`); doctest input; and the names defined
in its own file, with the parts of that file's module path. What is left is prose, of at least six words.

Near-identical texts (a method and its module-level twin) would stand on both sides of the split, so a text is kept only
if most of its runs of four words are new. Only its first 48 words count there: the quickstart reads 48 tokens.
"""

from __future__ import annotations

import ast
import re
import sys
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from datasets import Dataset

from bitbert.errors import DataError
from bitbert.training.data import TaskData, stratified
from bitbert.training.tasks import Task

# Chosen so that no topic holds more than a quarter of the texts; modules that only some versions have stand beside the
# rest.
TOPICS = {
    "concurrency": "_threading_local asynchat asyncio asyncore concurrent contextvars multiprocessing queue"
    " sched selectors signal subprocess threading",
    "files": "_compression _pyio bz2 compression filecmp fileinput fnmatch genericpath glob gzip io"
    " linecache lzma mimetypes ntpath nturl2path os pathlib posixpath shutil stat tarfile"
    " tempfile zipapp zipfile",
    "gui": "curses idlelib tkinter turtle turtledemo",
    "internet": "cgi cgitb email ftplib html http imaplib ipaddress mailbox mailcap netrc nntplib poplib"
    " quopri smtpd smtplib socket socketserver ssl telnetlib urllib webbrowser wsgiref xmlrpc",
    "language": "__future__ _aix_support _collections_abc _osx_support _py_abc abc annotationlib ast code"
    " codeop collections compileall contextlib copy ctypes dataclasses dis distutils ensurepip"
    " enum functools graphlib imp importlib inspect lib2to3 modulefinder opcode operator"
    " pkgutil platform py_compile pyclbr runpy site symtable sysconfig tokenize types typing"
    " venv weakref zipimport",
    "numbers": "_pydatetime _pydecimal _strptime bisect calendar colorsys datetime decimal fractions"
    " hashlib heapq hmac numbers random secrets statistics uuid zoneinfo",
    "testing": "bdb cProfile cmd doctest logging pdb profile profiling pstats pydoc rlcompleter timeit"
    " trace traceback tracemalloc unittest warnings",
    "text": "_pyrepl argparse base64 codecs configparser csv dbm difflib encodings gettext json"
    " locale optparse pickle pickletools plistlib pprint re reprlib shelve shlex string"
    " stringprep textwrap tomllib xdrlib xml",
}

MIN_WORDS = 6
SEEN_WORDS = 48
RUN = 4
MIN_TOPIC = 40  # texts; systems that package tkinter apart have hardly any of "gui", which is then left out
MIN_TEXTS = 1000

_MODULE_NAMES = frozenset(name.strip("_").lower() for name in sys.stdlib_module_names)
_PRODUCTS = frozenset(("idle", "tcl", "tix", "tk", "wsgi"))
_CODE = re.compile(r"[A-Za-z_]*(?:[a-z][A-Z]|[A-Z]{2}[a-z]{2})\w*|\w*_\w*|[A-Za-z]\w*(?:\.\w+)+|\w+(?=\()")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9]*")
_DOCTEST = re.compile(r"^\s*(?:>>>|\.\.\. ).*$", re.MULTILINE)
_TEST_FOLDERS = {"test", "tests", "idle_test"}


def load_docstrings(held_out: float = 0.2, seed: int = 0) -> TaskData:
    """The texts as splits `train` and `validation` (`held_out` of every topic) with columns `text` and `label`.

    Raises `DataError` where the standard library has no readable sources.
    """
    root = Path(sysconfig.get_path("stdlib"))
    rows = collect(root)
    sizes = Counter(topic for _, topic in rows)
    topics = tuple(topic for topic in TOPICS if sizes[topic] >= MIN_TOPIC)
    rows = [(text, topic) for text, topic in rows if topic in topics]
    if len(rows) < MIN_TEXTS:
        raise DataError(
            f"{root}: {len(rows)} usable docstrings, expected {MIN_TEXTS} or more; this Python comes without the source"
            " of its library, so use another one or give --task"
        )
    texts, labels = [text for text, _ in rows], np.array([topics.index(topic) for _, topic in rows])
    mask = stratified(labels, held_out, seed)
    everything = Dataset.from_dict({"text": texts, "label": labels.tolist()})
    parts = {"train": everything.select(np.flatnonzero(~mask)), "validation": everything.select(np.flatnonzero(mask))}
    return TaskData(Task("docstrings", "classification", ("text",), label_names=topics), parts)


def collect(root: Path) -> list[tuple[str, str]]:
    """(text, topic) of each docstring kept from the library under `root`, in order of module, file and place."""
    seen: set[tuple[str, ...]] = set()
    kept = []
    for file, topic in _files(root):
        for text in _prose(file, root):
            runs = _runs(text)
            if len(runs - seen) * 2 > len(runs):
                kept.append((text, topic))
            seen |= runs
    return kept


def _files(root: Path) -> Iterator[tuple[Path, str]]:
    topic_of = {module: topic for topic, modules in TOPICS.items() for module in modules.split()}
    for module in sorted(topic_of):
        for file in sorted([*root.glob(f"{module}.py"), *root.glob(f"{module}/**/*.py")]):
            if not _TEST_FOLDERS & set(file.relative_to(root).parts):
                yield file, topic_of[module]


def _prose(file: Path, root: Path) -> Iterator[str]:
    """What is left of each docstring in `file` once names are taken out, where that is long enough."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # old string escapes are the library's own affair
        tree = ast.parse(file.read_bytes())
    defined = list(_definitions(tree))
    own = {node.name.lower() for node in defined} | set(file.relative_to(root).with_suffix("").parts)
    names = own | _MODULE_NAMES | _PRODUCTS
    for node in (tree, *defined):
        text = _without_names(ast.get_docstring(node) or "", names)
        if len(_words(text)) >= MIN_WORDS:
            yield text


def _definitions(node: ast.AST) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
        if isinstance(child, ast.stmt | ast.excepthandler):
            yield from _definitions(child)


def _without_names(text: str, names: set[str]) -> str:
    text = _CODE.sub(" ", _DOCTEST.sub("", text))
    text = _WORD.sub(lambda word: " " if word[0].lower() in names else word[0], text)
    return " ".join(text.replace("`", " ").replace("()", " ").split())


def _words(text: str) -> list[str]:
    return re.findall("[a-z]+", text.lower())


def _runs(text: str) -> set[tuple[str, ...]]:
    words = _words(text)[:SEEN_WORDS]
    return {tuple(words[i : i + RUN]) for i in range(len(words) - RUN + 1)}

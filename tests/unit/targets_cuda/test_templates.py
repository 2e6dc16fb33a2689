"""Templates and their arguments fit: one variable, no unknown and no unused field, short."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_type_hints

import jinja2
import jinja2.meta
import pytest

from bnncc._resources import resource_dir
from bnncc.targets.cuda import args, wgmma_args

TEMPLATES = resource_dir("templates")
CLASSES = [
    item
    for item in {**vars(args), **vars(wgmma_args)}.values()
    if isinstance(item, type) and "template" in vars(item) and is_dataclass(item)
]
LOADER = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES))
FILES = sorted((TEMPLATES / "cuda").rglob("*.j2"))


def text_of(template):
    """Return the text of a template with its parts in place."""
    text = (TEMPLATES / template).read_text()
    return re.sub(r'{% include "([^"]+)" %}', lambda match: text_of(match[1]), text)


def used_names(text, owner="k"):
    return set(re.findall(rf"(?<![\w.]){re.escape(owner)}\.(\w+)", text))


def members(kind):
    properties = {
        name for base in kind.__mro__ for name, item in vars(base).items() if isinstance(item, property)
    }
    return {item.name for item in fields(kind)}, properties


def test_every_template_has_one_class():
    tops = {path.relative_to(TEMPLATES).as_posix() for path in FILES if path.parent.name == "cuda"}
    assert sorted(tops) == sorted(kind.template for kind in CLASSES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_template_is_short_and_sees_only_k(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 120
    assert jinja2.meta.find_undeclared_variables(LOADER.parse(text)) <= {"k"}
    assert not re.search(r"{%-?\s*(set|macro|extends|block|import)", text)
    assert not re.search(r"{{[^}]*[-+*/%|(][^}]*}}", text.replace("{{-", "{{").replace("-}}", "}}"))


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_fields_and_template_fit(kind):
    text = text_of(kind.template)
    stored, computed = members(kind)
    used = used_names(text)
    assert used <= stored | computed
    for name in stored & used:
        nested = get_type_hints(kind)[name]
        if is_dataclass(nested):
            inner, properties = members(nested)
            assert used_names(text, f"k.{name}") <= inner | properties
    # A field may serve a property instead of the template.
    source = Path(args.__file__).read_text()
    unused = {name for name in stored - used if f"self.{name}" not in source}
    assert unused == set()

"""HTML pages out of Jinja2 templates. Pure: no TensorFlow."""

import os
import re
from typing import Any

_NO_CHARACTERS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")  # that HTML may not have


def rendered(template: str, **values: Any) -> str:
    """The page that the template, a file's path, makes of the values. Text in them is escaped."""
    import jinja2  # not for --help

    folder, name = os.path.split(template)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return _NO_CHARACTERS.sub("\ufffd", environment.get_template(name).render(values))

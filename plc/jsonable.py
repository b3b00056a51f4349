"""Results as JSON, for other programs."""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def to_json(result: Any) -> str:
    """Return ``result`` as JSON: dataclasses as objects, paths as text, NaN and infinity as null.

    (Python writes ``NaN`` for those otherwise, which is not JSON.)
    """
    return json.dumps(plain(result), indent=2, allow_nan=False)


def plain(value: Any) -> Any:
    """Return ``value`` in types that JSON knows, as :func:`to_json` writes them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if hasattr(value, "as_dict"):  # a histogram
        value = value.as_dict()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "item"):  # a number of numpy's
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value

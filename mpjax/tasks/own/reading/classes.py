"""Names of classes that a data set declares, where its files hold their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def named_classes(columns: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Class names by column, of the features of a hub data set in their JSON form.

    >>> named_classes({"label": {"names": ["no", "yes"], "_type": "ClassLabel"}, "text": {}})
    {'label': ('no', 'yes')}
    """
    found = {}
    for name, feature in columns.items():
        inner = feature.get("feature", feature) if isinstance(feature, dict) else feature
        if isinstance(inner, list) and len(inner) == 1:  # the older form of a list
            inner = inner[0]
        if isinstance(inner, dict) and inner.get("_type") == "ClassLabel" and "names" in inner:
            found[name] = tuple(map(str, inner["names"]))
    return found

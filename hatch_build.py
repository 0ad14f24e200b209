"""Put the Vega libraries together for the panel's front end, which needs no network then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import vl_convert
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_TARGET = "aggrkit/panel/front/vega.js"


class VegaBundle(BuildHookInterface):
    """Write the bundle before anything is built, editable installations included."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the file, as a module that leaks no name, and let the wheel have it."""
        bundle = vl_convert.javascript_bundle("globalThis.__aggrkit_embed = vegaEmbed;")
        own = "const vegaEmbed = globalThis.__aggrkit_embed; delete globalThis.__aggrkit_embed;"
        text = f"(() => {{\n{bundle}\n}})();\n{own}\n".replace("</script", "<\\/script")
        (Path(self.root) / _TARGET).write_text(text, encoding="utf-8")
        build_data["artifacts"].append(_TARGET)

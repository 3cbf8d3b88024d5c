"""Sections, samples and provenance as one HTML file: no network, everything escaped.

The page's content security policy forbids all network, so that even a link that slipped through
could load nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.resources import files

import jinja2
import vl_convert
from altair import SCHEMA_VERSION
from markupsafe import Markup

from lrm.analysis.variant import Variant
from lrm.report.figure import Section
from lrm.report.samples import SAMPLING, Sample
from lrm.report.theme import DARK, LIGHT
from lrm.report.tidy_files import tidy_files

PAGE = "report.html"


@dataclass(frozen=True)
class Report:
    """A page and the files beside it.

    `introduction` has its first paragraphs; `warnings` say what is unfinished or not comparable;
    `provenance` has facts by heading.
    """

    title: str
    variants: Sequence[Variant]
    introduction: Sequence[str]
    warnings: Sequence[str]
    sections: Sequence[Section]
    samples: Sequence[Sample]
    provenance: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    @cached_property
    def html(self) -> str:
        """The page, whole."""
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
        return environment.from_string(_resource("page.html")).render(
            title=self.title,
            introduction=self.introduction,
            warnings=self.warnings,
            sections=self.sections,
            samples=self.samples,
            sampling=SAMPLING,
            filters={
                name: list(dict.fromkeys(getattr(sample, name) for sample in self.samples))
                for name in ("outcome", "benchmark", "variant")
            },
            provenance=self.provenance,
            themes={"light": LIGHT, "dark": DARK},
            style=Markup(_resource("page.css")),
            library=Markup(_library()),
            script=Markup(_resource("page.js")),
        )

    @cached_property
    def files(self) -> dict[str, bytes]:
        """The page, the figures as PNG and the numbers as tidy tables, by path."""
        drawn = {item.name: item.figure for item in self.sections if item.figure}
        return {
            PAGE: self.html.encode(),
            **{f"figures/{name}.png": figure.png() for name, figure in drawn.items()},
            **tidy_files(self.variants),
        }


def _resource(name: str) -> str:
    return files("lrm.report").joinpath(name).read_text(encoding="utf-8")


@cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed, whose bundle comes with vl-convert."""
    version = ".".join(SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    return vl_convert.javascript_bundle(vl_version=version)  # type: ignore[call-arg]

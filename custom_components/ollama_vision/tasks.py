"""The ready prompts that `task` names."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from .structure import Structure, structure

# Small print needs more of the picture than a scene does; pixels of the longest edge.
FINE_DETAIL_EDGE: Final = 1536

DEFAULT_PROMPT: Final = (
    "Describe clearly what you see: any people, their approximate ages and expressions, what they wear and do, "
    "and what is on the porch."
)
DEFAULT_TEXT_PROMPT: Final = (
    "Introduce the visitor described here in one or two short, cheeky sentences: "
    "<description>{description}</description>"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A ready prompt; `fields` in the form of an action's `structure`, `plain` names the field that reads alone."""

    prompt: str
    fine_detail: bool = False
    structure: Structure | None = None
    plain: str | None = None


def _field(description: str, kind: Mapping[str, Any], *, required: bool = True) -> dict[str, Any]:
    return {"description": description, "required": required, "selector": dict(kind)}


_TEXT: Final[Mapping[str, Any]] = {"text": {}}
_COUNT: Final[Mapping[str, Any]] = {"number": {"min": 0, "mode": "box"}}

TASKS: Final[Mapping[str, Task]] = MappingProxyType(
    {
        "brief": Task(prompt="Say in one short sentence what is in this picture."),
        "detailed": Task(
            prompt=(
                "Describe this picture in detail: the place, the people and what they wear and do, animals, vehicles, "
                "objects and where they are, the light and the weather."
            )
        ),
        "technical": Task(
            prompt=(
                "Assess this picture technically: sharpness, exposure, noise, colour, point of view, and anything that "
                "hides part of the view or makes the picture hard to use."
            )
        ),
        "ocr": Task(
            prompt="Read all text in this picture, line by line, exactly as it is written. Leave nothing out.",
            fine_detail=True,
            structure=structure({"text": _field("All text in the picture, with its line breaks", _TEXT)}),
            plain="text",
        ),
        "license_plate": Task(
            prompt="Read the licence plate of each vehicle in this picture. Answer with no plate if none is legible.",
            fine_detail=True,
            structure=structure(
                {
                    "plates": _field(
                        "The legible licence plates",
                        {
                            "object": {
                                "multiple": True,
                                "fields": {
                                    "plate": {"selector": _TEXT, "required": True},
                                    "vehicle": {"selector": _TEXT},
                                },
                            }
                        },
                    )
                }
            ),
        ),
        "count": Task(
            prompt="Count the people, the animals and the vehicles in this picture.",
            structure=structure(
                {
                    "people": _field("How many people", _COUNT),
                    "animals": _field("How many animals", _COUNT),
                    "vehicles": _field("How many vehicles", _COUNT),
                }
            ),
        ),
        "objects": Task(
            prompt="List what is in this picture, and how many of each.",
            structure=structure(
                {
                    "objects": _field(
                        "What is seen",
                        {
                            "object": {
                                "multiple": True,
                                "fields": {
                                    "name": {"selector": _TEXT, "required": True},
                                    "count": {"selector": _COUNT, "required": True},
                                },
                            }
                        },
                    )
                }
            ),
        ),
        "compare": Task(prompt="Compare these pictures: say what is the same and what changes from one to the next."),
        "chart": Task(
            prompt="Explain this chart: what it shows, its axes and units, its highest and lowest values, its trend.",
            fine_detail=True,
        ),
        "code": Task(
            prompt="Write down the program code in this picture exactly as it is, with its indentation.",
            fine_detail=True,
        ),
    }
)

"""Where the sections of an answer begin, under the headings that models give them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadscribe.answers.sections import cut_into_sections
from roadscribe.answers.vocabulary import vocabulary


def bodies(answer: str) -> dict[str, str]:
    return {
        section.kind or section.title: answer[section.start : section.end].strip()
        for section in cut_into_sections(answer)
        if answer[section.start : section.end].strip()
    }


@given(st.text())
def test_the_sections_of_any_text_follow_each_other(text: str) -> None:
    at = 0
    for section in cut_into_sections(text):
        assert at <= section.start <= section.end <= len(text)
        at = section.end
    assert at == len(text)


@pytest.mark.parametrize(
    "form",
    [
        "**{}:**\n{}",
        "**{}**:\n{}",
        "**{}**\n{}",
        "### {}\n{}",
        "## **{}:**\n{}",
        "# {} #\n{}",
        "__{}__\n{}",
        "{}:\n{}",
        "{}\n{}",
        "{}: {}",
        "**{}:** {}",
        "**{}** - {}",
        "- **{}:** {}",
        "> ### {}\n{}",
        "🚗 **{}:**\n{}",
        "  **{}:**\n{}",
    ],
)
def test_headings_of_every_form(form: str) -> None:
    answer = "\n\n".join(
        form.format(title, body)
        for title, body in (
            ("Scene Description", "A."),
            ("Driving Parameters (JSON)", "B."),
            ("RISK ASSESSMENT", "C."),
        )
    )
    assert bodies(answer) == {"scene": "A.", "parameters": "B.", "risk": "C."}


@pytest.mark.parametrize(
    "form", ["{}. {}:", "### {}. {}", "**{}. {}:**", "{}) **{}**", "### Step {}: {}", "({}) {}:"]
)
def test_numbered_headings(form: str) -> None:
    titles = ("Scene Description", "Driving Parameters", "Risk Assessment")
    answer = "\n".join(
        f"{form.format(number, title)}\nbody {number}" for number, title in enumerate(titles, 1)
    )
    assert bodies(answer) == {"scene": "body 1", "parameters": "body 2", "risk": "body 3"}


@pytest.mark.parametrize("kind", ["scene", "parameters", "risk"])
def test_every_name_of_a_section_is_known(kind: str) -> None:
    sections = vocabulary()["sections"]
    for name in sections["names"][kind]:
        assert bodies(f"{name.title()}: body") == {kind: "body"}, name
    for name in [*sections["names"][kind], *sections["short_names"][kind]]:
        assert bodies(f"## {name.title()}\nbody") == {kind: "body"}, name


@pytest.mark.parametrize(
    "line",
    [
        "The scene description follows the road.",
        "Scene description follows below in detail",
        "Risk assessment of the scene is hard.",
        "- Risk: low",
        "- **Risk Factor:** low",
        "1. **Risk:** low",
        '"risk_assessment": ["x"],',
        "| Risk Assessment | x |",
        "Parameters vary.",
    ],
)
def test_lines_that_are_no_headings(line: str) -> None:
    answer = f"**Scene Description:**\nA.\n{line}\nB."
    assert bodies(answer) == {"scene": f"A.\n{line}\nB."}


@pytest.mark.parametrize(
    "heading",
    [
        "**Conclusion:**",
        "**Actionable Observations for ADAS System:**",
        "### Summary",
        "Recommendations:",
        "## Weather",
    ],
)
def test_another_section_ends_the_risk_assessment(heading: str) -> None:
    answer = f"## Scene Description\nA.\n## Risk Assessment\n- B.\n{heading}\nC."
    title = heading.strip("#*: ")
    assert bodies(answer) == {"scene": "A.", "risk": "- B.", title: "C."}


@pytest.mark.parametrize("heading", ["**Nearby Vehicles:**", "### Nearby Vehicles", "Nearby Vehicles:"])
def test_a_subheading_stays_in_its_section(heading: str) -> None:
    answer = f"## Risk Assessment\n{heading}\n- B."
    assert bodies(answer) == {"risk": f"{heading}\n- B."}


def test_a_fence_hides_keys_but_not_a_heading_that_ends_it() -> None:
    answer = "**Driving Parameters:**\n```yaml\nrisk assessment: x\n**Risk Assessment:**\n- y"
    assert bodies(answer) == {"parameters": "```yaml\nrisk assessment: x", "risk": "- y"}


def test_an_answer_that_stands_in_a_fence_as_a_whole_is_cut_all_the_same() -> None:
    answer = "```yaml\nscene_description: A.\ndriving_parameters:\n  weather: clear\nrisk_assessment: C.\n```"
    assert bodies(answer)["scene"] == "A." and bodies(answer)["parameters"] == "weather: clear"

"""The last complete answer of a teacher's text counts; reasoning is told by structure, not by a list of tags."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadscribe.answers.clean_text import clean_free_text, clean_question
from roadscribe.answers.markers import stray_markers
from roadscribe.control_tokens import find_control_tokens
from roadscribe.report_text import parse_answer

VALUES: dict[str, Any] = {
    "road_type": "urban",
    "lane_count": 3,
    "ego_lane_position": "right",
    "traffic_light_state": "red",
    "pedestrian_on_road": False,
    "closest_vehicle_distance": 12,
    "ego_vehicle_speed": 30,
    "road_curvature": "straight",
    "weather": "clear",
    "visibility": "good",
    "traffic_density": "low",
    "risk_factor": "low",
}


def block(**changes: Any) -> str:
    return f"```json\n{json.dumps({**VALUES, **changes}, indent=1)}\n```"


def report(scene: str, point: str, parameters: str) -> str:
    return (
        f"**Scene Description:**\n{scene}\n\n**Driving Parameters (JSON):**\n{parameters}\n\n"
        f"**Risk Assessment:**\n- {point}\n- The road is wet."
    )


FINAL = report("A busy street with two cars.", "A car may brake.", block())
DRAFT = report("A zebra is seen in the fog.", "Zebras cross.", block(risk_factor="high", weather="foggy"))
HALF = DRAFT[:120]
NOTE = "So the risk seems high, zebra ahead."

AROUND = {
    "THINK in brackets": "[THINK]{draft}[/THINK]{final}",
    "a bracket pair of a made-up name": "[MULLING]{draft}[/MULLING]\n\n{final}",
    "think tags": "<think>\n{draft}\n</think>\n\n{final}",
    "tags of a made-up name": "<mulling>{draft}</mulling>\n{final}",
    "tags with attributes": '<pondering mode="long">{draft}</pondering>\n{final}',
    "a closing tag of another spelling": "<Thought>{draft}</thinking>{final}",
    "triangles": "◁think▷{draft}◁/think▷{final}",
    "piped tags": "<|mulling|>{draft}<|/mulling|>{final}",
    "full-width pipes": "<｜mulling｜>{draft}<｜/mulling｜>{final}",
    "begin and end in the name": "<|begin_of_thought|>{draft}<|end_of_thought|>{final}",
    "start and end in capitals": (
        "<|START_THINKING|>{draft}<|END_THINKING|><|START_RESPONSE|>{final}<|END_RESPONSE|>"
    ),
    "BEGIN and END in brackets": "[BEGIN REASONING]\n{draft}\n[END REASONING]\n{final}",
    "a name with a prefix": "<seed:think>{draft}</seed:think>{final}",
    "half-piped channels": "<|channel>thought\n{draft}<channel|>{final}",
    "channels": (
        "<|channel|>analysis<|message|>{draft}<|end|><|start|>assistant<|channel|>final<|message|>{final}<|return|>"
    ),
    "channels that lost their tokens": "analysis{draft}assistantfinal{final}",
    "a channel to a tool between": (
        "<|channel|>analysis<|message|>{draft}<|end|><|start|>assistant<|channel|>commentary to=functions.x "
        "<|constrain|>json<|message|>{{}}<|call|><|start|>assistant<|channel|>final<|message|>{final}"
    ),
    "unused tokens": "<unused94>thought\n{draft}<unused95>{final}",
    "a line before and after": "Thinking...\n{draft}\n...done thinking.\n\n{final}",
    "a fence": "```thinking\n{draft}\n```\n{final}",
    "tildes": "~~~reasoning\nzebra\n~~~\n{final}",
    "an end without a beginning": "{draft}\n</think>\n\n{final}",
    "a bracket's end without a beginning": "{draft}[/THINK]\n{final}",
    "headings": "## Thinking\n{draft}\n\n## Final answer\n{final}",
    "bold labels": "**Thinking:** {draft}\n\n**Final Answer:**\n{final}",
    "lines of signs": "=== THINKING ===\n{draft}\n=== ANSWER ===\n{final}",
    "a details element": '<details type="reasoning"><summary>Thought</summary>{draft}</details>\n{final}',
    "a comment": "<!-- {draft} -->\n{final}",
    "Chinese brackets": "【思考】{draft}【/思考】{final}",
    "curly braces": "{{{{think}}}}{draft}{{{{/think}}}}{final}",
    "LaTeX": "\\begin{{thinking}}{draft}\\end{{thinking}}{final}",
    "answer tags": "<think>{draft}</think><answer>{final}</answer>",
    "two made-up pairs": "<step_one>{draft}</step_one><step_two>{final}</step_two>",
    "draft and final": "<draft>{draft}</draft>\n<final>{final}</final>",
    "nested": "<outer><think>{draft}</think><answer>{final}</answer></outer>",
    "a box": "<think>{draft}</think>\n<|begin_of_box|>{final}<|end_of_box|>",
    "two reasonings": "<think>{draft}</think>Sure.<think>{draft}</think>{final}",
    "the prompt's echo": "<|im_start|>user\n{draft}<|im_end|>\n<|im_start|>assistant\n{final}<|im_end|>",
    "the echo without tokens": "user\n{draft}\nassistant\n{final}",
    "a turn of the user behind": (
        "{final}<|im_end|>\n<|im_start|>user\nAnd now?<|im_end|>\n<|im_start|>assistant\n{draft}"
    ),
    "Llama's turns": "<|start_header_id|>assistant<|end_header_id|>\n\n{final}<|eot_id|>",
    "Gemma's turns": "<start_of_turn>model\n{final}<end_of_turn>",
    "instructions": "[INST] {draft} [/INST] {final}</s>",
    "nothing but a correction": "{draft}\n\nWait, that is wrong. Corrected:\n\n{final}",
    "a resolution to do it again": "{draft}\n\nLet me redo this carefully.\n\n{final}",
    "two reports in a row": "{draft}\n\n{final}",
    "half a report and a whole one": "{half}\n\n{final}",
    "a token between": "{draft}<|endoftext|>{final}",
    "words that are no report": "[THINK]{note}[/THINK]{final}",
    "a heading with words": "## Thinking\n{note}\n\n{final}",
    "a JSON object in the reasoning": '<think>{{"risk_factor": "high"}} zebra</think>{final}',
}


def filled(form: str) -> str:
    return form.format(draft=DRAFT, final=FINAL, half=HALF, note=NOTE)


@pytest.mark.parametrize("form", AROUND)
def test_the_last_complete_report_counts_and_no_word_of_the_draft(form: str) -> None:
    parsed = parse_answer(filled(AROUND[form]))
    found = parsed.report()
    assert found is not None and not parsed.problem
    assert found.driving_parameters.model_dump() == VALUES
    assert found.scene_description == "A busy street with two cars."
    assert found.risk_assessment == ("A car may brake.", "The road is wet.")
    assert parsed.findings, "what was left out has a finding"


ANSWER = "The light is red."


REPORTS_ALONE = {
    "two reports in a row",
    "half a report and a whole one",
    "a resolution to do it again",
    "a token between",
    "a heading with words",
}
"""Without sections two answers in a row are one text; see below for those that are kept out."""


@pytest.mark.parametrize("form", [form for form in AROUND if form not in REPORTS_ALONE])
def test_the_same_structures_around_the_answer_to_a_question(form: str) -> None:
    text = AROUND[form].format(draft="Is it green? A zebra.", final=ANSWER, half="", note="A zebra.")
    cleaned = clean_free_text(text)
    assert (cleaned.text, cleaned.problem) == (ANSWER, "")
    assert cleaned.findings


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<think>The light", "inside its reasoning"),
        ("[THINK]The light is green.", "inside its reasoning"),
        ("◁think▷The light", "inside its reasoning"),
        ("Thinking...\nThe light", "inside its reasoning"),
        ("```thinking\nThe light", "inside its reasoning"),
        ("<|channel|>analysis<|message|>The light", "inside its reasoning"),
        ("Yes.\n<think>Or is it", "inside its reasoning"),
        ("<think>The light is red.</think>", "before any answer"),
        ("## Thinking\nThe light", "does not say where it ends"),
        ("Final answer:", "no answer"),
        ('<tool_call>{"name": "zoom"}</tool_call>', "asks for a tool"),
        ('[TOOL_CALLS][{"name": "zoom"}]', "asks for a tool"),
        ("The <thing>light</thing> is red.", "not understood: <thing>"),
        ("The light <unknown> is red.", "not understood: <unknown>"),
        ("The light [/X] is red.", "not understood: [/X]"),
        ("The light is red.<|im_end|> The sky is blue.", "behind the end of its turn"),
        ("The light <|sep|> is red.", "not understood: <|sep|>"),
        ("The light is <|im_", "not understood: <|"),
        ("<|image_pad|><|vision_end|>", "no answer"),
        ("The light is green. Wait, that is wrong.", "takes back its answer"),
        ("The light is green. Hmm, actually it is red.", "in the middle of a sentence"),
    ],
)
def test_a_text_without_a_clear_answer_says_why(text: str, says: str) -> None:
    assert says in clean_free_text(text).problem


@pytest.mark.parametrize("end", ["<think>\n", "[THINK]", "Thinking...\n", "```thinking\n", "◁think▷"])
def test_a_report_cut_off_inside_its_reasoning_is_no_report(end: str) -> None:
    parsed = parse_answer(end + DRAFT)
    assert parsed.report() is None and "reasoning" in parsed.problem


@pytest.mark.parametrize(
    "text",
    [
        "[Note] The car is <5 m away.",
        "The car is <5 m> away and < 20 km/h > slow.",
        "A [partially visible] sign, see [the map](https://a.b/c).",
        "A [STOP] sign [1] and [left/right] arrows.",
        "The speed $v < 30$ and $\\frac{1}{2} > x$, \\begin{equation}v\\end{equation}.",
        "if a < b and c > d: stop",
        "<c1,CAM_FRONT,1088.3,497.5> is moving.",
        "Wait for the pedestrian, then go.",
        "Wait, the light is red, so stop there.",
        "No, there are no pedestrians.",
        "Hold on to the right lane.",
        "I think the light is red.",
        "The driver is thinking: the light is red.",
        "3",
        "Yes",
        "**Bold** and `code` and _this_.",
        "- One.\n- Two.\n\n1. Three.",
        "The final answer of the driver: go.",
        "The reasoning: the light is red.",
        "«Stop» is written on 【出口】.",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    cleaned = clean_free_text(text)
    assert (cleaned.text, cleaned.findings, cleaned.problem) == (text, (), "")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<|im_start|>assistant\nYes.<|im_end|>\n<|endoftext|>", "Yes."),
        ("A stop <|image_pad|> sign.", "A stop sign."),
        ("<|vision_start|><|image_pad|><|vision_end|>A bus.", "A bus."),
        (
            "<|object_ref_start|>A bus<|object_ref_end|><|box_start|>(1,2),(3,4)<|box_end|> waits.",
            "A bus waits.",
        ),
        ("<image>\nA bus.", "A bus."),
        ("Okay. <answer>A bus.</answer> I hope this helps.", "A bus."),
        ("<answer>A bus.", "A bus."),
        ("A bus.</answer>", "A bus."),
        ("Answer: A bus.", "A bus."),
        ("A bus.\n<think>Done.</think>", "A bus."),
        ('{"reasoning": "It is long.", "answer": "A bus."}', "A bus."),
        ('```json\n{"thought": "x", "final_answer": "A bus."}\n```', "A bus."),
        ("<p>A bus.</p>", "A bus."),
        ("It is a car. Scratch that. It is a bus.", "It is a bus."),
        ("<foo>A bus.</foo>", "A bus."),
    ],
)
def test_wrappers_are_taken_off(text: str, answer: str) -> None:
    cleaned = clean_free_text(text)
    assert (cleaned.text, cleaned.problem) == (answer, "")


def test_two_blocks_that_disagree_are_named_with_both_values() -> None:
    parsed = parse_answer(report("A busy street.", "A car.", f"{block(weather='foggy')}\n{block()}"))
    (finding,) = [f for f in parsed.findings if f.rule == "form.repeated"]
    assert (finding.before, finding.after) == ({"weather": "foggy"}, {"weather": "clear"})
    assert parsed.parameters["weather"] == "clear"


@pytest.mark.parametrize("later", [block(), '{"risk_factor": "low", "weather": "clear"}'])
def test_a_correction_behind_the_report_changes_its_values(later: str) -> None:
    text = report("A busy street.", "A car.", block(risk_factor="high", weather="foggy"))
    parsed = parse_answer(f"{text}\n\nWait, that is wrong. Corrected:\n{later}")
    assert parsed.parameters == VALUES and parsed.risk_assessment == ("A car.", "The road is wet.")
    (finding,) = [f for f in parsed.findings if f.rule == "form.repeated"]
    assert finding.before == {"weather": "foggy", "risk_factor": "high"} == {**finding.before}
    assert finding.after == {"weather": "clear", "risk_factor": "low"}


def test_a_smaller_block_behind_the_report_without_a_word_of_correction_changes_nothing() -> None:
    parsed = parse_answer(
        f'{FINAL}\n\nSeen before: {{"risk_factor": "high", "weather": "foggy", "lane_count": 3}}'
    )
    assert parsed.parameters == VALUES
    (finding,) = [f for f in parsed.findings if f.rule == "form.repeated"]
    assert finding.after == {"weather": "foggy", "risk_factor": "high"}


def test_the_draft_of_a_report_is_named_with_its_values() -> None:
    (finding,) = [f for f in parse_answer(f"{DRAFT}\n\n{FINAL}").findings if f.rule == "form.draft"]
    assert finding.before == {"weather": "foggy", "risk_factor": "high"}
    assert finding.after == {"weather": "clear", "risk_factor": "low"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"{DRAFT}\n\n{FINAL[:60]}", "a later report in the text is not complete"),
        (f"{DRAFT}\n<think>No, the fog {FINAL[:60]}", "inside its reasoning"),
        (f"{DRAFT}<|sep|>{FINAL[:60]}", "not understood: <|sep|>"),
        (f"{DRAFT}<|sep|>{FINAL}", "not understood: <|sep|>"),
        (f"<mulling>{DRAFT}", "not understood: <mulling>"),
        (f"{DRAFT}</mulling>\n{FINAL}", "not understood: </mulling>"),
        (f"<mulling>{DRAFT}</mulling>\nI hope this helps.", "around a whole report"),
        (FINAL.replace("busy", "<what> busy"), "not understood: <what>"),
        (FINAL.replace("two cars", "two <it>cars</it>"), "not understood: <it>"),
        (f"A long street lies before the car, it is empty. {block(weather='foggy')}\nNo, rather this.\n{block()}\n- x.",
         "two blocks of parameters disagree"),
    ],
)  # fmt: skip
def test_a_report_that_is_not_clear_has_a_problem(text: str, says: str) -> None:
    assert says in parse_answer(text).problem


def test_sections_and_parameters_may_stand_in_tags() -> None:
    inner = "".join(
        f"<{name}>{value}{' m' if 'distance' in name else ' km/h' if 'speed' in name else ''}</{name}>"
        for name, value in VALUES.items()
    )
    text = (
        f"<report><scene>A busy street.</scene><parameters>{inner}</parameters><risk>- A car.</risk></report>"
    )
    parsed = parse_answer(text)
    assert parsed.parameters == VALUES and parsed.report() is not None and not parsed.problem


def test_reasoning_inside_the_json_is_no_parameter() -> None:
    whole = {
        "thinking": {"risk_factor": "high", "weather": "foggy"},
        "scene_description": "A street.",
        "driving_parameters": VALUES,
        "risk_assessment": ["A car."],
    }
    assert parse_answer(json.dumps(whole)).parameters == VALUES


def test_an_answer_that_something_else_ended_loses_its_last_half_sentence() -> None:
    parsed = parse_answer(FINAL + "\n- A cyclist may turn. A bus mi", whole=False)
    assert parsed.risk_assessment[-1] == "A cyclist may turn."
    (finding,) = [f for f in parsed.findings if f.rule == "form.truncated"]
    assert finding.before == "A bus mi"


@pytest.mark.parametrize(
    ("question", "asked"),
    [
        ("What is ahead?", "What is ahead?"),
        ("<image>\nWhat is ahead?", "What is ahead?"),
        ("<|vision_start|><|image_pad|><|vision_end|>What is ahead?<|im_end|>", "What is ahead?"),
        ("What does <c1,CAM_FRONT,1088.3,497.5> do?", "What does <c1,CAM_FRONT,1088.3,497.5> do?"),
    ],
)
def test_a_question_keeps_its_words_and_loses_control_tokens(question: str, asked: str) -> None:
    cleaned = clean_question(question)
    assert (cleaned.text, cleaned.problem) == (asked, "")
    assert bool(cleaned.findings) == (question != asked)


@pytest.mark.parametrize("question", ["<|image_pad|>", "What is <thing>this</thing>?", "A <|im_ question"])
def test_a_question_that_is_not_understood_has_a_problem(question: str) -> None:
    assert clean_question(question).problem


_PIECES = st.sampled_from(
    [
        *(
            "<think>",
            "</think>",
            "[THINK]",
            "[/THINK]",
            "<|im_end|>",
            "<|im_start|>assistant\n",
            "<|im_start|>user\n",
        ),
        *(
            "<|image_pad|>",
            "<|a|>",
            "<|/a|>",
            "<b1>",
            "</b1>",
            "◁x▷",
            "◁/x▷",
            "<answer>",
            "</answer>",
            "<!--",
            "-->",
        ),
        *(
            "<|channel|>analysis<|message|>",
            "<|channel|>final<|message|>",
            "<|end|>",
            "<|channel>thought",
            "<channel|>",
        ),
        *(
            "Thinking...\n",
            "\n...done thinking.\n",
            "```thinking\n",
            "```",
            "\n",
            "## Thinking\n",
            "## Final Answer\n",
        ),
        *(
            "**Answer:** ",
            " Wait, that is wrong. Corrected: ",
            '{"risk_factor": "high"}',
            "<|",
            "|>",
            "<",
            "[INST]",
        ),
        *(
            "<tool_call>",
            "</tool_call>",
            "<b>",
            "</b>",
            "{{x}}",
            "{{/x}}",
            "assistant\n",
            "<scene>",
            "</scene>",
            "\ud800",
        ),
        *(
            FINAL,
            DRAFT,
            HALF,
            FINAL[60:],
            json.dumps(VALUES),
            " The light is red. ",
            "[Note]",
            "<5 m>",
            "<s>",
            "｜",
        ),
    ]
)
_TEXTS = st.lists(_PIECES | st.text(max_size=6), max_size=14).map("".join)


@given(_TEXTS)
@settings(max_examples=150, deadline=None)
def test_whatever_a_teacher_writes_no_live_token_and_no_marker_gets_through(text: str) -> None:
    cleaned, asked, parsed = clean_free_text(text), clean_question(text), parse_answer(text)
    for kept in (cleaned, asked):
        if not kept.problem:
            assert not find_control_tokens(kept.text) and not stray_markers(kept.text)
    changed = "".join(cleaned.text.split()) != "".join(text.split())
    assert (
        cleaned.findings
        or cleaned.problem
        or not changed
        or "<b>" in text
        or "</b>" in text
        or "\ud800" in text
    )
    if (found := parsed.report()) is not None and not parsed.problem:
        prose = " ".join((found.scene_description, *found.risk_assessment))
        assert not set(prose) & set("<>|[]{}◁▷")
        if FINAL in text and text.rfind(FINAL) > text.rfind(DRAFT):
            assert "zebra" not in prose.lower() or text.rfind(HALF) > text.rfind(FINAL)

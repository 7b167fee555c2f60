"""One and the same answer to many clips is a refusal in any language, unless it speaks of what was asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from roadscribe.curate.rules.refusals import declined
from roadscribe.curate.rules.same_answer import SameAnswers, is_long, same_answer

DRIVELM = (Path(__file__).resolve().parents[2] / "../shared/data/drivelm/train_sample.json").resolve()
WET = "Is the road wet or dry?"
AHEAD = "What is ahead?"


def found(answers: Mapping[str, Sequence[str]], clips: int = 20) -> list[str]:
    """The texts that the rule keeps out when each question gets its answers in turn."""
    counts = SameAnswers()
    for number in range(clips):
        for question, said in answers.items():
            counts.add(f"clip-{number}", question, said[number % len(said)])
    return [same.text for same in same_answer.check(counts).values()]


REFUSALS = [
    "Samahani, siwezi kuona picha yoyote katika mazungumzo haya.",
    "Kuvaa ei ole näkyvissä tässä.",
    "ขออภัย ฉันไม่สามารถดูรูปภาพได้",
    "画像が見えませんので、お答えできません。",
    "Nie mogę pomóc w tej sprawie.",
    "It seems nothing was attached, upload it again and I will gladly help.",
    "Internal server error: upstream request timeout",
]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_what_a_teacher_says_to_every_clip_is_found_in_any_language(refusal: str) -> None:
    assert found({AHEAD: [refusal]}) == [refusal]
    assert found({WET: [refusal, refusal, "The road is dry.", "It looks wet."]}) == [refusal]
    assert found({WET: [refusal], AHEAD: [refusal, "A bus.", "A car."], "How fast is it?": [refusal]}) == [
        refusal
    ]


LEGITIMATE = {
    WET: ["The road surface is dry."],
    "Are there pedestrians crossing?": ["No, there are no pedestrians crossing the road right now."],
    "What are safe actions to take for the ego vehicle?": [
        "Keep going at the same speed, decelerate gradually without braking.",
        "Brake gently to a stop.",
    ],
    "What is the ego vehicle doing?": [
        "The ego vehicle is going straight. The ego vehicle is driving slowly."
    ],
    "Why does it stop?": ["Because the traffic light is red."],
    "Why does it slow down?": ["To maintain a safe distance from the vehicle in front."],
    "Is it clear?": ["Yes."],
    "What is the weather?": ["Clear"],
    "How many cars are there?": ["3"],
    "Where does the road go?": ["straight"],
    "Which object is closest?": ["None, no, none."],
    "Ist die Straße nass?": ["Nein, die Straße ist trocken."],
    "¿Está mojada la calzada?": ["No, la calzada está seca."],
    "路面是湿的吗？": ["不，路面是干的，没有积水。"],
    "道路は濡れていますか？": ["いいえ、道路は濡れていません。"],
}


@pytest.mark.parametrize("question", LEGITIMATE)
def test_the_same_honest_answer_to_every_clip_stays(question: str) -> None:
    assert found({question: LEGITIMATE[question]}, clips=60) == []


def test_all_honest_answers_together_stay() -> None:
    assert found(LEGITIMATE, clips=60) == []


def test_a_few_clips_are_no_signal_and_short_answers_are_none() -> None:
    assert found({AHEAD: [REFUSALS[0]]}, clips=4) == []
    assert not is_long("Yes, it is.") and not is_long("はい") and is_long("A bus is there.")


def test_no_real_answer_of_drivelm_is_kept_out() -> None:
    if not DRIVELM.exists():
        pytest.skip("the sample of DriveLM is not here")
    counts = SameAnswers()
    for scene in json.loads(DRIVELM.read_text(encoding="utf-8")).values():
        for token, frame in scene["key_frames"].items():
            for pair in (pair for pairs in frame["QA"].values() for pair in pairs):
                counts.add(token, pair["Q"], pair["A"])
                assert declined(pair["A"], own_question=True) is None
    assert sum(counts.asked.values()) > 700 and same_answer.check(counts) == {}


@pytest.mark.parametrize(
    "text",
    [
        "I don't see any image in our conversation.",
        "No image was provided. Please attach it.",
        "Please upload the video so that I can look at it.",
        "I\u2019m sorry, but I can\u2019t help with that.",
        "Ich sehe leider kein Bild.",
        "Es tut mir leid, dabei kann ich nicht helfen.",
        "Je ne vois aucune image.",
        "Lo siento, no puedo ayudar con eso.",
        "No puedo ver la imagen.",
        "Não consigo ver a imagem.",
        "Non vedo nessuna immagine.",
        "Nie widzę żadnego zdjęcia.",
        "Я не вижу изображения.",
        "Görüntüyü göremiyorum.",
        "抱歉，我无法回答。",
        "我看不到图片。",
        "画像が見えません。",
        "죄송합니다, 도와드릴 수 없습니다.",
        "لا أستطيع رؤية الصورة",
    ],
)
def test_a_refusal_is_known_by_its_words(text: str) -> None:
    assert declined(text, own_question=True)


@pytest.mark.parametrize(
    "text",
    [
        "I don't see any pedestrians in the image.",
        "There is no image on the sign, only text.",
        "I cannot turn because the light is red.",
        "Auf dem Bild kann ich keine Fußgänger sehen.",
        "Je ne vois pas de piétons sur l'image.",
        "No veo peatones en la imagen.",
        "Não vejo pedestres na imagem.",
        "Non vedo pedoni nell'immagine.",
        "Я не вижу пешеходов на фото.",
        "图片中看不到行人。",
        "看不到图片中的行人。",
        "画像には歩行者が見えません。",
        "사진에 보행자가 없습니다.",
        "لا أستطيع رؤية المشاة",
    ],
)
def test_seeing_no_person_is_no_refusal(text: str) -> None:
    assert declined(text, own_question=True) is None

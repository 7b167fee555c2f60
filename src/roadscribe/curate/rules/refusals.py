"""Phrases with which teachers decline, or say that they were shown no picture, in the languages they write.

The rule `refusal` looks for them; the rule `same_answer` finds what no list holds. The phrases speak of the task or
of the pictures: a driver who "cannot turn" and a street on which no person can be seen are no refusals.
"""

from __future__ import annotations

import re

from roadscribe.report import PARAMETERS

LOOKED_AT = 400
"""Characters from the beginning in which a refusal stands, if there is one."""

_REPORT = re.compile(
    r"\b(?:i(?:'m| am) (?:sorry|unable|not able)|i (?:cannot|can't|can not|won't|am not able to)\b|"
    r"as an ai\b|(?:cannot|can't|unable to) (?:assist|help|provide|comply|fulfil|analy[sz]e)\b|"
    r"i (?:apologi[sz]e|must decline))",
    re.IGNORECASE,
)

_PICTURE = r"(?:images?|pictures?|photos?|photographs?|videos?|frames?|footage|attachments?|media|files?)"
_ENGLISH = (
    r"\bi(?:'m| am) (?:really |very |so )?sorry\b|\bas an ai\b|\bi (?:apologi[sz]e|must decline)\b|"
    r"\b(?:cannot|can't|can not|unable to|not able to) (?:assist|help with|comply|fulfil|analy[sz]e|answer)\b|"
    rf"\b(?:cannot|can't|can not|don't|do not|unable to|not able to|never) (?:actually |currently |directly )?"
    rf"(?:view|see|process|access|open|receive|have(?: access to)?|find|load|interpret) "
    rf"(?:the |any |an |a |these |this |your |that |those )?(?:attached |uploaded |provided |actual )?{_PICTURE}\b|"
    rf"\bno {_PICTURE} (?:(?:was|were|is|are|has been|have been|seems? to be|appears? to be) )?"
    r"(?:provided|attached|uploaded|included|shared|supplied|sent|received|given|present in (?:your|our|this|the) "
    r"(?:message|conversation|chat|request))\b|"
    rf"\bplease (?:re-?)?(?:provide|upload|attach|share|send)\b[^.!?]{{0,40}}\b{_PICTURE}\b|"
    rf"\b{_PICTURE} (?:did not|didn't|failed to|could not be|couldn't be) (?:load|come through|upload|loaded|opened)\b"
)
_SORRY = (
    *(
        r"\bals (?:eine? )?ki\b",
        r"\btut mir (?:sehr |wirklich )?leid\b",
        r"\bhet spijt me\b",
        r"\bdésolée?\b",
    ),
    *(
        r"\ben tant qu'ia\b",
        r"\blo siento\b",
        r"\bcomo (?:una? )?(?:ia|modelo de lengua(?:je|gem))\b",
        r"\blamento,",
    ),
    *(r"\bdesculpe\b", r"\bsinto muito\b", r"\bmi dispiace\b", r"\bprzykro mi\b", r"\bprzepraszam\b"),
    *(r"\bк сожалению,? я\b", r"\bизвините\b", r"\bвибачте\b", r"\büzgünüm\b", r"\bmaaf\b", r"\bxin lỗi\b"),
    *(
        "抱歉",
        "对不起",
        "對不起",
        "作为(?:一个)?(?:ai|人工智能)",
        "申し訳(?:ありません|ございません)",
        "죄송합니다",
    ),
    *("آسف", "عذر[اًا]", "क्षमा करें", "माफ़ कीजिए"),
)
"""An apology, or "as an AI": no answer about a road begins so."""
_SEES_NO_PICTURE = (
    # German, Dutch, Swedish
    r"\b(?:kein|keine|keinen|keinerlei) (?:bild|bilder|foto|fotos|video|videos)\b[^.!?]{0,30}"
    r"\b(?:sehen|erkennen|erhalten|vorhanden|beigefügt|angehängt|bereitgestellt|übermittelt|hochgeladen)\b",
    r"\b(?:sehe|erhalte|habe) (?:hier |leider )*(?:kein|keine|keinen) (?:bild|bilder|foto|fotos|video|videos)\b",
    r"\bkann (?:leider )?(?:das|die) (?:bild|bilder|video|videos) (?:leider )?nicht (?:sehen|öffnen|anzeigen)\b",
    r"\bgeen (?:afbeelding|afbeeldingen|foto|foto's|beeld|video)\b[^.!?]{0,30}\b(?:zien|ontvangen|bijgevoegd)\b",
    r"\b(?:kan inte se|ser) (?:tyvärr )?(?:någon|några|ingen|inga|bilden|bilderna)(?: bild| bilder| video)?\s*[.!]",
    # French, Spanish, Portuguese, Italian
    r"\bje ne (?:vois|peux(?: pas)? (?:voir|analyser))(?: pas)?(?: aucune| d'| de | l'| les | cette | la )?\s?"
    r"(?:image|images|photo|photos|vidéo)\b",
    r"\baucune (?:image|photo|vidéo)\b[^.!?]{0,20}\b(?:fournie|jointe|reçue)\b",
    r"\bno (?:puedo (?:ver|procesar|analizar|acceder a)|veo|he recibido)(?: ninguna?| la| las| el| los| una?| esta)?"
    r" (?:imagen|imágenes|foto|fotos|vídeo|video)\b",
    r"\bnão (?:consigo (?:ver|analisar)|posso (?:ver|analisar)|vejo|recebi)(?: nenhuma?| a| as| o| uma?| esta)?"
    r" (?:imagem|imagens|foto|fotos|vídeo)\b",
    r"\bnon (?:vedo|posso (?:vedere|analizzare)|riesco a vedere)(?: nessuna?| l'| le| la| il| un'?| alcuna)?\s?"
    r"(?:immagine|immagini|foto|video)\b",
    # Polish, Russian, Ukrainian, Turkish, Indonesian, Vietnamese
    r"\bnie (?:widzę|mogę zobaczyć)(?: żadnego| żadnych| tego)? (?:obrazu|obrazka|obrazów|zdjęcia|zdjęć|wideo)\b",
    r"\bне (?:вижу|могу (?:увидеть|просмотреть))(?: никакого| никаких| это| эти)? (?:изображени|картин|фото|видео)",
    r"\bне (?:бачу|можу (?:побачити|переглянути))(?: жодного| жодних)? (?:зображен|фото|відео)",
    r"\b(?:görüntüyü|görüntüleri|resmi|resimleri|görseli|videoyu|görüntü|resim) (?:ne yazık ki )?göremiyorum\b",
    r"\btidak (?:dapat|bisa) melihat (?:gambar|foto|video)\b(?! \w+ di)",
    r"\bkhông thể (?:xem|nhìn thấy) (?:hình ảnh|ảnh|video)\b",
    # Chinese, Japanese, Korean, Arabic, Hindi
    "(?:无法|無法|不能|看不到|没有看到|沒有看到|没有收到|未提供)(?:任何|您的|你的|这|查看|看到|分析|识别|处理|访问|打开|张|些|该){0,4}"
    "(?:图片|圖片|图像|圖像|照片|视频|視頻)(?![中里上内裡的])",
    "(?:画像|写真|動画|映像)(?:が|を|は|も)?(?:一つも|全く|何も)?(?:見えません|見ることができません|確認できません|"
    "提供されていません|添付されていません|表示されていません|見当たりません)",
    "(?:이미지|사진|영상|동영상)(?:가|를|을|이|은|는)? ?(?:볼 수 없|제공되지 않|첨부되지 않|확인할 수 없|보이지 않)",
    "لا (?:أستطيع|يمكنني) (?:رؤية|مشاهدة) (?:أي |ال)?(?:صور|فيديو)",
    "(?:छवि|तस्वीर|वीडियो) (?:को )?नहीं (?:देख|दिख)",
)
"""The pictures themselves are not seen; that no person is seen in them is an answer."""
_DECLINES = re.compile("|".join((_ENGLISH, *_SORRY, *_SEES_NO_PICTURE)), re.IGNORECASE)


def declined(text: str, *, own_question: bool) -> str | None:
    """The phrase with which an answer declines, in words for a reason; None where it does not.

    Args:
        text: the answer without reasoning.
        own_question: whether it answers a question of one's own: there only the declining itself counts, because a
            driver says "I cannot turn, the light is red". A report that names half of the parameters is one.
    """
    head = text[:LOOKED_AT].replace("\u2019", "'")
    keys = sum(parameter in text for parameter in PARAMETERS)
    if not own_question and keys >= len(PARAMETERS) // 2:
        return None
    found = _DECLINES.search(head) or (None if own_question else _REPORT.search(head))
    return f"the teacher declined: {found.group(0)!r}" if found else None

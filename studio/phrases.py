"""What assistants and language models say and characters do not, by language. One place for all who look for it.

English: after the word lists by which the "unfiltered" ShareGPT-Vicuna and WizardLM data were cleaned of refusals and stock sentences, and
the lists of slop-forensics and antislop (Paech 2024-25, fiction and role-play), Kobak et al. 2025 (excess words since ChatGPT) and Wikipedia's
"Signs of AI writing". The other languages are our own reading of the same sentences; matches are hints for a person, never verdicts.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

_AI = r"(?:an? )?(?:ai|artificial intelligence|(?:large )?language model|chat ?bot|virtual assistant)\b"

REFUSAL: Mapping[str, str] = {
    "en": r"i(?:'m| am) (?:sorry|afraid),? (?:but )?i (?:can't|cannot|can not|won't|am unable to|'m unable to|"
    r"'m not able to) (?:assist|help|provide|"
    r"create|generate|engage|comply|continue|fulfil|discuss|write|produce|participate|support|do that|roleplay|role-play)|"
    r"i (?:can't|cannot|can not) (?:assist|help|comply|engage|continue) with (?:that|this|your|such|any)|"
    r"i (?:can't|cannot) (?:provide|generate|create|produce) (?:that|this|such|any|explicit|content|information)|"
    r"i(?:'m| am) (?:unable|not able|not programmed) to (?:assist|help|provide|generate|create|engage|fulfil|comply|participate)|"
    r"(?:against|violates?) (?:my|the|openai'?s?) (?:programming|guidelines|policy|policies|ethical|content)|"
    r"i must (?:respectfully )?decline|i(?:'d| would) prefer not to (?:continue|engage)|not appropriate for me to|"
    r"i (?:do not|don't) have (?:personal|the ability to (?:feel|have|experience)|feelings or)|my (?:training data|"
    r"knowledge cut-?off)|content polic(?:y|ies)",
    "zh": r"(?:抱歉|对不起|很遗憾)[，,]?(?:但)?(?:我|作为)[^。！？\n]{0,12}(?:不能|无法|没有办法|不可以)[^。！？\n]{0,6}(?:提供|"
    r"帮助|协助|回答|满足|生成|继续|讨论|参与|扮演)|"
    r"我(?:无法|不能)(?:提供|协助|生成|满足)(?:这|该|此|你|您|任何|相关|关于)|违反(?:了)?(?:我的|相关|内容|"
    r"使用)[^。！？\n]{0,4}(?:准则|政策|规定|原则)|"
    r"我的训练数据|我没有(?:个人|真实的)?(?:情感|感情|意识|身体)",
    "ja": r"申し訳(?:ありません|ございません|ない)[^。！？\n]{0,20}(?:でき(?:ません|ない|かねます)|お答えできません|お手伝いできません)|"
    r"(?:その|この|ご)(?:リクエスト|要求|要望|依頼|質問)には?(?:お応え|お答え|対応|応じること)(?:が|は)?でき(?:ません|かねます)|"
    r"私(?:に)?は(?:個人的な)?(?:感情|意識)(?:を|は|が)(?:持って|あり)",
    "ko": r"(?:죄송합니다|죄송하지만|미안하지만)[^.!?\n]{0,30}(?:할 수 없습니다|드릴 수 없습니다|어렵습니다|도와드릴 수 없|제공할 수 없)|"
    r"(?:그|이|해당) 요청(?:에는|은|을) [^.!?\n]{0,12}(?:응할|수행할|도와드릴) 수 없",
    "hu": r"(?:sajnálom|elnézést|sajnos),?[^.!?\n]{0,20}(?:nem (?:tudok|tudom|áll módomban|vagyok képes)|nem segíthetek)[^.!?\n]{0,30}"
    r"(?:segíteni|teljesíteni|válaszolni|megadni|létrehozni|folytatni|ebben|ilyen)|nem (?:tudok|segíthetek) (?:ebben|ezzel a kéréssel)|"
    r"ellentétes az? (?:irányelv|szabály)\w+|nincsenek (?:személyes )?(?:érzéseim|érzelmeim|tapasztalataim)",
    "de": r"(?:es tut mir leid|entschuldigung|tut mir leid),? (?:aber )?(?:ich kann|dabei kann ich|das kann ich|"
    r"ich bin nicht)[^.!?\n]{0,30}"
    r"(?:nicht (?:helfen|erfüllen|bereitstellen|beantworten|weiterführen)|in der lage)|(?:dabei|damit) kann ich (?:ihnen |"
    r"dir )?(?:leider )?nicht helfen|"
    r"(?:gegen|verstößt gegen) (?:meine|die) (?:richtlinien|programmierung)|ich habe keine (?:persönlichen )?(?:gefühle|emotionen|meinung)",
    "fr": r"(?:je suis désolée?|désolée?),? (?:mais )?je ne (?:peux|suis) pas (?:en mesure de )?(?:vous |t')?(?:aider|fournir|"
    r"répondre|créer|générer|continuer)|"
    r"je ne peux pas (?:vous aider|répondre à cette demande|générer|fournir (?:ce|cette|de))|contraire à mes (?:directives|principes)|"
    r"je n'ai pas (?:d'émotions|de sentiments)",
    "es": r"lo siento,? (?:pero )?no puedo (?:ayudarte|ayudarle|ayudar con|proporcionar|generar|crear|cumplir|continuar|responder a)|"
    r"no puedo (?:ayudarte con eso|proporcionar (?:ese|este|esa|información)|cumplir con (?:esa|esta))|"
    r"va en contra de mis (?:directrices|políticas|principios)|"
    r"no tengo (?:sentimientos|emociones|opiniones) (?:personales|propi)",
    "pt": r"(?:desculpe|sinto muito|lamento),? (?:mas )?(?:eu )?não posso (?:ajudar|fornecer|gerar|criar|continuar|atender)|"
    r"viola as (?:minhas )?(?:diretrizes|políticas)",
    "it": r"mi dispiace,? (?:ma )?non posso (?:aiutarti|aiutarla|fornire|generare|creare|continuare|soddisfare)|"
    r"non posso (?:aiutarti con|soddisfare)",
    "pl": r"(?:przykro mi|przepraszam),? (?:ale )?nie mogę (?:pomóc|tego zrobić|udzielić|wygenerować|spełnić|kontynuować)",
    "ru": r"(?:извините|прошу прощения|к сожалению|простите),? (?:но )?я не (?:могу|в состоянии|способ\w+) (?:вам |"
    r"тебе )?(?:помочь|предоставить|выполнить|"
    r"сгенерировать|создать|ответить|продолжить|обсуждать)|противоречит моим (?:принципам|правилам)|у меня нет (?:чувств|эмоций|"
    r"личного мнения)",
}
"""Refusing a request as a model does."""

ASSISTANT: Mapping[str, str] = {
    "en": rf"\bas {_AI}|\bi(?:'m| am) (?:just |only )?{_AI}|\bai (?:language )?model|large language model|(?:created|trained|"
    r"developed) by openai|"
    r"i'?m sorry to hear|i'?m here to (?:help|listen|support|assist)|feel free to (?:ask|reach|share|let)|is there anything else (?:i|you)|"
    r"how (?:can|may) i (?:help|assist) you|i hope this helps|it'?s important to (?:remember|note)|great question|"
    r"i understand (?:that )?(?:this|you)(?:'re| are| must| may| can)?[^.!?\n]{0,20}(?:difficult|hard|upset|frustrat|challeng|overwhelm)|"
    r"here are (?:some|a few) (?:tips|ways|things|suggestions|steps)|remember,? you'?re not alone|(?:hope|"
    r"let me know) (?:if )?(?:that|this|you) (?:helps|have any)",
    "zh": r"作为一[个名款]?(?:ai|人工智能|大?语言模型|智能助手)|我(?:是|只是)一?[个名款]?(?:ai|人工智能|大?语言模型|智能助手)|"
    r"有什么(?:可以|能)帮(?:助|到|您|你)|"
    r"希望(?:这|以上)?.{0,6}对(?:你|您)有(?:所)?帮助|如果(?:你|您)(?:还)?有(?:任何|其他|什么)(?:问题|疑问)|(?:请)?随时(?:告诉我|"
    r"联系我|提问)|"
    r"很(?:抱歉|遗憾)听到|以下是一些|重要的是要(?:记住|注意)|很高兴(?:能)?为(?:你|您)服务",
    "ja": r"(?:ai|人工知能|言語モデル|aiアシスタント)として|(?:私|わたし)は(?:ただの)?(?:ai|人工知能|大?規?模?言語モデル)|"
    r"お(?:役に立て|力になれ)(?:れば|たら)(?:幸い|嬉しい)|"
    r"何か(?:お手伝い|お困り|ご質問)[^。！？\n]{0,12}(?:ますか|でしょうか|ください)|(?:他に|ほかに)(?:も)?(?:何か)?(?:ご質問|"
    r"ご不明な点|お手伝い)|お気軽に(?:お尋ね|ご質問|お聞き|お声)",
    "ko": r"(?:ai|인공지능|언어 모델)(?:로서|로써|이기 때문에)|저는 (?:ai|인공지능|언어 모델)|(?:무엇을|어떻게) 도와드릴까요|"
    r"도움이 되(?:었|셨)(?:으면|기를|길)|"
    r"(?:다른|추가) 질문이 있으(?:시면|신가요)|언제든지 (?:물어|질문|말씀)",
    "hu": r"(?:mint|lévén) (?:egy )?(?:mesterséges intelligencia|mi-?(?:modell|asszisztens)|nyelvi modell|ai\b)|"
    r"(?:egy )?(?:nyelvi modell|mesterséges intelligencia) vagyok|"
    r"(?:miben|hogyan) (?:segíthetek|lehetek (?:a )?segítség\w+)|remélem,? (?:ez )?segít|(?:ha )?(?:van|lenne) (?:még |"
    r"további )?(?:bármilyen )?kérdésed|"
    r"nyugodtan (?:kérdezz|kérdezzen|írj|fordulj)|fontos megjegyezni|sajnálattal hallom",
    "de": r"als (?:eine? )?(?:ki|künstliche intelligenz|(?:ki-)?sprachmodell|virtuelle[rn]? assistent\w*)\b|"
    r"ich bin (?:nur )?(?:eine? )?(?:ki|künstliche intelligenz|sprachmodell)\b|"
    r"(?:wie|womit|wobei) kann ich (?:ihnen|dir) (?:heute )?(?:weiter)?helfen|ich hoffe,? (?:das|dies) hilft|zögern sie nicht|"
    r"(?:wenn|falls) (?:sie|du) (?:weitere|noch) fragen|"
    r"es ist wichtig zu (?:beachten|bedenken)|es tut mir leid,? das zu hören",
    "fr": r"en tant qu(?:e |')(?:une? )?(?:ia|intelligence artificielle|modèle (?:de langage|linguistique)|assistante? virtuel)|"
    r"je suis (?:juste |seulement )?une? (?:ia|intelligence artificielle|modèle de langage)|"
    r"comment (?:puis-je|je peux) (?:vous|t')\s?aider|j'espère que (?:cela|ça) (?:vous |t')?aide|n'hésite[sz]? pas à|"
    r"il est important de (?:noter|rappeler)|je suis désolée? d'(?:entendre|apprendre)",
    "es": r"como (?:una? )?(?:ia\b|inteligencia artificial|modelo de lenguaje|asistente virtual)|soy (?:solo )?una? (?:ia\b|"
    r"inteligencia artificial|modelo de lenguaje)|"
    r"en qué (?:puedo|te puedo|le puedo) ayudar|espero que esto (?:te )?ayude|no dudes en|si tienes (?:alguna|"
    r"más) (?:otra )?pregunta|es importante (?:recordar|tener en cuenta|señalar)|lamento (?:escuchar|oír)",
    "pt": r"como (?:uma? )?(?:ia\b|inteligência artificial|modelo de linguagem)|sou (?:apenas )?uma? (?:ia\b|"
    r"inteligência artificial|modelo de linguagem)|como posso (?:te |lhe )?ajudar|"
    r"espero que isso ajude|é importante (?:lembrar|notar)",
    "it": r"in quanto (?:ia\b|intelligenza artificiale|modello linguistico)|come (?:ia\b|intelligenza artificiale|"
    r"modello linguistico)|come posso (?:aiutarti|aiutarla)|spero che questo (?:ti )?aiuti|non esitare a",
    "pl": r"jako (?:ai\b|sztuczna inteligencja|model językowy)|jestem (?:tylko )?(?:modelem językowym|sztuczną inteligencją)|"
    r"w czym mogę (?:ci |panu |pani )?pomóc|mam nadzieję,? że to pomoże",
    "ru": r"как (?:ии\b|искусственный интеллект|(?:большая )?языковая модель)|я (?:всего лишь |просто |— )?(?:ии\b|"
    r"искусственный интеллект|языковая модель)|чем (?:я )?могу (?:вам |тебе )?помочь|"
    r"надеюсь,? это поможет|если у (?:вас|тебя) (?:есть|появятся|возникнут) (?:ещё |другие )?вопросы|не стесняй(?:тесь|ся)|"
    r"важно (?:помнить|отметить)",
}
"""Speaking of oneself as a model, and the stock sentences of service and consolation."""

SLOP: Mapping[str, str] = {
    "en": r"delv(?:e|es|ed|ing)|tapestry|testament to|shivers? (?:down|up)|barely above a whisper|sent shivers|a mix of|couldn'?t help but|"
    r"eyes (?:sparkl|gleam|twinkl|glint)\w*|mischievous\w*|a dance of|dance[sd]? (?:in|across) the|unspoken|ministrations|symphony of|"
    r"kaleidoscope|whirlwind of|bustling|intricate\w*|pivotal|multifaceted|unwavering|steadfast|resonat\w+|beacon of|embark\w*|"
    r"palpable|hushed|air (?:is|was|hung) thick|voice (?:was |is )?(?:low|husky)|ghost(?:s|ed)? of a smile|let out a breath|"
    r"hung (?:heavy )?in the air|navigat(?:e|ing) the|realm of|journey of",
    "zh": r"嘴角(?:微微)?(?:上扬|勾起)|眼中闪过一丝|眼神(?:中)?(?:透着|闪烁)|空气(?:仿佛)?凝固|不禁|仿佛.{0,12}一般|总而言之|"
    r"综上所述|值得注意的是|让我们一起|"
    r"心中涌起|深吸一口气|一抹(?:微笑|笑意)|不仅.{1,16}更是",
    "ja": r"思わず息を(?:の|呑)|口元に(?:微笑み|笑み)を浮かべ|瞳(?:が|を)(?:きらきら|輝か)|静寂が(?:包|支配)|"
    r"まるで.{1,16}かのよう|(?:重要|大切)なのは、|結論として|心が(?:温かく|震え)",
    "hu": r"szövevényes|alig (?:hallható )?suttogás\w*|végigfutott a hátán|csillogó szemm?el|huncut mosol\w+|tanúbizonyság\w*|"
    r"összességében elmondható|elengedhetetlen|"
    r"izgalmas utazás\w*|a csend szinte tapintható|nem csupán .{1,30}, hanem",
    "de": r"kaum mehr als ein flüstern|ein schauer lief|funkelnden augen|verschmitzt\w*|ein zeugnis (?:von|für)|vielschichtig\w*|"
    r"eintauchen in die|zusammenfassend lässt sich|"
    r"nicht nur .{1,30}, sondern auch ein",
    "fr": r"à peine plus qu'un murmure|un frisson parcour\w+|yeux pétillants|sourire espiègle|témoigne de|en conclusion|"
    r"plongeons dans|un voyage à travers",
    "es": r"apenas un susurro|un escalofrío recorri\w+|ojos brillantes|sonrisa traviesa|un testimonio de|en conclusión|"
    r"sumerg(?:irse|ámonos) en|un tapiz de",
    "ru": r"едва слышным шёпотом|мурашки пробежали|глаза заблестели|лукав\w+ улыбк\w+|свидетельствует о|в заключение|"
    r"погрузиться в мир|не просто .{1,30}, а",
}
"""Words and turns that language models use far more than people."""


_UNSPACED = {"zh": "[\u4e00-\u9fff]", "ja": "[\u3040-\u30ff]", "ko": "[\uac00-\ud7af]"}
"""Languages whose text shows by its script that their pattern is worth trying; the others are matched from the beginning of a word on."""


class Phrases:
    """The phrases of one of the lists above, and more of one's own, to be looked for in many texts."""

    def __init__(self, lists: Mapping[str, str], languages: Collection[str] = (), more: Collection[str] = ()) -> None:
        """``languages``: by their codes, English always among them; none: all. ``more``: plain phrases."""
        wanted = [code for code in lists if not languages or code == "en" or code in languages or code in _UNSPACED]
        self.patterns = [
            (re.compile(_UNSPACED[code]) if code in _UNSPACED else None, re.compile(lists[code] if code in _UNSPACED else rf"\b(?:{lists[code]})"))
            for code in wanted
        ]
        if more:
            self.patterns.append((None, re.compile("|".join(re.escape(phrase.strip().lower()) for phrase in more if phrase.strip()))))

    def find(self, text: str) -> list[tuple[int, int]]:
        """``(start, stop)`` of each, in the order of the text; where two languages' phrases overlap, the first."""
        plain = text.lower().replace("’", "'")
        if len(plain) != len(text):  # a letter whose small form is two
            plain = "".join(c.lower() if len(c.lower()) == 1 else c for c in text).replace("’", "'")
        narrow = plain.isascii()
        found: list[tuple[int, int]] = []
        for script, pattern in self.patterns:
            if script is None or not (narrow or script.search(plain) is None):
                found += [match.span() for match in pattern.finditer(plain)]
        found.sort()
        end = 0
        return [span for span in found if span[0] >= end and (end := span[1])]

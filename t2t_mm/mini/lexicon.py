"""The words of the mini corpora in English, German and French, with the properties that each grammar needs.

The nouns for things, and the colours, sizes, patterns and places, are exactly those of `world.py`. The English words
are chosen so that each of them determines its translation: no noun has two German genders, no verb form is both present
and past in the plural (which excludes "read"), and nouns for people of either sex are grammatically masculine.
"""

import dataclasses

from t2t_mm.mini import world


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Noun:
    """A noun. The plurals and the German genitive are given, all other forms follow from rules."""

    english: str
    plural: str
    kind: str  # "person", "animal", "thing" or "place"
    german: str
    german_gender: str  # "m", "f" or "n"
    german_plural: str
    french: str
    french_gender: str  # "m" or "f"
    german_genitive: str = ""  # only given for people, because only people own things here
    german_weak: bool = False  # -n in every singular case except the nominative: der Junge, den Jungen
    sex: str = ""  # of people: "m" (his) or "f" (her); empty if the English noun leaves it open

    def german_form(self, case: str, plural: bool) -> str:
        """Returns the German form for the case "nom", "acc", "dat" or "gen"."""
        if plural:
            ends_in_n = self.german_plural[-1] in "ns"
            return self.german_plural + ("n" if case == "dat" and not ends_in_n else "")
        if case == "gen" and not self.german_weak:
            return self.german_genitive
        return self.german + ("n" if self.german_weak and case != "nom" else "")

    def french_form(self, plural: bool) -> str:
        """Returns the French singular or plural."""
        if not plural:
            return self.french
        return self.french + ("x" if self.french.endswith("eau") else "s")


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Adjective:
    """An adjective. `order` sorts adjectives in English and German; in French, they precede or follow their noun."""

    english: str
    german: str
    french: tuple[str, str, str, str]  # masculine, feminine, masculine plural, feminine plural
    order: int  # 0 opinion or state, 1 size, 2 age, 3 pattern, 4 colour
    before: bool = False  # French: before the noun
    before_vowel: str = ""  # French masculine singular before a vowel: un vieil homme

    def german_stem(self) -> str:
        """Returns the form to which the German endings are added."""
        return self.german.removesuffix("e")  # müde: ein müder Mann


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Verb:
    """A verb in the third person. `german_prefix` is separable; `german` and `german_third` do not include it."""

    english: str
    third: str
    past: str
    participle: str
    german: str  # infinitive, which is also the third person plural
    german_third: str
    german_participle: str
    french: str  # infinitive
    french_third: str
    french_plural: str
    french_participle: str
    german_prefix: str = ""
    german_auxiliary: str = "haben"
    german_case: str = "acc"  # of the object
    german_preposition: str = ""  # before the object: warten auf
    german_past: tuple[str, str] | None = None  # singular and plural of the simple past, if that is the usual past
    french_auxiliary: str = "avoir"
    french_past: tuple[str, str] | None = None  # singular and plural of the imperfect, if that is the usual past
    french_subjunctive: str = ""  # singular, if it does not follow from the plural of the present tense
    preposition: str = ""  # English, before the object: look for
    particle: str = ""  # English, before the object: pick up
    subjects: tuple[str, ...] = ("person",)  # kinds of noun
    objects: str = ""  # name of a group in OBJECT_GROUPS; empty if the verb has no object

    def subjunctive(self, plural: bool) -> str:
        """Returns the French present subjunctive."""
        singular = self.french_subjunctive or self.french_plural.removesuffix("nt")
        return "soient" if singular == "soit" else "aient" if singular == "ait" else singular + "nt" * plural


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Name:
    """A first name, which is the same in all three languages."""

    english: str
    sex: str


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Adverb:
    english: str
    german: str
    french: str


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Preposition:
    """A preposition of one or more words. `german_case` is the case of the noun phrase that follows it."""

    english: str
    german: str
    french: str
    german_case: str = "dat"


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Place:
    """A place, with the prepositions for being there and for going there (English "to")."""

    noun: Noun
    location: Preposition
    goal: Preposition


def _thing(english, plural, german, gender, german_plural, french, french_gender, kind="thing"):
    """Creates a noun that cannot own anything: a thing, an animal or a place."""
    return Noun(english, plural, kind, german, gender, german_plural, french, french_gender)


NOUNS = {
    noun.english: noun
    for noun in (
        _thing("ball", "balls", "Ball", "m", "Bälle", "balle", "f"),
        _thing("box", "boxes", "Kiste", "f", "Kisten", "boîte", "f"),
        _thing("cup", "cups", "Tasse", "f", "Tassen", "tasse", "f"),
        _thing("key", "keys", "Schlüssel", "m", "Schlüssel", "clé", "f"),
        _thing("star", "stars", "Stern", "m", "Sterne", "étoile", "f"),
        _thing("house", "houses", "Haus", "n", "Häuser", "maison", "f"),
        _thing("tree", "trees", "Baum", "m", "Bäume", "arbre", "m"),
        _thing("flower", "flowers", "Blume", "f", "Blumen", "fleur", "f"),
        _thing("fish", "fish", "Fisch", "m", "Fische", "poisson", "m", "animal"),
        _thing("bird", "birds", "Vogel", "m", "Vögel", "oiseau", "m", "animal"),
        _thing("cat", "cats", "Katze", "f", "Katzen", "chat", "m", "animal"),
        _thing("dog", "dogs", "Hund", "m", "Hunde", "chien", "m", "animal"),
        _thing("car", "cars", "Auto", "n", "Autos", "voiture", "f"),
        _thing("boat", "boats", "Boot", "n", "Boote", "bateau", "m"),
        _thing("lamp", "lamps", "Lampe", "f", "Lampen", "lampe", "f"),
        _thing("chair", "chairs", "Stuhl", "m", "Stühle", "chaise", "f"),
        _thing("table", "tables", "Tisch", "m", "Tische", "table", "f"),
        _thing("book", "books", "Buch", "n", "Bücher", "livre", "m"),
        _thing("clock", "clocks", "Uhr", "f", "Uhren", "horloge", "f"),
        _thing("hat", "hats", "Hut", "m", "Hüte", "chapeau", "m"),
        _thing("shoe", "shoes", "Schuh", "m", "Schuhe", "chaussure", "f"),
        _thing("apple", "apples", "Apfel", "m", "Äpfel", "pomme", "f"),
        _thing("mushroom", "mushrooms", "Pilz", "m", "Pilze", "champignon", "m"),
        _thing("leaf", "leaves", "Blatt", "n", "Blätter", "feuille", "f"),
        _thing("picture", "pictures", "Bild", "n", "Bilder", "image", "f"),
        _thing("garden", "gardens", "Garten", "m", "Gärten", "jardin", "m", "place"),
        _thing("street", "streets", "Straße", "f", "Straßen", "rue", "f", "place"),
        _thing("kitchen", "kitchens", "Küche", "f", "Küchen", "cuisine", "f", "place"),
        _thing("beach", "beaches", "Strand", "m", "Strände", "plage", "f", "place"),
        _thing("forest", "forests", "Wald", "m", "Wälder", "forêt", "f", "place"),
        _thing("room", "rooms", "Zimmer", "n", "Zimmer", "chambre", "f", "place"),
        Noun("man", "men", "person", "Mann", "m", "Männer", "homme", "m", "Mannes", sex="m"),
        Noun("woman", "women", "person", "Frau", "f", "Frauen", "femme", "f", "Frau", sex="f"),
        Noun("boy", "boys", "person", "Junge", "m", "Jungen", "garçon", "m", german_weak=True, sex="m"),
        Noun("girl", "girls", "person", "Mädchen", "n", "Mädchen", "fille", "f", "Mädchens", sex="f"),
        Noun("child", "children", "person", "Kind", "n", "Kinder", "enfant", "m", "Kindes"),
        Noun("teacher", "teachers", "person", "Lehrer", "m", "Lehrer", "professeur", "m", "Lehrers", sex="m"),
        Noun("farmer", "farmers", "person", "Bauer", "m", "Bauern", "fermier", "m", german_weak=True, sex="m"),
        Noun("queen", "queens", "person", "Königin", "f", "Königinnen", "reine", "f", "Königin", sex="f"),
    )
}
NAMES = (Name("Anna", "f"), Name("Maria", "f"), Name("Paul", "m"), Name("Peter", "m"))


def _adjective(english, german, masculine, feminine, order, before=False, before_vowel=""):
    plural = masculine + ("" if masculine[-1] in "sx" else "x" if masculine.endswith("eau") else "s")
    return Adjective(english, german, (masculine, feminine, plural, feminine + "s"), order, before, before_vowel)


ADJECTIVES = {
    adjective.english: adjective
    for adjective in (
        _adjective("red", "rot", "rouge", "rouge", 4),
        _adjective("green", "grün", "vert", "verte", 4),
        _adjective("blue", "blau", "bleu", "bleue", 4),
        _adjective("yellow", "gelb", "jaune", "jaune", 4),
        _adjective("white", "weiß", "blanc", "blanche", 4),
        _adjective("black", "schwarz", "noir", "noire", 4),
        _adjective("brown", "braun", "brun", "brune", 4),
        _adjective("purple", "violett", "violet", "violette", 4),
        _adjective("striped", "gestreift", "rayé", "rayée", 3),
        _adjective("spotted", "gepunktet", "tacheté", "tachetée", 3),
        _adjective("small", "klein", "petit", "petite", 1, before=True),
        _adjective("large", "groß", "grand", "grande", 1, before=True),
        _adjective("old", "alt", "vieux", "vieille", 2, before=True, before_vowel="vieil"),
        _adjective("new", "neu", "nouveau", "nouvelle", 2, before=True, before_vowel="nouvel"),
        _adjective("young", "jung", "jeune", "jeune", 2, before=True),
        _adjective("beautiful", "schön", "beau", "belle", 0, before=True, before_vowel="bel"),
        _adjective("happy", "glücklich", "heureux", "heureuse", 0),
        _adjective("sad", "traurig", "triste", "triste", 0),
        _adjective("tired", "müde", "fatigué", "fatiguée", 0),
        _adjective("dirty", "schmutzig", "sale", "sale", 0),
    )
}

_IN = Preposition("in", "in", "dans")
_ON = Preposition("on", "auf", "sur")
PREPOSITIONS = {
    "in": _IN,
    "on": _ON,
    "under": Preposition("under", "unter", "sous"),
    "behind": Preposition("behind", "hinter", "derrière"),
    "near": Preposition("near", "bei", "près de"),
    "beside": Preposition("beside", "neben", "à côté de"),
    "in front of": Preposition("in front of", "vor", "devant"),
    "to the left of": Preposition("to the left of", "links von", "à gauche de"),
    "to the right of": Preposition("to the right of", "rechts von", "à droite de"),
    "above": Preposition("above", "über", "au-dessus de"),
    "below": Preposition("below", "unterhalb von", "au-dessous de"),
    "with": Preposition("with", "mit", "avec"),
}
OF = Preposition("of", "von", "de", "gen")  # in German a genitive without preposition, except for "von" before a name


def _place(english, location, german_goal, french_goal):
    return Place(NOUNS[english], location, Preposition("to", german_goal, french_goal, "acc"))


PLACES = {
    place.noun.english: place
    for place in (
        _place("garden", _IN, "in", "dans"),
        _place("street", Preposition("in", "auf", "dans"), "auf", "dans"),
        _place("kitchen", _IN, "in", "dans"),
        _place("beach", Preposition("on", "an", "sur"), "an", "à"),
        _place("forest", _IN, "in", "dans"),
        _place("room", _IN, "in", "dans"),
    )
}

PEOPLE = tuple(noun for noun in NOUNS.values() if noun.kind == "person")
ANIMALS = tuple(noun for noun in NOUNS.values() if noun.kind == "animal")
THINGS = tuple(NOUNS[name] for name in world.OBJECTS if NOUNS[name].kind == "thing")
_PORTABLE = tuple(NOUNS[name] for name in (
    "ball", "box", "cup", "key", "flower", "lamp", "chair", "book", "clock", "hat", "shoe", "apple", "mushroom", "leaf",
))  # fmt: skip

# The nouns that can be the object of a verb.
OBJECT_GROUPS = {
    "anyone": PEOPLE + ANIMALS,
    "anything": THINGS + PEOPLE + ANIMALS,
    "people": PEOPLE,
    "portable": _PORTABLE,
    "goods": _PORTABLE + tuple(NOUNS[name] for name in ("house", "car", "boat", "table", "dog", "cat", "bird", "fish")),
    "visible": THINGS + ANIMALS,
    "food": tuple(NOUNS[name] for name in ("apple", "mushroom", "fish", "leaf")),
    "openable": tuple(NOUNS[name] for name in ("box", "house", "car", "book")),
    "audible": PEOPLE + (NOUNS["bird"],),
}
# The nouns that can follow a preposition of place, and the things that people and animals can have with them.
LANDMARKS = {
    "in": tuple(NOUNS[name] for name in ("box", "house", "car", "boat")),
    "on": tuple(NOUNS[name] for name in ("table", "chair", "box", "boat")),
    "under": tuple(NOUNS[name] for name in ("table", "chair", "tree", "lamp", "star")),
}
NEARBY = tuple(NOUNS[name] for name in ("tree", "house", "car", "boat", "table", "chair", "flower", "clock", "lamp", "box"))
ACCESSORIES = tuple(NOUNS[name] for name in ("hat", "book", "key", "cup", "flower", "ball", "lamp", "clock", "apple"))
PROFESSIONS = (NOUNS["teacher"], NOUNS["farmer"])

_ANYONE = ("person", "animal")
INTRANSITIVE = (
    Verb("sleep", "sleeps", "slept", "slept", "schlafen", "schläft", "geschlafen",
         "dormir", "dort", "dorment", "dormi", subjects=_ANYONE),
    Verb("run", "runs", "ran", "run", "laufen", "läuft", "gelaufen", "courir", "court", "courent", "couru",
         german_auxiliary="sein", subjects=_ANYONE),
    Verb("sing", "sings", "sang", "sung", "singen", "singt", "gesungen", "chanter", "chante", "chantent", "chanté"),
    Verb("play", "plays", "played", "played", "spielen", "spielt", "gespielt", "jouer", "joue", "jouent", "joué",
         subjects=_ANYONE),
    Verb("fall", "falls", "fell", "fallen", "fallen", "fällt", "gefallen", "tomber", "tombe", "tombent", "tombé",
         german_auxiliary="sein", french_auxiliary="être", subjects=("person", "animal", "thing")),
    Verb("arrive", "arrives", "arrived", "arrived", "kommen", "kommt", "gekommen",
         "arriver", "arrive", "arrivent", "arrivé",
         german_prefix="an", german_auxiliary="sein", french_auxiliary="être"),
    Verb("work", "works", "worked", "worked", "arbeiten", "arbeitet", "gearbeitet",
         "travailler", "travaille", "travaillent", "travaillé"),
    Verb("wait", "waits", "waited", "waited", "warten", "wartet", "gewartet", "attendre", "attend", "attendent",
         "attendu", subjects=_ANYONE),
)  # fmt: skip
LIVE = Verb("live", "lives", "lived", "lived", "wohnen", "wohnt", "gewohnt", "habiter", "habite", "habitent", "habité")
GO = Verb(
    "go", "goes", "went", "gone", "gehen", "geht", "gegangen", "aller", "va", "vont", "allé",
    german_auxiliary="sein", french_auxiliary="être", french_subjunctive="aille",
)  # fmt: skip
TRANSITIVE = (
    Verb("see", "sees", "saw", "seen", "sehen", "sieht", "gesehen", "voir", "voit", "voient", "vu",
         subjects=_ANYONE, objects="anything"),
    Verb("find", "finds", "found", "found", "finden", "findet", "gefunden",
         "trouver", "trouve", "trouvent", "trouvé", subjects=_ANYONE, objects="visible"),
    Verb("buy", "buys", "bought", "bought", "kaufen", "kauft", "gekauft",
         "acheter", "achète", "achètent", "acheté", objects="goods"),
    Verb("carry", "carries", "carried", "carried", "tragen", "trägt", "getragen",
         "porter", "porte", "portent", "porté", objects="portable"),
    Verb("open", "opens", "opened", "opened", "öffnen", "öffnet", "geöffnet",
         "ouvrir", "ouvre", "ouvrent", "ouvert", objects="openable"),
    Verb("eat", "eats", "ate", "eaten", "essen", "isst", "gegessen", "manger", "mange", "mangent", "mangé",
         objects="food"),
    Verb("love", "loves", "loved", "loved", "lieben", "liebt", "geliebt", "aimer", "aime", "aiment", "aimé",
         objects="anyone"),
    Verb("follow", "follows", "followed", "followed", "folgen", "folgt", "gefolgt",
         "suivre", "suit", "suivent", "suivi", german_auxiliary="sein", german_case="dat",
         subjects=_ANYONE, objects="anyone"),
    Verb("help", "helps", "helped", "helped", "helfen", "hilft", "geholfen", "aider", "aide", "aident", "aidé",
         german_case="dat", objects="anyone"),
    Verb("paint", "paints", "painted", "painted", "malen", "malt", "gemalt",
         "peindre", "peint", "peignent", "peint", objects="visible"),
    Verb("watch", "watches", "watched", "watched", "beobachten", "beobachtet", "beobachtet",
         "regarder", "regarde", "regardent", "regardé", subjects=_ANYONE, objects="anyone"),
    Verb("call", "calls", "called", "called", "rufen", "ruft", "gerufen",
         "appeler", "appelle", "appellent", "appelé", german_prefix="an", objects="people"),
    Verb("look", "looks", "looked", "looked", "suchen", "sucht", "gesucht",
         "chercher", "cherche", "cherchent", "cherché", preposition="for", subjects=_ANYONE, objects="anything"),
    Verb("wait", "waits", "waited", "waited", "warten", "wartet", "gewartet",
         "attendre", "attend", "attendent", "attendu", german_preposition="auf", preposition="for", objects="people"),
    Verb("listen", "listens", "listened", "listened", "hören", "hört", "gehört",
         "écouter", "écoute", "écoutent", "écouté", german_prefix="zu", german_case="dat", preposition="to",
         objects="audible"),
    Verb("pick", "picks", "picked", "picked", "heben", "hebt", "gehoben",
         "ramasser", "ramasse", "ramassent", "ramassé", german_prefix="auf", particle="up", objects="portable"),
)  # fmt: skip
HAVE = Verb(
    "have", "has", "had", "had", "haben", "hat", "gehabt", "avoir", "a", "ont", "eu",
    german_past=("hatte", "hatten"), french_past=("avait", "avaient"), french_subjunctive="ait", objects="goods",
)  # fmt: skip
GIVE = Verb(  # has two objects: gives the boy a ball
    "give", "gives", "gave", "given", "geben", "gibt", "gegeben", "donner", "donne", "donnent", "donné",
    objects="portable",
)  # fmt: skip
SHOW = Verb(  # has an object and "to": shows a ball to the boy
    "show", "shows", "showed", "shown", "zeigen", "zeigt", "gezeigt", "montrer", "montre", "montrent", "montré",
    preposition="to", objects="visible",
)  # fmt: skip
CLAUSAL = (  # only "think" has a clause without "that"
    Verb("say", "says", "said", "said", "sagen", "sagt", "gesagt", "dire", "dit", "disent", "dit"),
    Verb("think", "thinks", "thought", "thought", "denken", "denkt", "gedacht",
         "penser", "pense", "pensent", "pensé"),
    Verb("know", "knows", "knew", "known", "wissen", "weiß", "gewusst", "savoir", "sait", "savent", "su",
         german_past=("wusste", "wussten"), french_past=("savait", "savaient"), french_subjunctive="sache"),
)  # fmt: skip
BE = Verb(
    "be", "is", "was", "been", "sein", "ist", "gewesen", "être", "est", "sont", "été", german_auxiliary="sein",
    german_past=("war", "waren"), french_past=("était", "étaient"), french_subjunctive="soit",
)  # fmt: skip
MODALS = {
    "can": Verb("can", "can", "could", "", "können", "kann", "", "pouvoir", "peut", "peuvent", "pu",
                german_past=("konnte", "konnten"), french_past=("pouvait", "pouvaient"), french_subjunctive="puisse"),
    "must": Verb("must", "must", "", "", "müssen", "muss", "", "devoir", "doit", "doivent", "dû"),
    "want": Verb("want", "wants", "wanted", "", "wollen", "will", "", "vouloir", "veut", "veulent", "voulu",
                 german_past=("wollte", "wollten"), french_past=("voulait", "voulaient"),
                 french_subjunctive="veuille"),
}  # fmt: skip
VERBS = (*INTRANSITIVE, LIVE, GO, *TRANSITIVE, HAVE, GIVE, SHOW, *CLAUSAL, MODALS["want"])

MANNERS = (
    Adverb("quickly", "schnell", "rapidement"),
    Adverb("slowly", "langsam", "lentement"),
    Adverb("quietly", "leise", "silencieusement"),
)
OFTEN = Adverb("often", "oft", "souvent")
ALWAYS = Adverb("always", "immer", "toujours")
NEVER = Adverb("never", "nie", "jamais")  # French: ne ... jamais
TODAY = Adverb("today", "heute", "aujourd'hui")
YESTERDAY = Adverb("yesterday", "gestern", "hier")

NUMERALS = {
    "two": ("zwei", "deux"), "three": ("drei", "trois"), "four": ("vier", "quatre"), "five": ("fünf", "cinq"),
}  # fmt: skip
QUANTIFIED = {"": ("", ""), "about": ("etwa", "environ"), "more than": ("mehr als", "plus de")}
SUBORDINATORS = {
    "because": ("weil", "parce que"), "although": ("obwohl", "bien que"), "while": ("während", "pendant que"),
    "when": ("wenn", "quand"),  # in German, "als" for a single event in the past
}  # fmt: skip

_FUNCTION_WORDS = """
    the a an this these every many some his her their he she they him them
    in on under behind near beside front of to left right above below with by for up than more about
    and but that who whom which because when although while there
    is are was were does do did not can could must very
""".split()


def english_words() -> list[str]:
    """Returns all English words that the grammar can produce, in lower case, sorted and without punctuation."""
    words = set(_FUNCTION_WORDS) | set(ADJECTIVES) | set(NUMERALS)
    for noun in NOUNS.values():
        words.add(noun.english)
        if noun.kind != "place" and noun.english != "picture":
            words.add(noun.plural)
    words.update(name.english.lower() for name in NAMES)
    for verb in VERBS:
        words.update((verb.english, verb.third, verb.past))
    words.update(verb.participle for verb in TRANSITIVE)  # the passive
    words.update(adverb.english for adverb in (*MANNERS, OFTEN, ALWAYS, NEVER, TODAY, YESTERDAY))
    return sorted(words)

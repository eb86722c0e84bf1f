"""The pronunciation of the words in the mini corpora: American English in ARPAbet, as in the CMU dictionary.

The digit after a vowel is its stress: 1 for primary stress, 2 for secondary stress and 0 for no stress. Function words
(the, of, their) are unstressed even where the dictionary stresses them, because that is how they are spoken in a
sentence.
"""

# Entries are separated by semicolons or line breaks.
_ENTRIES = """
a AH0; about AH0 B AW1 T; above AH0 B AH1 V; although AO2 L DH OW1; always AO1 L W EY2 Z; an AH0 N; and AH0 N D
anna AE1 N AH0; apple AE1 P AH0 L; apples AE1 P AH0 L Z; are AA0 R
arrive ER0 AY1 V; arrived ER0 AY1 V D; arrives ER0 AY1 V Z; ate EY1 T
ball B AO1 L; balls B AO1 L Z; be B IY0; beach B IY1 CH; beautiful B Y UW1 T AH0 F AH0 L; because B IH0 K AH1 Z
behind B IH0 HH AY1 N D; below B IH0 L OW1; beside B IH0 S AY1 D; bird B ER1 D; birds B ER1 D Z; black B L AE1 K
blue B L UW1; boat B OW1 T; boats B OW1 T S; book B UH1 K; books B UH1 K S; bought B AO1 T
box B AA1 K S; boxes B AA1 K S IH0 Z; boy B OY1; boys B OY1 Z; brown B R AW1 N; but B AH0 T; buy B AY1; buys B AY1 Z
by B AY0; call K AO1 L; called K AO1 L D; calls K AO1 L Z; can K AE0 N; car K AA1 R; cars K AA1 R Z
carry K EH1 R IY0; carries K EH1 R IY0 Z; carried K EH1 R IY0 D; cat K AE1 T; cats K AE1 T S
chair CH EH1 R; chairs CH EH1 R Z; child CH AY1 L D; children CH IH1 L D R AH0 N; clock K L AA1 K; clocks K L AA1 K S
colour K AH1 L ER0; could K UH0 D; cup K AH1 P; cups K AH1 P S; did D IH0 D; dirty D ER1 T IY0; do D UW0; does D AH0 Z
dog D AO1 G; dogs D AO1 G Z; eat IY1 T; eaten IY1 T AH0 N; eats IY1 T S; every EH1 V R IY0
fall F AO1 L; falls F AO1 L Z; farmer F AA1 R M ER0; farmers F AA1 R M ER0 Z; fell F EH1 L
find F AY1 N D; finds F AY1 N D Z; fish F IH1 SH; five F AY1 V; flower F L AW1 ER0; flowers F L AW1 ER0 Z
follow F AA1 L OW0; followed F AA1 L OW0 D; follows F AA1 L OW0 Z; for F AO0 R; forest F AO1 R AH0 S T
found F AW1 N D; four F AO1 R; front F R AH1 N T; garden G AA1 R D AH0 N; gave G EY1 V; girl G ER1 L; girls G ER1 L Z
give G IH1 V; gives G IH1 V Z; go G OW1; goes G OW1 Z; green G R IY1 N; had HH AE0 D; happy HH AE1 P IY0
has HH AE0 Z; hat HH AE1 T; hats HH AE1 T S; have HH AE0 V; he HH IY0; help HH EH1 L P; helped HH EH1 L P T
helps HH EH1 L P S; her HH ER0; him HH IH0 M; his HH IH0 Z; house HH AW1 S; houses HH AW1 Z IH0 Z; in IH0 N; is IH0 Z
key K IY1; keys K IY1 Z; kitchen K IH1 CH AH0 N; knew N UW1; know N OW1; knows N OW1 Z; lamp L AE1 M P; lamps L AE1 M P S
large L AA1 R JH; leaf L IY1 F; leaves L IY1 V Z; left L EH1 F T; listen L IH1 S AH0 N; listened L IH1 S AH0 N D
listens L IH1 S AH0 N Z; live L IH1 V; lived L IH1 V D; lives L IH1 V Z; look L UH1 K; looked L UH1 K T; looks L UH1 K S
love L AH1 V; loved L AH1 V D; loves L AH1 V Z; man M AE1 N; many M EH1 N IY0; maria M ER0 IY1 AH0; men M EH1 N
more M AO1 R; mushroom M AH1 SH R UW2 M; mushrooms M AH1 SH R UW2 M Z; must M AH0 S T; near N IH1 R; never N EH1 V ER0
new N Y UW1; not N AA1 T; of AH0 V; often AO1 F AH0 N; old OW1 L D; on AA0 N
open OW1 P AH0 N; opened OW1 P AH0 N D; opens OW1 P AH0 N Z; paint P EY1 N T; painted P EY1 N T IH0 D
paints P EY1 N T S; paul P AO1 L; peter P IY1 T ER0; pick P IH1 K; picked P IH1 K T; picks P IH1 K S
picture P IH1 K CH ER0; play P L EY1; played P L EY1 D; plays P L EY1 Z; purple P ER1 P AH0 L
queen K W IY1 N; queens K W IY1 N Z; quickly K W IH1 K L IY0; quietly K W AY1 AH0 T L IY0; ran R AE1 N; red R EH1 D
right R AY1 T; room R UW1 M; run R AH1 N; runs R AH1 N Z; sad S AE1 D; said S EH1 D; sang S AE1 NG; saw S AO1
say S EY1; says S EH1 Z; see S IY1; seen S IY1 N; sees S IY1 Z; she SH IY0; shoe SH UW1; shoes SH UW1 Z
show SH OW1; showed SH OW1 D; shows SH OW1 Z; sing S IH1 NG; sings S IH1 NG Z; sleep S L IY1 P; sleeps S L IY1 P S
slept S L EH1 P T; slowly S L OW1 L IY0; small S M AO1 L; some S AH0 M; spotted S P AA1 T IH0 D; star S T AA1 R
stars S T AA1 R Z; street S T R IY1 T; striped S T R AY1 P T; table T EY1 B AH0 L; tables T EY1 B AH0 L Z
teacher T IY1 CH ER0; teachers T IY1 CH ER0 Z; than DH AE0 N; that DH AE0 T; the DH AH0; their DH EH0 R; them DH EH0 M
there DH EH1 R; these DH IY0 Z; they DH EY0; think TH IH1 NG K; thinks TH IH1 NG K S; this DH IH0 S; thought TH AO1 T
three TH R IY1; tired T AY1 ER0 D; to T UW0; today T AH0 D EY1; tree T R IY1; trees T R IY1 Z; two T UW1
under AH1 N D ER0; up AH1 P; very V EH1 R IY0; wait W EY1 T; waited W EY1 T IH0 D; waits W EY1 T S
want W AA1 N T; wanted W AA1 N T IH0 D; wants W AA1 N T S; was W AA0 Z; watch W AA1 CH; watched W AA1 CH T
watches W AA1 CH IH0 Z; went W EH1 N T; were W ER0; what W AH1 T; when W EH0 N; which W IH0 CH; while W AY1 L; white W AY1 T
who HH UW0; whom HH UW0 M; with W IH0 DH; woman W UH1 M AH0 N; women W IH1 M AH0 N; work W ER1 K; worked W ER1 K T
works W ER1 K S; yellow Y EH1 L OW0; yesterday Y EH1 S T ER0 D EY2; young Y AH1 NG
"""


def _parse(entries: str) -> dict[str, tuple[str, ...]]:
    pronunciations = {}
    for entry in entries.replace("\n", ";").split(";"):
        if entry.strip():
            word, *phonemes = entry.split()
            pronunciations[word] = tuple(phonemes)
    return pronunciations


PRONUNCIATIONS: dict[str, tuple[str, ...]] = _parse(_ENTRIES)


class UnknownWordError(KeyError):
    """Raised for a word that has no entry in PRONUNCIATIONS."""

    def __init__(self, word: str):
        super().__init__(word)
        self.word = word

    def __str__(self) -> str:  # KeyError would only print the word
        return (
            f"{self.word!r} has no pronunciation. Add it to {__name__}, in ARPAbet with a stress digit after each "
            "vowel, or remove it from the text to be read aloud."
        )


def pronounce(word: str) -> tuple[str, ...]:
    """Returns the phonemes of a word in lower or upper case.

    Raises:
      UnknownWordError: the word is not in PRONUNCIATIONS.
    """
    try:
        return PRONUNCIATIONS[word.lower()]
    except KeyError:
        raise UnknownWordError(word) from None

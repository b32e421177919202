"""A BERT tokenizer of a hundred tokens, as the bytes of its `tokenizer.json`."""

import string

from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
WORDS = ("a", "film", "good", "bad", "gripping", "dull", "is", "the", "not", "##s", "!")


def tiny_tokenizer() -> bytes:
    vocabulary = [
        *SPECIAL,
        *WORDS,
        *string.ascii_lowercase[1:],
        *(f"##{c}" for c in string.ascii_lowercase if c != "s"),
    ]
    tokenizer = Tokenizer(WordPiece({token: i for i, token in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_padding(length=16)  # as many published ones have it; a runtime without padding must undo it
    return tokenizer.to_str().encode()

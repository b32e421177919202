"""Running a packed directory: tokenizer, engine, answers, and the numpy oracle. No torch, no transformers."""

"""Fake-quantized layers that take the place of the stock ones in a Hugging Face BERT."""

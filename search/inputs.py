"""What all trials of a search share in memory: the data as arrays, and the encoder."""

from dataclasses import dataclass

from minbert.config import InputSettings
from minbert.data import load_dataset
from minbert.examples import Dataset
from minbert.hub import Pretrained, load_pretrained


@dataclass(frozen=True)
class LoadedInputs:
    """The data and the encoder of a search.

    Attributes:
        settings: where both come from.
    """

    settings: InputSettings
    dataset: Dataset
    pretrained: Pretrained


def load_inputs(settings: InputSettings) -> LoadedInputs:
    """Load the encoder and the data; InputError if either is missing or malformed."""
    pretrained = load_pretrained(settings.encoder, settings.encoder_layers)
    return LoadedInputs(settings, load_dataset(settings, pretrained.tokenizer()), pretrained)

"""What a rule may say."""

from typing import Literal

from pydantic import BaseModel


class Rule(BaseModel):
    """Price something, and poison those who do."""

    price: int = 1
    poison: str = ""
    at: Literal["", "handler", "changed", "validate", "prepare", "probe", "activated"] = ""
    spares_trial: bool = False

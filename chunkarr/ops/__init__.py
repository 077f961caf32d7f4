"""Operations: what a region needs, and how a block is computed. Nothing here builds an Array or does I/O."""

__all__: list[str] = []

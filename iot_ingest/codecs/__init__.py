"""The formats in which sensors speak: one module each, all with the same promise (see `shapes.Codec`)."""

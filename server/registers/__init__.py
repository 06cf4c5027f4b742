"""What a base register is, as data: its fields, references, search, filters, import and history follow from them."""

"""The wire contract: marshmallow schemas with the merge policy beside each field, code tables, frame codecs."""

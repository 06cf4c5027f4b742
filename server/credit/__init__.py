"""Credit records of entities: the register and its intake (信用信息)."""

"""Keys, officers, revocation, wipe and clocks of devices, the same on SQLite and PostgreSQL."""

from tests.integration.devices.test_standing import (  # noqa: F401
    device,
    test_a_wipe_is_ordered_acknowledged_and_audited,
    test_acts_held_before_a_revocation_are_released_after_it,
    test_how_far_an_old_key_vouches,
    test_sharing_is_checked,
    test_what_goes_along_with_a_push_is_checked,
    world,
)

"""Push, pull, conflicts and closing, the same on SQLite and PostgreSQL: the integration suites run again on both."""

from tests.integration.fieldsync.test_push import *  # noqa: F403 - every test of the suite
from tests.integration.inspections.test_closing import (  # noqa: F401
    test_complete_inspection_closes_once,
    test_dispatch_is_checked,
    test_figures_and_lists,
    test_signed_content_that_changes_makes_the_signature_stale,
    test_what_blocks,
)

"""What may happen to a transfer, and when: every cell of the matrix, in memory and between real processes."""

import pytest

pytest.register_assert_rewrite("tests.session.matrix.stage")

"""What a type checker must understand about settings; checked by mypy, never executed."""

from typing import assert_type

from nexus_supervisor.core import settings

parsed = settings.parse({}, cpu_count=2)
assert_type(parsed.settings, settings.Settings)
assert_type(parsed.settings.supervisor.workers, int)
assert_type(parsed.settings.supervisor.sections, tuple[settings.SectionSpec, ...])
assert_type(parsed.settings.daemon.admin_token, str | None)
assert_type(parsed.errors, tuple[settings.Mistake, ...])

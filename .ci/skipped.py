"""Print what a run of pytest skipped, from its JUnit report: tests, or whole files."""

import sys
import xml.etree.ElementTree as ET
from pathlib import Path


def skipped(report: Path) -> list[str]:
    """Return the arguments for pytest, in order, that run what was skipped."""
    found = set()
    for case in ET.parse(report).iter("testcase"):
        if case.find("skipped") is None:
            continue
        # tests.plc.embed.test_wire.TestName, or no class and the module as the name.
        name = case.get("name", "")
        parts = (case.get("classname") or name).split(".")
        inside = [name] if case.get("classname") else []
        while parts and not Path(*parts).with_suffix(".py").is_file():
            inside.insert(0, parts.pop())
        if not parts:
            raise SystemExit(f"no file belongs to the skipped test {dict(case.attrib)}")
        found.add("::".join([Path(*parts).with_suffix(".py").as_posix(), *inside]))
    return sorted(found)


if __name__ == "__main__":
    for argument in skipped(Path(sys.argv[1])):
        print(argument)

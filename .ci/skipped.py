"""Print the test files in which a run skipped something, from its JUnit report."""

import sys
import xml.etree.ElementTree as ET
from pathlib import Path


def skipped_files(report: Path) -> list[str]:
    """Return the files, in order; one that was skipped as a whole is named by its test case."""
    files = set()
    for case in ET.parse(report).iter("testcase"):
        if case.find("skipped") is None:
            continue
        # tests.plc.embed.test_wire.TestName, or no class and the module as the name.
        parts = (case.get("classname") or case.get("name", "")).split(".")
        while parts and not Path(*parts).with_suffix(".py").is_file():
            parts.pop()
        if not parts:
            raise SystemExit(f"no file belongs to the skipped test {dict(case.attrib)}")
        files.add(Path(*parts).with_suffix(".py").as_posix())
    return sorted(files)


if __name__ == "__main__":
    for file in skipped_files(Path(sys.argv[1])):
        print(file)

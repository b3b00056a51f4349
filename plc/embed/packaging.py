"""``libplc`` as an installed package: its version, its links, pkg-config and CMake.

The soname ends in the major version: what breaks a program that was built with the library before
raises it. All paths in the files are relative to them, so that an installed folder may be moved.
"""

from pathlib import Path

import plc

_HEADER, _WRAPPER = (Path(__file__).with_name(name) for name in ("plc.h.in", "plc-inside.in"))
_NUMBERS = dict(zip(("MAJOR", "MINOR", "PATCH"), plc.__version__.split("."), strict=True))
_SHORT = "libplc.so"
SONAME = f"{_SHORT}.{_NUMBERS['MAJOR']}"
SHARED = f"{_SHORT}.{plc.__version__}"
"""The shared library; the soname and ``libplc.so`` are links to it."""
PLUGIN = "plc_ladspa.so"
"""The library as a plugin; hosts look for such in a folder ``ladspa``."""
INSIDE, WRAPPER = "libplc_inside.so", "plc-inside"
"""The library for programs that are there, and the command that starts them with it."""
DLL, IMPORTS = "plc.dll", "libplc.dll.a"
"""The shared library for Windows, which has no links, and what linkers take for it."""

_PKG_CONFIG = """\
libdir=${{pcfiledir}}{lib}
includedir=${{pcfiledir}}{include}

Name: libplc
Description: Packet-loss concealment of music and speech
Version: {version}
Libs: -L${{libdir}} -lplc
Libs.private: -lm
Cflags: -I${{includedir}}
"""
_CMAKE = """\
# find_package(plc), then target_link_libraries(... plc::plc), or plc::static for the archive.
get_filename_component(_plc_lib "${{CMAKE_CURRENT_LIST_DIR}}/../.." ABSOLUTE)
get_filename_component(_plc_include "${{_plc_lib}}/../include" ABSOLUTE)
if(NOT TARGET plc::plc)
  add_library(plc::plc SHARED IMPORTED)
  set_target_properties(plc::plc PROPERTIES
    {places}
    INTERFACE_INCLUDE_DIRECTORIES "${{_plc_include}}")
  add_library(plc::static STATIC IMPORTED)
  set_target_properties(plc::static PROPERTIES
    IMPORTED_LOCATION "${{_plc_lib}}/libplc.a"
    INTERFACE_COMPILE_DEFINITIONS PLC_STATIC
    INTERFACE_INCLUDE_DIRECTORIES "${{_plc_include}}"
    INTERFACE_LINK_LIBRARIES m)
endif()
unset(_plc_lib)
unset(_plc_include)
"""
# Where CMake finds the shared library, and what programs are linked with.
_PLACES = f"""IMPORTED_LOCATION "${{_plc_lib}}/{SHARED}"
    IMPORTED_SONAME "{SONAME}\""""
_WINDOWS_PLACES = f"""IMPORTED_LOCATION "${{_plc_lib}}/../bin/{DLL}"
    IMPORTED_IMPLIB "${{_plc_lib}}/{IMPORTS}\""""
_CMAKE_VERSION = """\
set(PACKAGE_VERSION "{version}")
if(PACKAGE_VERSION VERSION_LESS PACKAGE_FIND_VERSION
    OR NOT PACKAGE_FIND_VERSION_MAJOR EQUAL {major})
  set(PACKAGE_VERSION_COMPATIBLE FALSE)
else()
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
  if(PACKAGE_FIND_VERSION VERSION_EQUAL PACKAGE_VERSION)
    set(PACKAGE_VERSION_EXACT TRUE)
  endif()
endif()
"""


def header() -> str:
    """Return the text of ``plc.h``."""
    text = _HEADER.read_text(encoding="utf-8").replace("@VERSION@", plc.__version__)
    for name, number in _NUMBERS.items():
        text = text.replace(f"@{name}@", number)
    return text


def package(built: list[Path], folder: Path, prefix: bool) -> list[Path]:
    """Move the built files into a folder, and add links and texts.

    Return all that is there, the shared library first.

    Parameters
    ----------
    built : list of path
        The shared library, the archive, the header, the plugin and what goes inside programs; or
        Windows' import library.
    folder : path
        Where to; made if it is not there.
    prefix : bool
        Into ``include`` and ``lib`` of the folder (a DLL into ``bin``), with files for CMake; else
        all beside each other.
    """
    lib, include = (folder / "lib", folder / "include") if prefix else (folder, folder)
    config = lib / "pkgconfig" if prefix else folder
    cmake = lib / "cmake" / "plc"
    places = {"plc.h": include}
    if prefix:
        places |= {PLUGIN: lib / "ladspa", INSIDE: lib / "plc", DLL: folder / "bin"}
    finals = [places.get(path.name, lib) / path.name for path in built]
    for each in (config, *(path.parent for path in finals), *([cmake] if prefix else [])):
        each.mkdir(parents=True, exist_ok=True)
    files = [path.replace(final) for path, final in zip(built, finals, strict=True)]
    windows = built[0].name == DLL
    for name, target in () if windows else ((SONAME, SHARED), (_SHORT, SONAME)):
        (lib / name).symlink_to(target)
        files.append(lib / name)
    apart = {"lib": "/..", "include": "/../../include"} if prefix else {"lib": "", "include": ""}
    texts = {config / "plc.pc": _PKG_CONFIG}
    if prefix:
        texts[cmake / "plcConfig.cmake"] = _CMAKE
        texts[cmake / "plcConfigVersion.cmake"] = _CMAKE_VERSION
    for path, text in texts.items():
        path.write_text(
            text.format(
                version=plc.__version__,
                major=_NUMBERS["MAJOR"],
                places=_WINDOWS_PLACES if windows else _PLACES,
                **apart,
            )
        )
    if prefix and not windows:
        wrapper = folder / "bin" / WRAPPER
        wrapper.parent.mkdir(exist_ok=True)
        wrapper.write_text(_WRAPPER.read_text())
        wrapper.chmod(0o755)
        files.append(wrapper)
    return [*files, *texts]

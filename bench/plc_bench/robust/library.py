"""Cost of a packet from C: ``plc bench robust library``."""

import itertools
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from plc.embed.library import build_library
from plc.embed.models import write_models
from plc_bench.base.corpus import find_clips, read_clip
from plc_kernels.build.targets import X86_64, machine

_RATE = 48_000
_SIZES = (64, 480)


def push_from_c(
    packets: int,
    lost_every: int,
    prepare: bool = False,
    share: float = 0.0,
    clips: tuple[Path, ...] = (),
) -> dict[str, dict[str, object]]:
    """Time ``plc_push`` in a C program, in µs.

    Parameters
    ----------
    packets : int
        How many of each size: 48 kHz, mono, float32.
    lost_every : int
        Period of the lost packets; 0: none.
    prepare : bool
        Whether ``plc_prepare`` is called after each, untimed.
    share : float
        Most of a packet's duration that a lost one may take (``work_limit``); 0: no limit.
    clips : tuple of Path
        Audio files or folders to push, with the network for speech; none: two tones, without it.

    Returns
    -------
    dict
        By size and type of processor, such as ``"64, x86-64-v3"``.
    """
    with tempfile.TemporaryDirectory() as folder:
        built = build_library(folder)
        program = Path(folder) / "push_cost"
        source = Path(__file__).parent / "push_cost.c"
        compiler = ["cc", "-O2", "-D_GNU_SOURCE", str(source), "-o", str(program), "-lm"]
        subprocess.run([*compiler, *built.flags.split()], check=True)
        more = [str(int(prepare)), str(share)]
        if clips:
            sound = Path(folder) / "sound.f32"
            parts = [read_clip(clip, _RATE).signal[:, 0] for clip in find_clips(clips)]
            np.concatenate(parts).astype(np.float32).tofile(sound)
            model = next(path for path in write_models(Path(folder)) if path.stem == "speech")
            more += [str(sound), str(model)]
        levels = (2, 3, 4) if machine() == X86_64 else (0,)
        reports: dict[str, dict[str, object]] = {}
        for size, level in itertools.product(_SIZES, levels):
            command = [str(program), str(packets), str(lost_every), str(size), str(level)]
            command += more
            done = subprocess.run(command, capture_output=True, text=True, check=not level)
            if done.returncode == 0:  # else this processor is not of the type
                report = json.loads(done.stdout)
                reports[f"{size}, {report.pop('processor')}"] = report
        return reports

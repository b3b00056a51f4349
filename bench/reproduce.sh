#!/bin/sh
# The headline tables and a picture, in one run.
#
#   bench/reproduce.sh OUT [CORPUS]
#
# OUT gets a folder for each study, headline.md with the tables of all, a page to listen to
# (OUT/report/index.html) with a picture (curves.png) and the output of the other benchmarks. Without CORPUS the public test set
# (bench/data) is measured; with it CORPUS/music, CORPUS/instruments and CORPUS/speech, or the folders
# test in them where there are such. The same command again goes on where it was stopped.
#
# Environment: PYTHON (python), JOBS (0: one process for each core), OPUS_LIBRARY (the path of a
# libopus that was built with deep concealment, to be compared as well), QUICK (set: two methods and
# no other benchmarks, to see whether everything is there).
#
# Needs pip install -e ".[bench,plots]", pip install --no-deps speechmos basic-pitch (for PLCMOS and FAD,
# which are left out without), and for the peers
# apt-get install libopus0 g++ libtgowt-dev libabsl-dev libopus-dev. What is missing
# fails by itself, and is listed in failures.csv of its study.
set -eu

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")/.." && pwd)
out=$1
data=${2:-$here/bench/data}
python=${PYTHON:-python}
export PYTHONPATH="$here:$here/kernels:$here/bench:$here/training${PYTHONPATH:+:$PYTHONPATH}"
export COLUMNS=110 # of tables that go to files
mkdir -p "$out"

clips() { # the folder of a domain's clips
    if [ -d "$data/$1/test" ]; then echo "$data/$1/test"; else echo "$data/$1"; fi
}

has() { # a Python package, without importing it
    "$python" -c 'import sys; from importlib.util import find_spec; sys.exit(not find_spec(sys.argv[1]))' "$1"
}

step=0
say() {
    step=$((step + 1))
    echo "[$step/$steps, $(date +%H:%M)] $1" >&2
}

study() { # name, options; a study in which some scores fail goes on
    name=$1
    shift
    "$python" -m plc_bench quality "$@" --jobs "${JOBS:-0}" --out "$out/$name" \
        > "$out/$name.txt" || [ -s "$out/$name/journal.jsonl" ]
}

more() { # options of the time and of the other benchmarks: name, command; goes on as a study does
    name=$1
    shift
    rm -f "$out/$name.json"
    "$python" -m plc_bench "$@" --save "$out/$name.json" > "$out/$name.txt" \
        || [ -s "$out/$name.json" ]
}

music=auto,ar,auto@lookahead1,jacktrip,opus,neteq,burg:5/50,repeat,zeros
scores=nmse,lsd,level,click,zeros,nmse_30ms,lsd_30ms
voice=nmse,lsd,level
if has basic_pitch; then
    scores=$scores,fad
fi
if has speechmos; then
    voice=$voice,plcmos
fi
small=auto,jacktrip,burg:5/50,zeros
speech=auto,ar,auto@lookahead1,auto@lookahead2,neteq,opus:24k:voip,opus:64k,jacktrip,burg:5/50,repeat,zeros
phone=auto,ar,g711,burg:5/50,repeat,zeros
steps=9
if [ -n "${OPUS_LIBRARY:-}" ]; then
    speech=$speech,opus:24k:voip:$OPUS_LIBRARY
fi
if [ -n "${QUICK:-}" ]; then
    music=ar,jacktrip small=jacktrip,zeros speech=ar,neteq phone=ar,g711 steps=5
fi

say "music and instruments, packets of 10 ms"
study music "$(clips music)" "$(clips instruments)" --methods "$music" --metrics "$scores" \
    --excerpts 16
say "instruments, packets of 128 samples, as JackTrip has them"
study small-packets "$(clips instruments)" --methods "$small" --packet-samples 128 --excerpts 0
say "speech, packets of 20 ms"
study speech "$(clips speech)" --methods "$speech" --sample-rate 16000 --packet-ms 20 \
    --loss 10%,20% --metrics "$voice,pesq,stoi" --excerpts 8
say "speech at 8 kHz, packets of 20 ms"
study telephone "$(clips speech)" --methods "$phone" --sample-rate 8000 --packet-ms 20 \
    --metrics "$voice,stoi" --excerpts 0
if [ -z "${QUICK:-}" ]; then
    say "64 ms gaps of music, both sides known"
    more inpaint-music inpaint "$(clips music)"
    say "64 ms gaps of instruments, both sides known"
    more inpaint-instruments inpaint "$(clips instruments)"
    say "time inside push"
    more latency latency --seconds 4
    say "a page to listen to"
    "$python" -m plc_bench report "$out/music" --out "$out/report" >&2
fi
say "tables"
for name in music small-packets speech telephone; do
    sed "1s/.*/# $name/" "$out/$name/summary.md"
done > "$out/headline.md"
for name in inpaint-music inpaint-instruments latency; do
    if [ -s "$out/$name.txt" ]; then
        printf '\n## %s\n\n```\n%s\n```\n' "$name" "$(cat "$out/$name.txt")" >> "$out/headline.md"
    fi
done
cat "$out/headline.md"

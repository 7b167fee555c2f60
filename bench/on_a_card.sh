#!/usr/bin/env bash
# Everything that needs a CUDA card, the most telling first; each part prints its table and goes on if one fails.
#   bench/on_a_card.sh [WORK_FOLDER]       some 12 minutes on an H200; results land in WORK_FOLDER
set -u
work=${1:-/tmp/roadscribe-bench}
python=${PYTHON:-python3}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$work"
export TORCHINDUCTOR_CACHE_DIR=${TORCHINDUCTOR_CACHE_DIR:-$work/compiled}

part() { echo; echo "== $*"; "$@" || echo "(failed)"; }

[ -e "$work/2b/config.json" ] || part "$python" "$here/base_model.py" --size 2b --out "$work/2b"
bench="$python $here/train.py --base $work/2b --set train.compile=true"
part $bench --steps 30 --samples-a-step 8 --json "$work/main.json"
part $bench --steps 12 --rows 240 --answers 3 --samples-a-step 12 --variants ours --set train.batch_size=4 --json "$work/shared.json"
part $bench --steps 12 --rows 240 --answers 3 --samples-a-step 12 --variants ours --set train.batch_size=4 \
  --set train.shared_prefix=false --json "$work/separate.json"
part $bench --t4 --rows 128 --steps 50 --samples-a-step 8 --variants ours --json "$work/t4.json"
part $bench --t4 --rows 64 --steps 5 --samples-a-step 8 --variants original --json "$work/t4-original.json"
part "$python" -m pytest -q -m gpu "$here/../tests"
part "$python" "$here/memory.py" --work "$work" --out "$work/eager.json"
part "$python" "$here/memory.py" --work "$work" --out "$work/compiled.json" --compile on
if [ "$(nvidia-smi -L | wc -l)" -ge 2 ]; then
  part $bench --steps 20 --samples-a-step 32 --variants ours "ours on two" --json "$work/two.json"
fi

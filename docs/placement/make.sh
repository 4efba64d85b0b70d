#!/usr/bin/env bash
# make.sh: runs the three worked cases of docs/explanation/placement.md anew and draws their maps. Needs Chromium; --text alone does not.
set -euo pipefail
cd "$(dirname "$0")/../.."
edge=.venv/bin/edge
folder=docs/placement

case_of() { # NAME WORDS...: the answer as text, and its page as a picture
  local name=$1
  shift
  { echo "\$ edge place $*" && "$edge" place "$@" --html "$folder/$name.html" 2>/dev/null; } >"$folder/$name.txt"
  if [ "${text:-}" != --text ]; then
    chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1000,900 \
      --screenshot="$folder/$name.png" "file://$PWD/$folder/$name.html" >/dev/null 2>&1
  fi
  rm "$folder/$name.html"
}

text=${1:-}
case_of california --users US-CA --only US --ttft 45 --share 99 --prompt 128 --policy geoproximity
case_of california-latency --users US-CA --only US --ttft 45 --share 99 --prompt 128
case_of usa --users US --only US --ttft 150 --share 99
case_of europe --users DE,FR,ES,IT,NL,BE,AT,PL,SE,FI,DK,IE,PT,CZ,GR,HU,RO,BG,HR,SK,LT,LV,EE \
  --only DE --only FR --only ES --only IT --only PL --only SE --only FI --only DK --only IE --ttft 160 --share 95

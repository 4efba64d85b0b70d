#!/usr/bin/env bash
# fetch-weights.sh IMAGE MODEL REVISION BUDGET_SECONDS: fetches a model's files once, into a folder the server reads offline.
# The Hugging Face token comes on standard input, or an empty line. It is in a root-only file while weights are fetched.
# shellcheck source=components/remote/common.sh
. "$(dirname "$0")/common.sh"
image=$1 model=$2 revision=$3 budget=$4

IFS= read -r token || true
directory="$MODELS/${model//\//--}@${revision//\//--}"
token_file="$EDGE_HOME/secrets/hugging-face-token"
# Whatever ends this step: neither the token nor a container that has it stays behind. The file, emptied at once, goes last: where
# there is none there is no container either, and Docker need not be asked.
clean_up() {
  [ -e "$token_file" ] || return 0
  : >"$token_file"
  docker rm -f edge-inference-weights >/dev/null 2>&1 || true
  rm -f "$token_file"
}
trap clean_up EXIT
clean_up
# A change that still runs frees the disk when it ends: not of these.
basename "$directory" >"$EDGE_HOME/models.wanted"

if [ -e "$directory/.complete" ]; then
  say "$model at $revision is here already"
  exit 0
fi
mkdir -p "$directory" "$(dirname "$token_file")"
room_for 1024 "$model"
chmod 700 "$(dirname "$token_file")"
(umask 077 && printf '%s' "$token" >"$token_file")
unset token

started=$SECONDS status=0
within "$budget" "fetching $model" docker run --rm --init --name edge-inference-weights \
  -v "$directory:/model" -v "$(realpath "$(dirname "$0")")/fetch_weights.py:/fetch_weights.py:ro" \
  -v "$token_file:/run/secrets/hugging-face-token:ro" -e HF_TOKEN_PATH=/run/secrets/hugging-face-token \
  --entrypoint python3 "$image" /fetch_weights.py "$model" "$revision" /model || status=$?
if [ "$status" -ne 0 ]; then
  [ "$status" -ne 28 ] || no_space "the weights of $model at $revision were not fetched"
  room_for 1024 "$model"
  fail "the weights of $model at $revision were not fetched" \
    "gated model: accept its licence at https://huggingface.co/$model and check edge-inference:huggingFaceToken"
fi
touch "$directory/.complete"
say "fetched $model at $revision in $((SECONDS - started)) s"

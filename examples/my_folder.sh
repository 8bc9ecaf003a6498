#!/usr/bin/env bash
# From a folder of your own documents to a model that searches them; the questions are made on the way.
#
#     examples/my_folder.sh DOCUMENTS FOLDER QUESTION [--set KEY=VALUE …]
#
# DOCUMENTS: text, HTML, PDF, Word, Excel and others, with facts in `Key: value` lines or tables. FOLDER: for everything that is made.
# QUESTION: asked in the end. What follows changes keys of both trainings, such as `--set train.steps=20`.
set -euo pipefail
documents=$1 folder=$2 question=$3
shift 3

ragr1-lite index build "$documents" --out "$folder/index" --overwrite
ragr1-lite data make-questions "$folder/index" --out "$folder/questions.jsonl" --overwrite
ragr1-lite data generate "$folder/questions.jsonl" --index "$folder/index" --k 2 --out "$folder/gold.jsonl" --overwrite
ragr1-lite sft sft-own-data --overwrite --set output="$folder/sft" \
    --set data.train="$folder/gold.jsonl" --set retrieval.index="$folder/index" "$@"
ragr1-lite grpo grpo-smollm2-135m --overwrite --set output="$folder/grpo" --set model.adapter="$folder/sft/adapter" \
    --set data.train="$folder/questions.jsonl" --set data.mix={} --set retrieval.index="$folder/index" \
    --set retrieval.k=2 --set rollout.document_tokens=220 --set rollout.total_document_tokens=900 \
    --set rollout.max_length=2048 "$@"
ragr1-lite ask "$question" --adapter "$folder/grpo/adapter" --plain
